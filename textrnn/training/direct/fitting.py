"""Fits the direct path: which n-grams it reads, and their weights.

Each column is a logistic regression of one class against the others. The importance of an n-gram is its largest
log-count ratio of naive Bayes (Wang & Manning 2012). The weights start at those ratios or at zero, and are trained by
Adagrad (Duchi et al. 2011). Held-out texts choose the length of the n-grams, the start and the number of passes; if
those texts are few, folds of the training texts choose.

The trained weights belong to features. Each n-gram is a feature, and each subword is one (`subwords`). The features of
an n-gram are itself and, if it is one word, the subwords of the word. Its row is the sum over its features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from textrnn.training.direct.model import (
    CHUNK,
    DirectPath,
    Ngrams,
    Texts,
    as_logits,
    chunks,
    joined,
    ngrams_of,
    norms,
    summed,
)
from textrnn.training.direct.ngrams import NgramTable, hashes, identities
from textrnn.training.direct.subwords import features_of

MOST_NGRAMS = 1 << 17
MOST_WEIGHTS = 3_000_000
MOST_COUNTS = 20_000_000  # counts of n-grams by class in memory at once
MOST_TOKENS = 8_000_000  # of the training texts; more are not read, so that memory is bounded
MANY_TOKENS = 1_000_000  # training tokens; above it shorter n-grams and subwords are left out, which do not help there
ENOUGH_HELD_OUT = 200  # texts, from which on they choose alone
FOLDS = 5
LARGEST_BATCH, SMALLEST_BATCH, BATCHES_A_PASS = 128, 8, 20
RATE = 0.3  # of Adagrad
FIRST_PASSES = 3  # passes of every candidate; after them only the best candidate is trained further
MOST_PASSES, PATIENCE = 20, 2  # passes at most, and those in a row that improve nothing
SMOOTHING = 1.0  # added to each count of naive Bayes
FEW_TEXTS = 40  # training texts; below it subwords are left out, because they make the model worse
OF_SUBWORDS = 0.4  # factor of the importance of subwords, because a word has many of them but is one n-gram

Array = NDArray[np.float64]
Targets = NDArray[np.integer[Any]]


class Examples(NamedTuple):
    """Texts with their targets.

    Attributes:
        texts: each ids ``(tokens,)``.
        targets: ``(texts,)`` numbers of classes; or ``(texts, classes)``, 1 for each class of a text.
    """

    texts: Texts
    targets: Targets


Scale = Callable[[Array, Targets], tuple[float, float]]
"""From logits ``(texts, classes)`` and targets: the factor of the logits with the lowest loss, and that loss."""


class Weights(NamedTuple):
    """Weights in training, which changes them in place.

    Attributes:
        features: float32 ``(features + 1, columns)``; no n-gram has row 0.
        bias: float32 ``(columns,)``.
    """

    features: NDArray[np.float32]
    bias: NDArray[np.float32]

    def times(self, factor: float) -> Weights:
        """Return a copy, multiplied."""
        return Weights(self.features * np.float32(factor), self.bias * np.float32(factor))


class Sample(NamedTuple):
    """Texts as the weights read them.

    Attributes:
        read: their n-grams.
        features: the features of each n-gram.
        columns: float32 ``(texts, columns)``: 1 where the column is true of the text.
        of_text: float32 ``(texts,)``: weight of each text in the loss.
    """

    read: Ngrams
    features: Ngrams
    columns: NDArray[np.float32]
    of_text: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.columns)

    def some(self, numbers: NDArray[Any]) -> Sample:
        """Return some of the texts, by their numbers."""
        return Sample(self.read.some(numbers), self.features, self.columns[numbers], self.of_text[numbers])


Start = Callable[[Sample, NDArray[np.float32]], Weights]
"""From texts and the importance of their features: the weights that training starts at."""


class Part(NamedTuple):
    """Texts to fit to, and others to measure on.

    Attributes:
        sample: texts to fit to.
        importance: float32 ``(features + 1,)``. It depends on labels, so it is computed from `sample` alone.
        read: n-grams of the texts to measure on.
        norms: float32 ``(texts,)``, of these.
    """

    sample: Sample
    importance: NDArray[np.float32]
    read: Ngrams
    norms: NDArray[np.float32]

    @classmethod
    def of(cls, sample: Sample, read: Ngrams) -> Part:
        """Return the part of two sets of texts with the same n-grams."""
        importance = importance_of(sample)
        return cls(sample, importance, read, norms(squares_of(importance, sample.features), read))

    def logits(self, weights: Weights) -> Array:
        """Compute logits ``(texts, classes)`` of the texts to measure on."""
        sums = summed(rows_of(weights, self.importance, self.sample.features), self.read)
        return as_logits(sums / self.norms[:, None] + weights.bias)


class Judge(NamedTuple):
    """Texts that choose: those that a model was not fitted to, which are the folds of the training texts, or others.

    Attributes:
        parts: the texts; several parts are folds.
        targets: targets of all texts to measure on, one part after the other.
        scale: function that measures their logits.
    """

    parts: list[Part]
    targets: Targets
    scale: Scale

    def measure(self, weights: list[Weights]) -> tuple[float, float]:
        """Return factor and loss of weights, those of each part."""
        logits = [part.logits(own) for part, own in zip(self.parts, weights, strict=True)]
        return self.scale(np.concatenate(logits), self.targets)


def fit_direct_path(
    train: Examples,
    held_out: Examples,
    labels: tuple[str, ...],
    order: int,
    scale: Scale,
    class_weights: NDArray[np.float32] | None = None,
    pretrained: DirectPath | None = None,
    seed: int = 0,
    most: int = MOST_NGRAMS,
    words: Sequence[str] = (),
) -> DirectPath:
    """Fit a direct path whose logits have the scale that suits held-out texts.

    Args:
        train: texts to fit to.
        held_out: texts to choose by.
        labels: the classes.
        order: tokens of the longest n-gram; one less is tried too.
        scale: function that measures logits.
        class_weights: weight of the texts of each class, ``(classes,)``; None weighs all alike.
        pretrained: a path of the same classes and tokens; its weights are one more start.
        seed: seed of the order of the texts, and of the folds.
        most: number of n-grams to keep at most.
        words: the text of each token; empty for tokens without subwords.
    """
    train = _bounded(train, seed)
    columns = as_columns(train.targets, len(labels))
    of_text = np.ones(len(columns), np.float32)
    if class_weights is not None and train.targets.ndim == 1:
        of_text = class_weights[train.targets]
    candidates = []
    is_large = sum(len(text) for text in train.texts) > MANY_TOKENS
    if is_large or len(train.texts) < FEW_TEXTS:
        words = ()
    for length in (order,) if is_large else dict.fromkeys((order, max(1, order - 1))):
        table, hashed = choose_ngrams(train.texts, columns, length, most)
        features = features_of(table, len(hashed), words)
        sample = Sample(ngrams_of(table, train.texts), features, columns, of_text)
        starts: list[Start] = [naive_bayes, zeros]
        if pretrained is not None:
            starts.append(partial(from_path, path=pretrained, numbers=np.append(0, pretrained.table.look_up(hashed))))
        judge = judge_of(sample, train.targets, table, held_out, scale, seed)
        candidates += [Candidate(start, sample, judge, table, seed) for start in starts]
    for candidate in candidates:
        candidate.train(FIRST_PASSES)
    best = min(candidates, key=lambda each: each.nats)
    best.train(MOST_PASSES)
    return best.path(labels)


class Candidate:
    """Weights that are trained from one start.

    Attributes:
        nats: lowest loss so far.
    """

    def __init__(self, start: Start, sample: Sample, judge: Judge, table: NgramTable, seed: int) -> None:
        self._start, self._sample, self._judge, self._table, self._seed = start, sample, judge, table, seed
        weights = [start(part.sample, part.importance) for part in judge.parts]
        self._start_factor, self.nats = judge.measure(weights)
        weights = [own.times(self._start_factor) for own in weights]
        self._best, self._best_factor, self._best_passes = [own.times(1.0) for own in weights], 1.0, 0
        self._passes = 0
        self._runs = [
            passes(part.sample, part.importance, own, seed) for part, own in zip(judge.parts, weights, strict=True)
        ]

    def train(self, most: int) -> None:
        """Train up to pass `most`, or until nothing improves."""
        while self._passes < most and self._passes - self._best_passes < PATIENCE:
            self._passes += 1
            weights = [next(run) for run in self._runs]
            factor, nats = self._judge.measure(weights)
            if nats < self.nats:
                self._best, self._best_factor = [own.times(1.0) for own in weights], factor
                self.nats, self._best_passes = nats, self._passes

    def path(self, labels: tuple[str, ...]) -> DirectPath:
        """Return the path of the best weights, at the judge's scale; those of folds are trained on all texts again."""
        weights, importance = self._best[0], self._judge.parts[0].importance
        if len(self._best) > 1:
            importance = importance_of(self._sample)
            weights = self._start(self._sample, importance).times(self._start_factor)
            for _ in islice(passes(self._sample, importance, weights, self._seed), self._best_passes):
                pass  # trained in place
        weights = weights.times(self._best_factor)
        features = self._sample.features
        rows, squares = rows_of(weights, importance, features), squares_of(importance, features)
        return DirectPath(self._table, rows, squares, weights.bias, labels)


