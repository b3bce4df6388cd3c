"""The examples in docstrings run, and every function that a user calls has one."""

from __future__ import annotations

import doctest
import importlib
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import write_small_text

import textrnn
from textrnn.runtime.forecaster import Forecaster
from textrnn.runtime.language_model import LanguageModel
from textrnn.runtime.multilabel_classifier import MultilabelClassifier
from textrnn.runtime.sessions import OfBundle
from textrnn.runtime.text_classifier import Classifier
from textrnn.runtime.translator import Translator
from textrnn.runtime.vector_models import Regressor, VectorClassifier

GOLDEN = Path(__file__).with_name("golden")
RUNS = {
    "demo": "language-model-char-float32",
    "reviews": "classifier-float32",
    "tickets": "multilabel-classifier-float32",
    "lines": "vector-classifier-float32",
    "slopes": "regressor-float32",
    "series": "forecaster-float32",
    "numbers": "text-to-text-float32",
}
MODULES = ("textrnn", *(f"textrnn.runtime.{name}" for name in ("language_model", "text_classifier")))
MODULES += tuple(
    f"textrnn.runtime.{name}"
    for name in ("multilabel_classifier", "vector_models", "forecaster", "translator", "sessions")
)
MODULES += ("textrnn.actions.training",)
CALLED_BY_USERS = [
    textrnn.load,
    textrnn.train,
    OfBundle.evaluate,
    OfBundle.save,
    LanguageModel.generate,
    LanguageModel.stream,
    LanguageModel.samples,
    LanguageModel.score,
    LanguageModel.next_probs,
    Classifier.classify,
    Classifier.explain,
    MultilabelClassifier,
    VectorClassifier.classify,
    Regressor.predict,
    Forecaster.forecast,
    Translator.transform,
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_show(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for run, bundle in RUNS.items():
        shutil.copytree(GOLDEN / bundle, tmp_path / "runs" / run)
    write_small_text(tmp_path / "animals.txt")
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    said: list[str] = []
    for test in doctest.DocTestFinder().find(importlib.import_module(name), globs={"textrnn": textrnn}):
        runner.run(test, out=said.append)
    assert runner.failures == 0, "".join(said)
    assert runner.tries


@pytest.mark.parametrize("function", CALLED_BY_USERS, ids=lambda function: function.__qualname__)
def test_what_a_user_calls_has_an_example(function: Any) -> None:
    assert doctest.DocTestParser().get_examples(function.__doc__)
