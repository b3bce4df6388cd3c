"""What a task is: its defaults, how its data are read and prepared, what trains it, and how its model is used."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from textrnn.config import Config, DataConfig, build
from textrnn.tokenizers.base import Tokenizer
from textrnn.training.loop.run import Run
from textrnn.training.tasks.moves import Move

if TYPE_CHECKING:
    from textrnn.training.distributed.distribution import Distribution
    from textrnn.training.loop.trainer import Trainer


Digests = Mapping[str, "str | None"]
"""What `Task.digest` gave for the sources of ``"data.source"`` and ``"data.validation"``."""


class Prepared(NamedTuple):
    """What a run is trained and measured on.

    Attributes:
        tokenizer: of a task that reads text; of source texts, if there are targets.
        parts: what is trained on, and what is held out, then the same two of sources that are mixed in, if there are
            any; a series is all of it.
        target_tokenizer: of a task whose targets are texts.
    """

    tokenizer: Tokenizer | None
    parts: tuple[Any, ...]
    target_tokenizer: Tokenizer | None = None


class Task(ABC):
    """One kind of thing to learn from one kind of input. Its methods need no TensorFlow, but for `trainer`."""

    name: ClassVar[str]
    """The setting `task`."""
    reads: ClassVar[str]
    """The setting `data.reads`."""
    model: ClassVar[str]
    """What is trained, one of `textrnn.config.MODELS`: it decides which settings apply."""
    aliases: tuple[str, ...] = ()
    """Other names that ``textrnn train --task`` takes."""
    reads_labels = False
    """Whether labels of texts are read."""
    answers: ClassVar[str] = "label"
    """The setting of `data` that names the second column of a pair in memory."""

    def defaults(self, stated: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the settings that a run starts from where they are not those of `Config()`.

        Args:
            stated: what the user states, in sections; it may be of any form.
        """
        return {}

    def default_config(self) -> Config:
        """Return the configuration of a run of which nothing but task and input is stated."""
        stated = {"task": self.name, "data": {"reads": self.reads}}
        return build(Config, with_defaults(self.defaults(stated), stated))

    def reads_columns(self, data: DataConfig) -> bool:
        """Return whether standard input that is not JSON is a table, not plain text."""
        return True

    def find_columns(self, data: DataConfig) -> tuple[DataConfig, Sequence[str]]:
        """Return the settings with the names of columns that can be told from the sources, and what a user should know.

        Args:
            data: settings of a run that is about to be made or resumed.
        """
        return data, ()

    @abstractmethod
    def digest(self, run: Run, sources: tuple[str, ...]) -> str:
        """Return a digest of what the sources of a run hold."""

    def tokenizer(self, run: Run) -> Tokenizer | None:
        """Return the tokenizer of a run, learned and kept in its folder; None for a task that reads no text."""
        return None

    @abstractmethod
    def prepare(self, run: Run, digests: Digests) -> Prepared:
        """Return what a run is trained on, made once and kept in its folder.

        Args:
            run: the run.
            digests: of its sources, where they were just computed, so that no source is read for it again.

        Raises:
            UserError: the sources cannot be read, or hold too little.
        """

    def notes(self, prepared: Prepared) -> Sequence[str]:
        """Return what a user should know of how the data were read, a line each."""
        return ()

    @abstractmethod
    def trainer(self, run: Run, prepared: Prepared, distribution: Distribution) -> Trainer:
        """Return what trains a run, with settings that suit the size of its data.

        Args:
            run: the run.
            prepared: what `prepare` made of its data.
            distribution: the devices and processes that share a batch.
        """

    def moves(self, config: Config) -> Sequence[Move]:
        """Return the changes that a search for settings may try from a configuration, the most promising first.

        Args:
            config: the best configuration so far, with settings that suit the size of its data.
        """
        return ()

    @abstractmethod
    def what_to_try(self, folder: str) -> str:
        """Return the command that uses a finished run; `folder` is quoted for a shell."""


def with_defaults(defaults: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values`, with what they do not state from `defaults`; both are sections of settings."""
    merged = {**defaults, **values}
    for name, default in defaults.items():
        if isinstance(default, Mapping) and isinstance(merged[name], Mapping):
            merged[name] = {**default, **merged[name]}
    return merged
