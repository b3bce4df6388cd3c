"""A text classifier for scikit-learn: `textrnn.TextClassifier`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn.actions.training import TemporaryRun, train
from textrnn.errors import UserError, is_several, shown
from textrnn.runtime.load import load_classifier

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d
except ModuleNotFoundError as error:
    raise UserError(
        f"TextClassifier needs scikit-learn, {error.name} is missing; run: pip install 'textrnn[train,sklearn]'"
    ) from error


class TextClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Classifier of texts, for pipelines, cross-validation and grid searches of scikit-learn.

    It trains as ``textrnn train --task classification`` does. A tenth of each class is held out to calibrate the
    probabilities and to choose the best weights.

    >>> from textrnn import TextClassifier
    >>> model = TextClassifier(epochs=2).fit(["good film", "bad film"] * 20, ["yes", "no"] * 20)
    >>> model.predict(["a good film"])
    array(['yes'], ...)

    Args:
        epochs: number of epochs; None: chosen from the number of texts.
        hidden_dim: units of the network; None: the default of the task.
        learning_rate: None: the default of the task.
        direct_ngrams: longest n-gram of the direct path; 0 switches it off; None: the default of the task.
        seed: the same seed and texts give the same model.
        settings: other settings of `textrnn.config`, by name or key, as ``{"tokenizer.kind": "char"}``.
        out: the run folder, which must not exist yet; None: a temporary folder, removed with the model.
        progress: print progress on standard error.
        threads: number of processor threads of predictions.

    Attributes:
        classes_: the labels, in order, ``(classes,)``.
        model_: the trained `textrnn.Classifier`: it explains predictions, and ``model_.save`` writes its bundle.
    """

    classes_: NDArray[Any]
    model_: Any

    def __init__(
        self,
        *,
        epochs: float | None = None,
        hidden_dim: int | None = None,
        learning_rate: float | None = None,
        direct_ngrams: int | None = None,
        seed: int = 1,
        settings: Mapping[str, Any] | None = None,
        out: str | PathLike[str] | None = None,
        progress: bool = False,
        threads: int = 1,
    ) -> None:
        self.epochs = epochs
        self.hidden_dim = hidden_dim
        self.learning_rate = learning_rate
        self.direct_ngrams = direct_ngrams
        self.seed = seed
        self.settings = settings
        self.out = out
        self.progress = progress
        self.threads = threads

    def fit(self, X: Iterable[str], y: Any) -> TextClassifier:
        """Train on texts with a label each.

        Args:
            X: texts: a list, an array ``(texts,)``, a column of a table.
            y: labels: strings, numbers or truth values, ``(texts,)``.

        Raises:
            UserError: X has something else than texts, there are too few texts or classes, or a setting is not valid.
        """
        texts = _texts(X)
        if y is None:
            raise UserError("TextClassifier requires y to be passed, was: None; give a label for each text")
        y = column_or_1d(y, warn=True)
        check_consistent_length(texts, y)
        check_classification_targets(y)
        self.classes_, indices = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            found = shown(self.classes_.tolist())
            raise UserError(
                f"a classifier needs two classes or more, y has one class at most: {found}; give others too"
            )
        occurring = sorted({int(index) for index, text in zip(indices, texts, strict=True) if text.strip()})
        names = [f"{index}={self._name(index)}" for index in occurring]
        named = {name: getattr(self, name) for name in ("epochs", "hidden_dim", "learning_rate", "direct_ngrams")}
        self.model_ = train(
            (texts, [str(index) for index in indices]),
            out=self.out,
            task="classification",
            progress=self.progress,
            threads=self.threads,
            seed=self.seed,
            label_names=names,
            **{name: value for name, value in named.items() if value is not None},
            **(self.settings or {}),
        )
        return self

    def predict(self, X: Iterable[str]) -> NDArray[Any]:
        """Predict the label of each text, ``(texts,)``."""
        probs = self.predict_proba(X)
        return np.asarray(self.classes_[probs.argmax(axis=1)])

    def predict_proba(self, X: Iterable[str]) -> NDArray[np.float64]:
        """Predict the probability of each class, ``(texts, classes)``, in the order of `classes_`."""
        check_is_fitted(self)
        model, texts = self.model_, _texts(X)
        probs = np.zeros((len(texts), len(self.classes_)))
        places = {self._name(index): index for index in range(len(self.classes_))}
        columns = [places[label] for label in model.labels]
        probs[:, columns] = model.predict([model.tokenizer.encode(text) for text in texts])
        return probs

    def _name(self, index: int) -> str:
        """Return the name that a class has in the model; it can be any text but none."""
        return str(self.classes_[index]).strip() or f"class {index}"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array, tags.input_tags.two_d_array, tags.input_tags.string = True, False, True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        # A pickle holds the files of the model, so that it can be loaded where the run folder is not.
        state = dict(super().__getstate__())
        if model := state.pop("model_", None):
            state["_files"] = {path.name: path.read_bytes() for path in model.files()}
        return state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        state = dict(state)
        files = state.pop("_files", None)
        super().__setstate__(state)
        if files:
            own = TemporaryRun()
            own.folder.mkdir()
            for name, content in files.items():
                (own.folder / name).write_bytes(content)
            self.model_ = load_classifier(own.folder, threads=self.threads)
            self.model_.owner = own


def _texts(X: object) -> list[str]:
    """Return texts as a list.

    Raises:
        UserError: there are no several texts.
    """
    if isinstance(X, str | bytes | Mapping) or hasattr(X, "columns") or not is_several(X):
        raise UserError(f"X must be several texts, was: {shown(X)}; give a list of strings, or one column of a table")
    texts = list(X)  # type: ignore[call-overload]
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise UserError(f"X must be texts, one a record, that at {number} is: {shown(text)}; give strings")
    return [str(text) for text in texts]
