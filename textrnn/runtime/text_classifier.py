"""Runs a classifier of texts: one graph, ``classify``: ids int32 (batch, time) -> logits float32 (batch, classes)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from textrnn.bundle import Bundle
from textrnn.classification import TextPrediction, head_and_tail, probabilities, read_texts
from textrnn.data.labels import Labels
from textrnn.errors import UserError, is_several, shown
from textrnn.explanation import Explanation, explain
from textrnn.runtime.sessions import OfBundle, checked_ids, classify_session, load_bundled_tokenizer


class Classifier(OfBundle):
    """A text classifier of a bundle.

    Padding counts in nothing that is computed, so that a text has the same probabilities, up to the last digits,
    whatever the texts it is classified with.

    Attributes:
        manifest: the bundle's manifest.
        tokenizer: text to ids and back.
        labels: the classes.
        max_length: tokens of a text that are read. Longer texts are cut in the middle.
    """

    no_prediction: ClassVar[dict[str, None]] = {"label": None, "probability": None}
    """Prediction for an empty text, ready for JSON."""

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        super().__init__(bundle, threads=threads)
        self._session, self.labels = classify_session(bundle, threads)
        self.tokenizer = load_bundled_tokenizer(bundle)
        self.max_length: int = self.manifest.runtime["max_length"]
        self._segment_length = self.manifest.runtime["segment_length"]

    def classify(self, texts: Iterable[str]) -> list[Any]:
        """Predict the label of each text, in their order: a `TextPrediction` for each.

        >>> good, bad = textrnn.load("runs/reviews").classify(["a good film", "bad"])
        >>> good.label, bad.label
        ('positive', 'negative')
        >>> good.probability == good.probs["positive"] > 0.5
        True

        Args:
            texts: any iterable of texts of any length, an empty one too: a list, a generator, the lines of an open
                file, a column of a table. It is read to its end first.

        Raises:
            UserError: one string instead of several, a text that UTF-8 cannot spell, or what is no text.
        """
        if isinstance(texts, str):
            raise UserError("texts must be several strings, was one; put it in a list")
        if not is_several(texts):
            raise UserError(f"texts must be several strings, was: {shown(texts)}; give a list of strings")
        texts = list(texts)
        for text in texts:
            if not isinstance(text, str):
                raise UserError(
                    f"a classifier of texts reads strings, was: {type(text).__name__}; give strings, or train a model "
                    "of vectors: data.reads=vectors"
                )
        encoded = self.tokenizer.encode_all(texts)
        return [self._prediction(row, len(ids)) for ids, row in zip(encoded, self.predict(encoded), strict=True)]

    def predict(self, texts: Iterable[NDArray[np.integer[Any]]]) -> NDArray[np.float64]:
        """Compute probabilities, float64 (texts, classes), of texts as ids, each (tokens,).

        Raises:
            UserError: one of them is no array of ids of the vocabulary.
        """
        if not is_several(texts):
            raise UserError(f"texts must be several arrays of ids, was: {shown(texts)}; give a list of arrays")
        texts = [checked_ids(ids, self.tokenizer.vocabulary_size, 1) for ids in texts]
        if not texts:
            return np.zeros((0, len(self.labels)))
        logits = read_texts(self._read, texts, len(self.labels), self.max_length, self._segment_length)
        return self._probabilities(logits)

    def columns(self) -> list[str]:
        """Return the names of the columns of a prediction in a table."""
        return list(self._prediction(np.zeros(len(self.labels)), 0).columns())

    def labels_of(self, names: Sequence[str]) -> Labels:
        """Return how labels of other data are read; `names` are better names of labels, as ``0=negative``."""
        return Labels(names)

    def measure(self, probs: NDArray[np.float64], targets: NDArray[Any]) -> Any:
        """Compare predictions with true labels.

        Args:
            probs: probabilities, ``(texts, classes)``.
            targets: number of the true class of each text, ``(texts,)``.

        Returns:
            a `textrnn.metrics.classification_report.ClassificationMetrics`.

        Raises:
            UserError: there is no text.
        """
        from textrnn.metrics.classification_report import measure

        return measure(probs, targets, self.labels)

    def _probabilities(self, logits: NDArray[Any]) -> NDArray[np.float64]:
        return probabilities(logits)

    def _prediction(self, probs: NDArray[np.float64], tokens: int) -> Any:
        return TextPrediction(
            label=self.labels[int(probs.argmax())],
            probs=dict(zip(self.labels, probs.tolist(), strict=True)),
            tokens=tokens,
            tokens_read=min(tokens, self.max_length),
        )

    def explain(
        self, text: str, label: str | None = None, progress: Callable[[int], object] | None = None
    ) -> Explanation:
        """Explain a prediction by the contribution of each token; see `textrnn.explanation.explain`.

        >>> why = textrnn.load("runs/reviews").explain("a good film")
        >>> max(zip(why.contributions, why.pieces))[1]
        ' good'

        Args:
            text: of one token at least; of one longer than `max_length` its head and tail are explained.
            label: the class to explain; None is the most probable one.
            progress: called with the number of readings just finished, of two a token.

        Raises:
            UserError: an unknown label, or a text without a token.
        """
        ids = head_and_tail(self.tokenizer.encode(text), self.max_length)
        pieces = head_and_tail(np.array(self.tokenizer.pieces(text), dtype=object), self.max_length)
        return explain(self.predict, ids, pieces.tolist(), self.labels, label, progress)

    def _read(self, ids: NDArray[np.int32]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = self._session.run(["logits"], {"ids": ids})[0]
        return logits
