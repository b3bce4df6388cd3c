"""Values of wrong types are refused by the package's own error; models are copied and sent to other processes."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import textrnn
from textrnn import UserError

GOLDEN = Path(__file__).parent / "golden"
KINDS = {
    "language model": "language-model-char-float32",
    "classifier": "classifier-float32",
    "vector classifier": "vector-classifier-float32",
    "regressor": "regressor-float32",
    "forecaster": "forecaster-float32",
}
WRONG: list[Any] = [
    *(None, 3, -1, 3.5, float("nan"), True, b"a", "\ud800", [], [None], ["a", "b"], {"a": 1}, {"a"}, object()),
    *(np.array(["a"]), np.zeros((2, 2)), np.array(1.5), [[1], [1, 2]]),
]
CALLS: dict[str, list[Callable[[Any, Any], object]]] = {
    "language model": [
        lambda model, value: model.generate(value, length=2),
        lambda model, value: list(model.stream(value, length=2)),
        lambda model, value: model.samples(value, count=2, length=2),
        lambda model, value: model.samples("a", count=value, length=2),
        lambda model, value: model.score(value),
        lambda model, value: model.next_probs(value),
        lambda model, value: model.next_probs("a", value),
        lambda model, value: model.token_log_probs(value),
        lambda model, value: model.read(value),
        lambda model, value: model.step([5], value),
        *(
            lambda model, value, option=option: model.generate("a", **{"length": 2, option: value})
            for option in (
                *("length", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "beams", "stop", "seed"),
            )
        ),
    ],
    "classifier": [
        lambda model, value: model.classify(value),
        lambda model, value: model.predict(value),
        lambda model, value: model.explain(value),
        lambda model, value: model.explain("good", label=value),
    ],
    "vector classifier": [lambda model, value: model.classify(value), lambda model, value: model.predict(value)],
    "regressor": [lambda model, value: model.predict(value)],
    "forecaster": [
        lambda model, value: model.forecast(value),
        lambda model, value: model.forecast([1.0, 2.0, 3.0], value),
        lambda model, value: model.forecasts(value),
        lambda model, value: model.step([[1.0]], value),
    ],
}


def told_by(model: Any) -> Any:
    """What a model makes of something ordinary."""
    match type(model).__name__:
        case "LanguageModel":
            return model.generate("a", length=20, seed=3)
        case "Classifier":
            return model.classify(["good", "bad"])
        case "Forecaster":
            return model.forecast(np.arange(9.0)).tolist()
        case _:
            return model.predict(np.ones((2, 3, model.features))).tolist()


@pytest.mark.parametrize("kind", CALLS)
@pytest.mark.parametrize("value", WRONG, ids=lambda value: f"{value!r:.20}")
def test_a_wrong_type_is_refused_in_one_line_or_is_none(kind: str, value: Any) -> None:
    model = textrnn.load(GOLDEN / KINDS[kind])
    for number, call in enumerate(CALLS[kind]):
        try:
            call(model, value)
        except UserError as error:
            assert "\n" not in str(error), number
            assert len(str(error)) < 500, number


@pytest.mark.parametrize("value", [None, 3, [], b"runs", np.zeros(2), {"a"}])
def test_what_is_no_path_is_refused(value: Any) -> None:
    with pytest.raises(UserError, match=r"^a model must be a bundle or a run folder, was: .*; give its path$"):
        textrnn.load(value)


@pytest.mark.parametrize("value", [None, 0, 1.5, "2", [1]])
def test_what_is_no_number_of_threads_is_refused(value: Any) -> None:
    with pytest.raises(UserError, match=r"^threads must be a whole number, 1 or above"):
        textrnn.load(GOLDEN / KINDS["classifier"], threads=value)


def test_numbers_of_numpy_are_numbers() -> None:
    model = textrnn.load(GOLDEN / KINDS["language model"])
    options = {"length": np.int64(9), "seed": np.int32(3), "temperature": np.float32(0.5), "top_k": np.uint8(3)}
    plain = {"length": 9, "seed": 3, "temperature": 0.5, "top_k": 3}
    assert model.generate("a", **options) == model.generate("a", **plain)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_does_what_the_model_does(
    kind: str, copied: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(GOLDEN)
    model = textrnn.load(KINDS[kind], threads=2)
    monkeypatch.chdir(tmp_path)  # a relative path means another place now
    again = copied(model)
    assert type(again) is type(model)
    assert told_by(again) == told_by(model)
    assert KINDS[kind] in repr(again)


def test_a_model_whose_files_are_gone_says_so_where_it_arrives(tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(GOLDEN / KINDS["classifier"], folder)
    sent = pickle.dumps(textrnn.load(folder))
    shutil.rmtree(folder)
    with pytest.raises(UserError, match="nothing was found at"):
        pickle.loads(sent)


def test_models_cross_to_processes_that_are_started_anew() -> None:
    models = [textrnn.load(GOLDEN / name) for name in KINDS.values()]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map_async(told_by, models).get(timeout=200) == [told_by(model) for model in models]