def as_columns(targets: Targets, classes: int) -> NDArray[np.float32]:
    """Return what the columns shall be 1 for, ``(texts, columns)``; two classes share one column."""
    if targets.ndim > 1:
        return targets.astype(np.float32)
    of_columns = np.arange(classes) if classes > 2 else np.array([1])
    return np.asarray(targets[:, None] == of_columns, np.float32)


def _bounded(train: Examples, seed: int) -> Examples:
    """Return the texts; if they have more than `MOST_TOKENS` tokens, a random part of them with at most so many."""
    lengths = np.array([len(text) for text in train.texts], np.int64)
    if lengths.sum() <= MOST_TOKENS:
        return train
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(lengths))
    chosen = np.sort(order[np.cumsum(lengths[order]) <= MOST_TOKENS])
    return Examples([train.texts[number] for number in chosen], train.targets[chosen])


# Which n-grams


def choose_ngrams(
    texts: Texts, columns: NDArray[np.float32], order: int, most: int = MOST_NGRAMS
) -> tuple[NgramTable, NDArray[np.int64]]:
    """Choose the n-grams that separate the classes best.

    All n-grams are kept if there are at most `most`. Otherwise those of a single text are removed. The others are
    ranked by their largest absolute log-count ratio, times the root of the number of texts with the n-gram.

    Args:
        texts: each ids ``(tokens,)``.
        columns: ``(texts, columns)``, 1 where the column is true of the text.
        order: tokens of the longest n-gram.
        most: number of n-grams to keep at most.

    Returns:
        their table, and their hashes ``(n-grams, 3)`` in the order of their numbers.
    """
    most = min(most, MOST_WEIGHTS // columns.shape[1])
    lengths = [len(text) for text in texts]
    parts = list(chunks(lengths, CHUNK))
    seen = []
    for begin, end in parts:
        hashed, owners = hashes(*joined(texts[begin:end]), order)
        seen.append(np.unique(np.stack([identities(hashed), owners], axis=1), axis=0)[:, 0])
    known, counts = np.unique(np.concatenate(seen), return_counts=True)
    seen.clear()
    fewest = 1
    while np.sum(counts >= fewest) > (most if fewest == 1 else max(most, MOST_COUNTS // columns.shape[1])):
        fewest += 1
    known = known[counts >= fewest]
    kept = np.zeros((len(known), 3), np.int64)
    by_column = np.zeros((len(known), columns.shape[1]))
    of_all = np.zeros(len(known))
    for begin, end in parts:
        hashed, owners = hashes(*joined(texts[begin:end]), order)
        found = identities(hashed)
        is_known = np.isin(found, known)
        places = np.searchsorted(known, found)
        kept[places[is_known]] = hashed[is_known]
        pairs = np.unique(owners[is_known] << 32 | places[is_known])
        places, owners = pairs & 0xFFFFFFFF, begin + (pairs >> 32)
        of_all += np.bincount(places, minlength=len(known))
        for column in range(columns.shape[1]):
            true = columns[owners, column] > 0
            by_column[:, column] += np.bincount(places[true], minlength=len(known))
    if len(known) > most:
        telling = np.abs(log_count_ratios(by_column, of_all)).max(axis=1) * np.sqrt(of_all)
        kept = kept[np.sort(np.argsort(-telling, kind="stable")[:most])]
    return NgramTable.build(order, kept), kept


def log_count_ratios(by_column: Array, of_all: Array) -> Array:
    """Compute the log-count ratios of naive Bayes, ``(n-grams, columns)``.

    Args:
        by_column: texts with each n-gram of which each column is true, ``(n-grams, columns)``.
        of_all: texts with each n-gram, ``(n-grams,)``.
    """
    of, other = by_column + SMOOTHING, of_all[:, None] - by_column + SMOOTHING
    ratios: Array = np.log(of / of.sum(axis=0)) - np.log(other / other.sum(axis=0))
    return ratios


# Their importance


def importance_of(sample: Sample) -> NDArray[np.float32]:
    """Return the largest absolute log-count ratio of each feature among the columns, ``(features + 1,)``."""
    importance = np.append(0, np.abs(_ratios(sample)).max(axis=1, initial=0)).astype(np.float32)
    importance[len(sample.features) :] *= OF_SUBWORDS
    return importance


def _ratios(sample: Sample) -> Array:
    """Compute the log-count ratios of naive Bayes, ``(features, columns)``, from the texts with each feature.

    A subword counts once for each different word of the text that has it.
    """
    numbers, owners, features = sample.read.numbers, sample.read.owners, sample.features
    counts = [np.bincount(numbers, minlength=len(features))]
    counts += [np.bincount(numbers[true[owners] > 0], minlength=len(features)) for true in sample.columns.T]
    of_features = [np.bincount(features.numbers, count[features.owners]).astype(np.float64) for count in counts]
    return log_count_ratios(np.stack(of_features[1:], axis=1)[1:], of_features[0][1:])


def rows_of(weights: Weights, importance: NDArray[np.float32], features: Ngrams) -> NDArray[np.float32]:
    """Return the rows of the n-grams, ``(n-grams + 1, columns)``: sums of weight times importance of their features."""
    return summed(weights.features * importance[:, None], features).astype(np.float32)


def squares_of(importance: NDArray[np.float32], features: Ngrams) -> NDArray[np.float32]:
    """Return the squared norms of the n-grams, ``(n-grams + 1,)``: sums over their features."""
    return summed(importance[:, None] ** 2, features)[:, 0].astype(np.float32)


# Their weights


def naive_bayes(sample: Sample, importance: NDArray[np.float32]) -> Weights:
    """Return weights that are, times the importance of the features, their log-count ratios."""
    ratios = np.pad(_ratios(sample), ((1, 0), (0, 0)))
    return Weights(_without(ratios, importance), np.zeros(ratios.shape[1], np.float32))


def zeros(sample: Sample, importance: NDArray[np.float32]) -> Weights:
    """Return weights of 0."""
    columns = sample.columns.shape[1]
    return Weights(np.zeros((len(importance), columns), np.float32), np.zeros(columns, np.float32))


def from_path(sample: Sample, importance: NDArray[np.float32], path: DirectPath, numbers: NDArray[np.int64]) -> Weights:
    """Return weights that are, times the importance of the n-grams, those that `path` has for its n-grams `numbers`.

    The rows of `path` hold what its subwords add, so subwords start at 0.
    """
    rows = np.pad(path.weights[numbers], ((0, len(importance) - len(numbers)), (0, 0)))
    return Weights(_without(rows, importance), path.bias.copy())


def _without(products: NDArray[Any], importance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return products divided by the importance of their features; 0 for features of no importance."""
    return np.where(importance > 0, products.T / np.where(importance > 0, importance, 1), 0).T.astype(np.float32)


def passes(sample: Sample, importance: NDArray[np.float32], weights: Weights, seed: int) -> Iterator[Weights]:
    """Train weights in place on the mean binary cross-entropy of the columns; yield them after each pass."""
    generator = np.random.Generator(np.random.PCG64(seed))
    batch = min(LARGEST_BATCH, max(SMALLEST_BATCH, len(sample) // BATCHES_A_PASS))
    squares = Weights(np.full_like(weights.features, 1e-6), np.full_like(weights.bias, 1e-6))
    norm = norms(squares_of(importance, sample.features), sample.read)[:, None]
    while True:
        order = generator.permutation(len(sample))
        for begin in range(0, len(order), batch):
            texts = order[begin : begin + batch]
            of = sample.some(texts)
            ngrams, places = np.unique(of.read.numbers, return_inverse=True)
            of_ngrams = sample.features.some(ngrams)
            features, spots = np.unique(of_ngrams.numbers, return_inverse=True)
            rows = summed(weights.features[features] * importance[features, None], replace(of_ngrams, numbers=spots))
            scores = summed(rows, replace(of.read, numbers=places)) / norm[texts] + weights.bias
            errors = ((1 / (1 + np.exp(-scores)) - of.columns) * of.of_text[:, None]).astype(np.float32)
            if len(ngrams):
                slopes = added((errors / norm[texts])[of.read.owners], places)
                slopes = added(slopes[of_ngrams.owners], spots) * importance[features, None]
                squares.features[features] += slopes**2
                weights.features[features] -= RATE * slopes / np.sqrt(squares.features[features])
            slope = errors.sum(axis=0)
            squares.bias[:] += slope**2
            weights.bias[:] -= RATE * slope / np.sqrt(squares.bias)
        yield weights


def added(rows: NDArray[np.float32], places: NDArray[np.int64]) -> NDArray[np.float32]:
    """Add the rows of each place, ``(rows, columns)`` to ``(places, columns)``; every place has a row."""
    order = np.argsort(places, kind="stable")
    sums: NDArray[np.float32] = np.add.reduceat(rows[order], np.flatnonzero(np.diff(places[order], prepend=-1)), axis=0)
    return sums


def judge_of(sample: Sample, targets: Targets, table: NgramTable, held_out: Examples, scale: Scale, seed: int) -> Judge:
    """Return the texts that choose: the held-out ones or, if they are few, folds of the training texts."""
    if len(held_out.texts) >= ENOUGH_HELD_OUT:
        return Judge([Part.of(sample, ngrams_of(table, held_out.texts))], held_out.targets, scale)
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(sample))
    if targets.ndim == 1:  # else a class with many texts in a fold would have few texts to train on
        order = order[np.argsort(targets[order], kind="stable")]
    folds = [order[fold::FOLDS] for fold in range(min(FOLDS, len(order)))]
    parts = [Part.of(sample.some(np.setdiff1d(order, fold)), sample.read.some(fold)) for fold in folds]
    return Judge(parts, targets[np.concatenate(folds)], scale)
