"""Text classifiers of others, each trained as its own users would: what sentiment.py compares with.

    TF-IDF       words and pairs of words (of Chinese 1 to 3 characters), sublinear, seen in two texts at least;
                 logistic regression of scikit-learn
    NB-SVM       Wang & Manning 2012: the same n-grams, there or not, each scaled by its log-count ratio; a linear SVM
                 whose weights are drawn towards their mean
    fastText     Joulin et al. 2017: words and pairs of words (of Chinese, characters), on one thread so that a seed
                 decides
    Keras        SimpleRNN as the Keras book has it: 10,000 words, the last 500 of a text, 32 units (Chollet 2018)

What decides the result (C, beta, epochs, learning rate) is chosen on a held-out tenth of the training texts, by
accuracy; then all of them are trained on. The tenth is the one that `textrnn train` holds out by default.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, compress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from measure import peer
from numpy.typing import NDArray

from textrnn.data.labels import stratified_split

HELD_OUT = 0.1
WORD = r"\w+(?:'\w+)*|[^\w\s]"
FASTTEXT_LABEL = "__label__"
BOOK_WORDS, BOOK_LENGTH, BOOK_UNITS, BOOK_EPOCHS = 10_000, 500, 32, 10


class Example(NamedTuple):
    """A text and its class."""

    text: str
    label: str


Setting = Mapping[str, Any]
Predict = Callable[[Sequence[str]], Sequence[str]]
"""Texts to labels."""
Begin = Callable[[Sequence[Example], int], Callable[..., Predict]]
"""Reads texts and takes a seed; gives what trains on them with a setting."""


@dataclass(frozen=True)
class Peer:
    """A way to classify texts."""

    name: str
    begin: Begin
    settings: Sequence[Setting] = ({},)
    """What to choose among; of those equally good the first."""
    seeded: bool = False
    """Whether another seed gives another classifier."""


def peers(characters: bool, keras: bool = False) -> list[Peer]:
    """Those whose packages are installed; what is not is told.

    Args:
        characters: read characters instead of words, for a language that puts no blanks between them.
        keras: the Keras book's network too, which takes minutes an epoch.
    """
    found = []
    if peer("sklearn"):
        ngrams: dict[str, Any] = {"token_pattern": WORD, "ngram_range": (1, 2)}
        if characters:
            ngrams = {"analyzer": "char", "ngram_range": (1, 3)}
        found += [
            Peer("TF-IDF, logistic regression", _tf_idf(ngrams), [{"C": c} for c in (1.0, 4.0, 16.0, 64.0, 256.0)]),
            Peer(
                "NB-SVM",
                _nb_svm(ngrams),
                [{"C": c, "beta": b} for c in (0.01, 0.1, 1.0, 10.0) for b in (0.25, 0.5, 1.0)],
            ),
        ]
    if peer("fasttext"):
        settings = [{"epoch": epoch, "lr": lr} for epoch in (5, 10, 25) for lr in (0.1, 0.25, 0.5, 1.0)]
        found.append(Peer("fastText, bigrams", _fasttext(characters), settings, seeded=True))
    if keras:
        found.append(Peer("Keras SimpleRNN", _keras_book, seeded=True))
    return found


def train(candidate: Peer, examples: Sequence[Example], seed: int) -> tuple[Predict, Setting, float]:
    """Choose a setting and train with it; what it gives, the setting, and the seconds that the training itself took."""
    setting = candidate.settings[0]
    if len(candidate.settings) > 1:
        kept, aside = set_aside(examples)
        fit = candidate.begin(kept, seed)
        setting = max(candidate.settings, key=lambda each: accuracy(fit(**each), aside))
    began = time.perf_counter()
    predict = candidate.begin(examples, seed)(**setting)
    return predict, setting, time.perf_counter() - began


def set_aside(examples: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """What is trained on while settings are chosen, and the held-out tenth."""
    held_out = stratified_split([example.label for example in examples], HELD_OUT)
    return list(compress(examples, ~held_out)), list(compress(examples, held_out))


def accuracy(predict: Predict, examples: Sequence[Example]) -> float:
    """The share of texts that get their own class."""
    predicted = predict([example.text for example in examples])
    return sum(label == example.label for label, example in zip(predicted, examples, strict=True)) / len(examples)


def macro_f1(predicted: Sequence[str], labels: Sequence[str]) -> float:
    """Mean F1 of the classes, each with the same weight."""
    hits = Counter(label for label, found in zip(labels, predicted, strict=True) if label == found)
    named = Counter(labels) + Counter(predicted)
    return sum(2 * hits[label] / named[label] for label in set(labels)) / len(set(labels))


# scikit-learn


def _tf_idf(ngrams: Mapping[str, Any]) -> Begin:
    def begin(examples: Sequence[Example], seed: int) -> Callable[..., Predict]:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression

        texts, labels = zip(*examples, strict=True)
        vectorizer = TfidfVectorizer(**ngrams, sublinear_tf=True, min_df=2)
        x = vectorizer.fit_transform(texts)

        def fit(C: float) -> Predict:
            model = LogisticRegression(C=C, max_iter=1000).fit(x, labels)
            return lambda texts: list(model.predict(vectorizer.transform(texts)))

        return fit

    return begin


def _nb_svm(ngrams: Mapping[str, Any], smoothing: float = 1.0) -> Begin:
    """For two classes. `smoothing` is alpha; beta, which Wang & Manning set to 0.25, is how much of a weight is its
    own; the rest is the mean of all."""

    def begin(examples: Sequence[Example], seed: int) -> Callable[..., Predict]:
        from scipy.sparse import diags_array
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.svm import LinearSVC

        texts, labels = zip(*examples, strict=True)
        first, second = sorted(set(labels))
        vectorizer = CountVectorizer(**ngrams, binary=True)
        counts = vectorizer.fit_transform(texts)
        is_second = np.array(labels) == second
        p, q = (smoothing + np.asarray(counts[rows].sum(axis=0)).ravel() for rows in (is_second, ~is_second))
        ratio = np.log(p / p.sum()) - np.log(q / q.sum())
        x = counts @ diags_array(ratio)

        @cache
        def separating(C: float) -> Any:
            return LinearSVC(C=C, random_state=seed, max_iter=10_000).fit(x, is_second)

        def fit(C: float, beta: float) -> Predict:
            model = separating(C)
            weights = model.coef_[0]
            weights = ratio * ((1 - beta) * np.abs(weights).mean() + beta * weights)

            def predict(texts: Sequence[str]) -> list[str]:
                scores = vectorizer.transform(texts) @ weights + model.intercept_
                return [second if score > 0 else first for score in scores]

            return predict

        return fit

    return begin


# fastText


def fasttext_line(text: str, characters: bool) -> str:
    """A text as fastText wants it: in one line, lower-case, a blank between any two tokens."""
    text = text.lower().replace("<br />", " ")
    return " ".join("".join(text.split()) if characters else re.findall(WORD, text))


def train_fasttext(lines: Sequence[str], labels: Sequence[str], **options: Any) -> Any:
    """A supervised model of lines; it reads them from a file, and in their order: shuffle them before."""
    import fasttext

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "lines.txt"
        pairs = zip(lines, labels, strict=True)
        file.write_text("".join(f"{FASTTEXT_LABEL}{label} {line}\n" for line, label in pairs), encoding="utf-8")
        return fasttext.train_supervised(str(file), wordNgrams=2, thread=1, verbose=0, **options)


def fasttext_labels(model: Any, lines: Sequence[str]) -> list[str]:
    """The most probable label of each line."""
    # Of one string `predict` fails under NumPy 2, where np.array(copy=False) no longer means "if need be"; a list goes
    # another way inside.
    found, _ = model.predict(list(lines))
    return [labels[0].removeprefix(FASTTEXT_LABEL) for labels in found]


def _fasttext(characters: bool) -> Begin:
    def begin(examples: Sequence[Example], seed: int) -> Callable[..., Predict]:
        shuffled = [examples[place] for place in np.random.default_rng(seed).permutation(len(examples))]
        lines = [fasttext_line(example.text, characters) for example in shuffled]
        labels = [example.label for example in shuffled]

        def fit(**setting: Any) -> Predict:
            model = train_fasttext(lines, labels, seed=seed, **setting)
            return lambda texts: fasttext_labels(model, [fasttext_line(text, characters) for text in texts])

        return fit

    return begin


# Keras


def _keras_book(examples: Sequence[Example], seed: int) -> Callable[..., Predict]:
    """The epoch is chosen on the held-out tenth, which for this one is not trained on afterwards."""
    from textrnn.training.tensorflow_setup import import_tensorflow

    import_tensorflow()
    import keras

    kept, aside = set_aside(examples)
    classes = sorted({example.label for example in examples})
    counts = Counter(chain.from_iterable(re.findall(WORD, example.text.lower()) for example in kept))
    # 0 is padding, 1 a word not among them.
    ids = {word: index for index, (word, _) in enumerate(counts.most_common(BOOK_WORDS - 2), 2)}

    def padded(texts: Sequence[str]) -> NDArray[np.int32]:
        rows = np.zeros((len(texts), BOOK_LENGTH), np.int32)
        for row, text in zip(rows, texts, strict=True):
            words = [ids.get(word, 1) for word in re.findall(WORD, text.lower())][-BOOK_LENGTH:]
            row[BOOK_LENGTH - len(words) :] = words
        return rows

    def arrays(part: Sequence[Example]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        targets = np.array([classes.index(example.label) for example in part], np.int32)
        return padded([example.text for example in part]), targets

    def fit() -> Predict:
        keras.utils.set_random_seed(seed)
        model = keras.Sequential(
            [
                keras.layers.Embedding(BOOK_WORDS, BOOK_UNITS),
                keras.layers.SimpleRNN(BOOK_UNITS),
                keras.layers.Dense(len(classes), activation="softmax"),
            ]
        )
        model.compile("rmsprop", "sparse_categorical_crossentropy", metrics=["accuracy"])
        best = keras.callbacks.EarlyStopping("val_accuracy", patience=BOOK_EPOCHS, restore_best_weights=True)
        model.fit(
            *arrays(kept),
            batch_size=128,
            epochs=BOOK_EPOCHS,
            validation_data=arrays(aside),
            callbacks=[best],
            verbose=0,
        )
        return lambda texts: [classes[index] for index in model.predict(padded(texts), verbose=0).argmax(axis=1)]

    return fit
