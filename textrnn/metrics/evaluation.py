"""How well a model predicts held-out text, or what held-out texts and vectors stand for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from textrnn.data.labelled import LabelledDataset
from textrnn.data.labels import Labels
from textrnn.data.records import SourceOptions, TextBlock
from textrnn.data.sources import read_labelled
from textrnn.data.tokens.datasets import TokenDataset, piece_ids, piece_size
from textrnn.data.tokens.shards import ShardedIds
from textrnn.data.vector_sources import VectorOptions, read_vectors
from textrnn.errors import UserError
from textrnn.metrics.regression import errors
from textrnn.scoring import Read, Scorer, TextMetrics, TextSize, windowed_nats
from textrnn.tokenizers.base import Tokenizer

TEXTS_AT_ONCE = 2048
VALUES_AT_ONCE = 1 << 24  # of records that are read together: bounds memory however long they are

T = TypeVar("T")
M = TypeVar("M")


class Part(NamedTuple):
    """A part of a text: its ids, int ``(tokens,)``, and how much text they stand for."""

    ids: NDArray[Any]
    size: TextSize


def encode_pieces(tokenizer: Tokenizer, pieces: Iterable[TextBlock], apart: bool) -> Iterator[Part]:
    """Tokenise a text piece by piece; with `apart` every document gets its end token."""
    for piece in pieces:
        yield Part(piece_ids(tokenizer, piece, apart), piece_size(tokenizer, piece, apart))


def dataset_parts(dataset: TokenDataset) -> list[Part]:
    """Return prepared tokens, shard by shard; the first part counts all the text."""
    first, *others = dataset.ids.parts if isinstance(dataset.ids, ShardedIds) else [dataset.ids]
    return [Part(first, dataset.size), *(Part(ids, TextSize(0, 0, 0)) for ids in others)]


def evaluate(
    read: Read,
    vocabulary_size: int,
    parts: Iterable[Part],
    start_id: int,
    *,
    apart: bool = False,
    window: int | None = None,
) -> TextMetrics:
    """Measure the loss of a language model on a text.

    Args:
        read: the model, ``(ids (batch, time), state) -> (logits (batch, time, vocabulary), state)``.
        vocabulary_size: of the model.
        parts: the text.
        start_id: the token before the first one.
        apart: whether the state is forgotten after every end token.
        window: None predicts every token once with the state carried. A number reads consecutive windows of so many
            tokens, each from a fresh state, as systems that carry no state are measured.

    Raises:
        UserError: a window longer than the text.
    """
    if window is not None:
        return _evaluate_windows(read, vocabulary_size, list(parts), window)
    scorer = Scorer(read, vocabulary_size, start_id, apart)
    nats, tokens, size = 0.0, 0, TextSize(0, 0, 0)
    for part in parts:
        nats += float(scorer.add(part.ids).sum())
        tokens += len(part.ids)
        size += part.size
    return TextMetrics.of(nats, tokens, size)


def encode_labelled(
    tokenizer: Tokenizer,
    sources: Sequence[str],
    options: SourceOptions,
    classes: Sequence[str],
    labels: Labels,
    skipped: Counter[str],
) -> Iterator[tuple[NDArray[Any], Any]]:
    """Tokenise labelled sources text by text; those with a label of no class are left out and counted.

    Raises:
        UserError: no text is left.
    """
    records = read_labelled(sources, options, skipped)
    for text, target in _with_known_labels(records, sources, classes, labels, skipped, "texts"):
        yield tokenizer.encode(text), target


def labelled_vectors(
    sources: Sequence[str],
    options: VectorOptions,
    features: int,
    classes: Sequence[str],
    labels: Labels,
    skipped: Counter[str],
) -> Iterator[tuple[NDArray[Any], int]]:
    """Yield sequences ``(time, features)`` and their targets; records of no class are left out and counted.

    Raises:
        UserError: no sequence is left.
    """
    records = read_vectors(sources, options, skipped, features)
    named = ((sequence, str(label)) for sequence, label in records)
    return _with_known_labels(named, sources, classes, labels, skipped, "sequences")


def _with_known_labels(
    records: Iterable[tuple[T, str]],
    sources: Sequence[str],
    classes: Sequence[str],
    labels: Labels,
    skipped: Counter[str],
    what: str,
) -> Iterator[tuple[T, Any]]:
    places = {name: place for place, name in enumerate(classes)}
    found = False
    for record, label in records:
        target = labels.target(label, places)
        if target is None:
            skipped[f"{what} with a label never seen in training"] += 1
            last = label
        else:
            found = True
            yield record, target
    if not found:
        raise UserError(
            f"labels must be {', '.join(classes)!r:.200}, found none of these but {last!r:.60} in "
            f"{', '.join(sources)}; name the label column, or names for labels in data.label_names"
        )


def prepared_records(dataset: LabelledDataset) -> Iterator[tuple[NDArray[Any], Any]]:
    """Yield records that were prepared already, each with its target."""
    yield from ((dataset.record(index), target) for index, target in enumerate(dataset.targets))


def evaluate_classifier(
    predict: Callable[[Sequence[NDArray[Any]]], NDArray[np.float64]],
    records: Iterable[tuple[NDArray[Any], Any]],
    measure: Callable[[NDArray[np.float64], NDArray[Any]], M],
) -> M:
    """Measure a classifier on labelled records.

    Args:
        predict: the model, texts as ids, or sequences of vectors, to probabilities ``(records, classes)``.
        records: records with their targets.
        measure: function of probabilities and targets of all records.
    """
    probs, targets = _predictions(predict, records)
    return measure(probs, np.array(targets))


def evaluate_regressor(
    predict: Callable[[Sequence[NDArray[Any]]], NDArray[np.float32]], records: Iterable[tuple[NDArray[Any], Any]]
) -> dict[str, float]:
    """Measure a regressor: the number of records, and `textrnn.metrics.regression.errors` over all of them.

    Args:
        predict: the model, sequences of vectors to values ``(records, outputs)``.
        records: with the right values, ``(outputs,)``.

    Raises:
        UserError: a record has another number of values than the model predicts.
    """
    values, targets = _predictions(predict, records)
    if len(targets[0]) != values.shape[1]:
        raise UserError(
            f"a record must have as many values as the model predicts, {values.shape[1]}, those of the source have "
            f"{len(targets[0])}; name their column: --label"
        )
    return {"records": len(targets), **errors(values, np.array(targets, np.float64))}


def _predictions(
    predict: Callable[[Sequence[NDArray[Any]]], NDArray[Any]], records: Iterable[tuple[NDArray[Any], T]]
) -> tuple[NDArray[Any], list[T]]:
    predictions, targets = [], []
    for batch in in_batches(records, TEXTS_AT_ONCE):
        predictions.append(predict([record for record, _ in batch]))
        targets += [target for _, target in batch]
    return np.concatenate(predictions), targets


def in_batches(records: Iterable[tuple[NDArray[Any], T]], at_once: int) -> Iterator[list[tuple[NDArray[Any], T]]]:
    """Yield batches of records in their order: at most `at_once` records, fewer if they are long."""
    batch, values = [], 0
    for record in records:
        batch.append(record)
        values += record[0].size
        if len(batch) == at_once or values >= VALUES_AT_ONCE:
            yield batch
            batch, values = [], 0
    if batch:
        yield batch


def _evaluate_windows(read: Read, vocabulary_size: int, parts: list[Part], window: int) -> TextMetrics:
    ids = np.concatenate([part.ids for part in parts])
    if not 1 <= window < len(ids):
        raise UserError(
            f"a window must be between 1 and {len(ids) - 1}, the tokens of the text less one, was: {window}"
        )
    nats, predicted = windowed_nats(read, vocabulary_size, ids, window)
    # The few tokens at the end that fill no window are left out; what they stand for is counted in proportion.
    size = sum((part.size for part in parts), TextSize(0, 0, 0))
    return TextMetrics.of(nats, predicted, size.share(predicted / len(ids)))
