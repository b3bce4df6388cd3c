"""Explanation of a label by occlusion: the contribution of each token, and the probability after each token.

It works with any function predict(texts) -> probabilities.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn.errors import UserError, shown

Predict = Callable[[Sequence[NDArray[np.int32]]], NDArray[np.float64]]
"""Function from token ids, ``(tokens,)`` a text and possibly empty, to probabilities ``(texts, classes)``.

The softmax should be computed in float64: float32 makes the log-odds of a nearly certain label inaccurate.
"""

BATCH_TOKENS = 1 << 16  # tokens in one call of `Predict`: bounds memory for texts of any length
CLIP = 1e-12  # keeps the log-odds of a certain label finite, within 27.6 nats


@dataclass(frozen=True)
class Explanation:
    """Explanation of one label of a text, token by token.

    Attributes:
        labels: all labels.
        probs: probabilities of the labels for the whole text.
        label: the explained label.
        pieces: text of each token, with the white space before it. Joined, they are the text.
        after: probability of `label` after each token, that is for the text that ends there.
        contributions: log-odds of `label` for the whole text minus the log-odds without the token, in nats. Positive
            is evidence for the label (occlusion: Zeiler & Fergus 2014; on text: Li, Monroe & Jurafsky 2016).
    """

    labels: tuple[str, ...]
    probs: tuple[float, ...]
    label: str
    pieces: tuple[str, ...]
    after: tuple[float, ...]
    contributions: tuple[float, ...]

    @property
    def probability(self) -> float:
        """Probability of `label` for the whole text."""
        return self.probs[self.labels.index(self.label)]

    def to_dict(self) -> dict[str, Any]:
        """Return the explanation as a dictionary that JSON can encode."""
        return {
            "label": self.label,
            "probability": self.probability,
            "probs": dict(zip(self.labels, self.probs, strict=True)),
            "method": "occlusion: log-odds of the label less those without the token, nats",
            "tokens": [
                {"text": text, "after": after, "contribution": contribution}
                for text, after, contribution in zip(self.pieces, self.after, self.contributions, strict=True)
            ],
        }


def explain(
    predict: Predict,
    ids: NDArray[np.int32],
    pieces: Sequence[str],
    labels: Sequence[str],
    label: str | None = None,
    progress: Callable[[int], object] | None = None,
) -> Explanation:
    """Explain a label by the contribution of each token.

    The cost is the probabilities of ``2 * tokens`` texts, about ``1.5 * tokens ** 2`` tokens in all.

    Args:
        ids: token ids ``(tokens,)``.
        pieces: text of each token, as in `Explanation.pieces`.
        labels: names of the classes, in the order of `predict`.
        label: label to explain. None: the most probable one.
        progress: function called with the number of newly finished texts, 2 * tokens in all, like `tqdm.update`.

    Raises:
        UserError: the label does not exist, or the text has no tokens.
    """
    if label is not None and not isinstance(label, str):
        raise UserError(f"label must be a string, one of {', '.join(labels)}, was: {shown(label)}; leave it out")
    if label is not None and label not in labels:
        nearest = difflib.get_close_matches(label, labels, 1, 0.0)[0]
        raise UserError(f"label must be one of {', '.join(labels)}, was: {label!r}; did you mean {nearest!r}?")
    count = len(ids)
    if not count:
        raise UserError("a text to explain must have at least one token, had: none; give some text")
    prefixes = (ids[:end] for end in range(1, count + 1))
    erased = (np.delete(ids, position) for position in range(count))
    probs = np.concatenate(
        [_predict(predict, texts, progress) for part in (prefixes, erased) for texts in _batches(part)]
    )
    whole = probs[count - 1]
    column = int(whole.argmax()) if label is None else labels.index(label)
    contributions = _log_odds(whole[column]) - _log_odds(probs[count:, column])
    return Explanation(
        labels=tuple(labels),
        probs=tuple(whole.tolist()),
        label=labels[column],
        pieces=tuple(pieces),
        after=tuple(probs[:count, column].tolist()),
        contributions=tuple(contributions.tolist()),
    )


def _batches(texts: Iterable[NDArray[np.int32]]) -> Iterator[list[NDArray[np.int32]]]:
    """Yield batches of consecutive texts: at most `BATCH_TOKENS` tokens, or one longer text."""
    batch: list[NDArray[np.int32]] = []
    tokens = 0
    for text in texts:
        if batch and tokens + len(text) > BATCH_TOKENS:
            yield batch
            batch, tokens = [], 0
        batch.append(text)
        tokens += len(text)
    yield batch


def _predict(
    predict: Predict, texts: list[NDArray[np.int32]], progress: Callable[[int], object] | None
) -> NDArray[np.float64]:
    probs = predict(texts)
    if progress is not None:
        progress(len(texts))
    return probs


def _log_odds(probs: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = np.clip(probs, CLIP, 1 - CLIP)
    return np.asarray(np.log(clipped) - np.log1p(-clipped), np.float64)
