"""`textrnn.TextClassifier` in the hands of scikit-learn, which these tests skip without."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import error_of

pytest.importorskip("sklearn", reason="TextClassifier needs scikit-learn: pip install 'textrnn[sklearn]'")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks
from sklearn.utils.validation import check_is_fitted, validate_data

from textrnn import TextClassifier

ROOT = Path(__file__).resolve().parent.parent
TINY: dict[str, Any] = {"epochs": 8, "hidden_dim": 4, "settings": {"evaluations": 1, "model.embedding_dim": 4}}
TEXTS = [f"{word} {noun}" for noun in ("film", "plot", "cast", "end", "song") for word in ("good", "bad") * 2]
LABELS = ["yes", "no"] * 10


@pytest.fixture(scope="module")
def fitted() -> TextClassifier:
    return TextClassifier(**TINY).fit(TEXTS, LABELS)


def test_it_predicts_labels_and_probabilities_in_the_order_of_its_classes(fitted: TextClassifier) -> None:
    assert fitted.classes_.tolist() == ["no", "yes"]
    assert fitted.predict(np.array(["a good film", "a bad film"])).tolist() == ["yes", "no"]
    probs = fitted.predict_proba(["a good film", "", "bad"])
    assert probs.shape == (3, 2)
    np.testing.assert_allclose(probs.sum(axis=1), 1)
    assert probs[0, 1] > 0.5 > probs[2, 1]
    assert fitted.predict_proba([]).shape == (0, 2)
    assert fitted.score(TEXTS, LABELS) == 1
    assert fitted.model_.classify(["good"])[0].label == "yes"


@pytest.mark.parametrize(("dtype", "pair"), [("int64", [10, 2]), ("bool", [True, False]), ("object", ["ja", "nein"])])
def test_labels_are_of_the_type_that_was_given(dtype: str, pair: list[Any]) -> None:
    found = TextClassifier(**TINY).fit(TEXTS, np.array(pair * 10, dtype=dtype)).predict(["good", "bad"])
    assert (found.dtype, found.tolist()) == (dtype, pair)


def test_a_pickle_is_read_where_the_run_folder_is_not(fitted: TextClassifier, tmp_path: Path) -> None:
    again = pickle.loads(pickle.dumps(fitted))
    assert again.model_.folder != fitted.model_.folder
    (tmp_path / "model.pickle").write_bytes(pickle.dumps(fitted))
    code = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).predict_proba(['good film']).tolist())"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    command = [sys.executable, "-c", code, str(tmp_path / "model.pickle")]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.stdout == f"{fitted.predict_proba(['good film']).tolist()}\n", result.stderr


@pytest.mark.long
def test_pipelines_cross_validation_and_grid_searches_use_it() -> None:
    lower = FunctionTransformer(lambda texts: [text.lower() for text in texts])
    pipeline = make_pipeline(lower, TextClassifier(**TINY))
    scores = cross_val_score(pipeline, [text.upper() for text in TEXTS], LABELS, cv=2)
    assert scores.shape == (2,)
    search = GridSearchCV(clone(pipeline), {"textclassifier__direct_ngrams": [0, 2]}, cv=2, refit=False)
    search.fit(np.array(TEXTS), LABELS)
    assert search.cv_results_["mean_test_score"].shape == (2,)
    assert search.best_params_["textclassifier__direct_ngrams"] in (0, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TextClassifier().fit("a text", ["a"]), "X must be several texts, was: 'a text'; give a list"),
        (lambda: TextClassifier().fit(["a", None], ["a", "b"]), "X must be texts, one a record, that at 1 is: None"),
        (lambda: TextClassifier().fit([["a"], ["b"]], ["a", "b"]), "that at 0 is: ['a']"),
        (lambda: TextClassifier().fit({"text": ["a", "b"]}, ["a", "b"]), "one column of a table"),
        (lambda: TextClassifier().fit(["a", "b"], None), "requires y to be passed"),
        (
            lambda: TextClassifier().fit(["a", "b"] * 9, ["a", "a"] * 9),
            "a classifier needs two classes or more, y has one class at most: ['a']",
        ),
        (lambda: TextClassifier().fit([], []), "y has one class at most: []"),
        (lambda: TextClassifier(hidden_dim=-1).fit(TEXTS, LABELS), "model.hidden_dim must be between 1 and"),
        (lambda: TextClassifier(settings={"hiden_dim": 1}).fit(TEXTS, LABELS), "did you mean model.hidden_dim?"),
    ],
)
def test_wrong_texts_and_settings_are_refused_in_one_line(call: Callable[[], object], message: str) -> None:
    assert message in error_of(call)


def test_it_must_be_fitted_first() -> None:
    with pytest.raises(NotFittedError):
        TextClassifier().predict(TEXTS)


class WordsOfNumbers(TextClassifier):  # type: ignore[misc]
    """The classifier behind a table of numbers, which scikit-learn's checks are made of: a number becomes a word."""

    def fit(self, X: Any, y: Any = None) -> WordsOfNumbers:
        X, y = validate_data(self, X, y)
        super().fit(_words(X), y)
        return self

    def predict_proba(self, X: Any) -> Any:
        check_is_fitted(self)
        return super().predict_proba(_words(validate_data(self, X, reset=False)))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array, tags.input_tags.two_d_array, tags.input_tags.string = False, True, False
        return tags


def _words(X: Any) -> list[str]:
    return [" ".join(f"{column}x{value:.0f}" for column, value in enumerate(row)) for row in np.clip(2 * X, -9, 9)]


def test_scikit_learn_finds_nothing_wrong_with_it_as_a_classifier_of_texts() -> None:
    with pytest.warns(SkipTestWarning, match="Can't test estimator TextClassifier"):  # its checks make no texts
        results = estimator_checks.check_estimator(TextClassifier(), on_skip=None)
    assert [each["status"] for each in results] == ["passed"]


# All checks of scikit-learn pass on numbers written as words. In seven minutes, so these are left out:
LEFT_OUT = {
    # what `validate_data` does in the class above
    "check_array_api_input",
    "check_classifier_data_not_an_array",
    "check_dtype_object",
    "check_estimators_dtypes",
    "check_estimators_nan_inf",
    "check_f_contiguous_array_estimator",
    "check_fit2d_1feature",
    "check_fit2d_predict1d",
    "check_n_features_in",
    "check_n_features_in_after_fitting",
    "check_positive_only_tag_during_fit",
    "check_readonly_memmap_input",
    # what the tests above say of texts
    "check_classifiers_classes",
    "check_classifiers_train",
    "check_estimators_fit_returns_self",
    "check_estimators_pickle",
    "check_fit_score_takes_y",
    "check_pipeline_consistency",
    "check_supervised_y_2d",
}


def _checks() -> list[Any]:
    estimator = WordsOfNumbers(**{**TINY, "epochs": 2})
    found: dict[str, Any] = {}
    for each, check in estimator_checks.estimator_checks_generator(estimator, legacy=True):
        found.setdefault(check.func.__name__, pytest.param(each, check, id=check.func.__name__))
    return [found[name] for name in found if name not in LEFT_OUT]


@pytest.mark.long
@pytest.mark.parametrize(("estimator", "check"), _checks())
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_it_passes_the_checks_of_scikit_learn(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)
