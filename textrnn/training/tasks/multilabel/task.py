"""Multi-label classification: a text has any number of labels, or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from textrnn.config import DataConfig
from textrnn.data.labels import AUTO, Labels, MultiLabels
from textrnn.errors import UserError
from textrnn.training.tasks.classification.task import TextClassification
from textrnn.training.tasks.task import Prepared
from textrnn.training.tasks.tokenizer import of_unseparated_words

if TYPE_CHECKING:
    from textrnn.training.tasks.classification.trainer import ClassifierTrainer


class MultilabelClassification(TextClassification):
    """Learns the labels of a text."""

    name, aliases = "multilabel", ()

    def defaults(self, stated: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**super().defaults(stated), "data": {"label_separator": AUTO}}

    def labels(self, data: DataConfig) -> Labels:
        if not data.label_separator:
            raise UserError(f"data.label_separator must be {AUTO} or a text between labels, was empty; leave it out")
        return MultiLabels(data.label_separator, data.label_names)

    def notes(self, prepared: Prepared) -> Sequence[str]:
        return of_unseparated_words(prepared.tokenizer)

    def trainer_class(self) -> type[ClassifierTrainer]:
        from textrnn.training.tasks.multilabel.trainer import MultilabelTrainer

        return MultilabelTrainer

    def what_to_try(self, folder: str) -> str:
        return f"textrnn predict {folder}"
