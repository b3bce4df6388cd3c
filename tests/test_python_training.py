"""`textrnn.train` and what the model that it returns can do, as a Python program uses them."""

from __future__ import annotations

import copy
import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from commands import call, error_of, files_of
from conftest import (
    TINY,
    TINY_CLASSIFIER,
    TINY_VECTORS,
    TrainedRun,
    tiny_settings,
    write_lines,
    write_opinions,
    write_small_text,
)

import textrnn
from textrnn import TrainingProgress

ROOT = Path(__file__).resolve().parent.parent
SMALL: dict[str, Any] = {**TINY, "model.layers": 1, "train.epochs": 1}
SMALL_CLASSIFIER: dict[str, Any] = {**TINY_CLASSIFIER, "train.epochs": 2}
SMALL_VECTORS: dict[str, Any] = {**TINY_VECTORS, "data.reads": "vectors", "train.epochs": 2}


class Called(NamedTuple):
    """A model that a call trained on a text file, and what it reported."""

    folder: Path
    source: Path
    reports: list[TrainingProgress]


@pytest.fixture(scope="module")
def called(tmp_path_factory: pytest.TempPathFactory) -> Called:
    folder = tmp_path_factory.mktemp("called")
    source, reports = write_small_text(folder / "animals.txt"), list[TrainingProgress]()
    textrnn.train(str(source), out=folder / "run", progress=reports.append, **SMALL)
    return Called(folder / "run", source, reports)


def bundle_of(folder: Path) -> dict[str, str]:
    """The files of a bundle, without manifest and card, which name the data file."""
    return {name: content for name, content in files_of(folder).items() if name not in ("manifest.json", "README.md")}


def train_by_command(source: Path, out: Path, *settings: str) -> Path:
    result = call("train", source, *settings, "--out", out, "--quiet")
    assert result.code == 0, result.err
    return out / "bundle"


def test_a_call_gives_the_model_of_the_command(called: Called, tmp_path: Path) -> None:
    made = train_by_command(called.source, tmp_path / "run", *tiny_settings(model__layers=1, train__epochs=1))
    assert files_of(called.folder / "bundle") == files_of(made)


def test_a_text_in_memory_is_read_like_a_text_file_and_nothing_is_printed(
    called: Called, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = textrnn.train({"text": called.source.read_text(encoding="utf-8")}, out=tmp_path / "run", **SMALL)
    assert capfd.readouterr() == ("", "")
    assert bundle_of(tmp_path / "run" / "bundle") == bundle_of(called.folder / "bundle")
    assert isinstance(model, textrnn.LanguageModel)
    loaded = textrnn.load(called.folder)
    assert model.generate("the cat", length=20, seed=1) == loaded.generate("the cat", length=20, seed=1)


def test_a_model_learns_on(called: Called, tmp_path: Path) -> None:
    new = tmp_path / "birds.txt"
    new.write_text("the owl saw a quail. " * 300, encoding="utf-8")
    reports: list[textrnn.TrainingProgress] = []
    model = textrnn.train(
        {"text": new.read_text(encoding="utf-8")},
        init_from=called.folder,
        mix=str(called.source),
        out=tmp_path / "run",
        epochs=1,
        progress=reports.append,
    )
    assert reports[0].step == 0
    assert reports[0].training_loss is None  # what it was worth before
    assert reports[0].held_out_loss and reports[-1].held_out_loss
    assert reports[-1].held_out_loss < reports[0].held_out_loss
    assert model.tokenizer.decode(model.tokenizer.encode("quail cat")) == "quail cat"


def test_texts_and_labels_in_memory_are_read_like_a_table(trained_classifier: TrainedRun, tmp_path: Path) -> None:
    records = [json.loads(line) for line in trained_classifier.source.read_text(encoding="utf-8").splitlines()]
    texts, labels = [record["text"] for record in records], np.array([record["label"] for record in records])
    names = ["0=negative", "1=positive"]
    model = textrnn.train((texts, labels), out=tmp_path / "run", label_names=names, **TINY_CLASSIFIER)
    assert bundle_of(tmp_path / "run" / "bundle") == bundle_of(trained_classifier.folder / "bundle")
    assert isinstance(model, textrnn.Classifier)
    assert model.evaluate((texts, labels)) == model.evaluate(trained_classifier.source)


def test_a_data_frame_is_a_table(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    source = write_opinions(tmp_path / "opinions.jsonl")
    frame = pandas.read_json(source, lines=True).rename(columns={"text": "review", "label": "stars"})
    frame.loc[3, "review"] = None
    columns = {"text": "review", "label": "stars"}
    model = textrnn.train(frame, out=tmp_path / "frame", task="classification", **columns, **SMALL_CLASSIFIER)
    assert model.labels == ("0", "1")
    assert model.evaluate(frame)["left_out"] == {"empty texts": 1}


def test_arrays_in_memory_are_read_like_an_npz(trained_on_vectors: TrainedRun, tmp_path: Path) -> None:
    with np.load(trained_on_vectors.source) as arrays:
        pair = arrays["x"], arrays["y"]
    model = textrnn.train(pair, out=tmp_path / "run", **TINY_VECTORS)
    assert bundle_of(tmp_path / "run" / "bundle") == bundle_of(trained_on_vectors.folder / "bundle")
    assert model.evaluate(pair) == textrnn.load(trained_on_vectors.folder).evaluate(trained_on_vectors.source)


def test_a_series_in_memory_is_forecast() -> None:
    series = np.sin(np.arange(200) / 4)
    model = textrnn.train(
        series, task="forecast", hidden_dim=4, sequence_length=16, batch_size=4, epochs=2, evaluations=1
    )
    assert model.forecast(series, 5).shape == (5, 1)
    assert model.evaluate()["values"] == 20


def test_the_progress_has_steps_and_losses_and_a_stopped_run_resumes_to_the_same_model(
    called: Called, tmp_path: Path
) -> None:
    seen = called.reports
    assert seen[-1].step == seen[-1].total_steps > 1
    assert [each.step for each in seen] == sorted({each.step for each in seen})
    assert [each for each in seen if each.held_out_loss is not None][-1].held_out_loss == pytest.approx(
        textrnn.load(called.folder).evaluate()["nats_per_token"], rel=0.05
    )

    def stop(progress: TrainingProgress) -> None:
        if progress.step >= seen[-1].total_steps // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="nothing is lost"):
        textrnn.train(called.source, out=tmp_path / "stopped", progress=stop, **SMALL)
    assert not (tmp_path / "stopped" / "bundle").exists()
    textrnn.train(out=tmp_path / "stopped", resume=True)
    assert files_of(tmp_path / "stopped" / "bundle") == files_of(called.folder / "bundle")


def test_another_error_of_the_progress_function_reaches_the_caller(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "lines.npz")
    with pytest.raises(ZeroDivisionError):
        textrnn.train(source, task="classification", out=tmp_path / "run", progress=lambda _: 1 / 0, **SMALL_VECTORS)


def test_evaluate_has_the_figures_of_the_command(trained: TrainedRun, trained_classifier: TrainedRun) -> None:
    for run in (trained, trained_classifier):
        for source in ([], [run.source]):
            result = call("evaluate", run.folder, *source, "--json")
            assert ("the model was trained on most of it" in result.err) == bool(source)
            printed = json.loads(result.out)
            for name in ("model", "source", "window"):
                del printed[name]
            threads = os.cpu_count() or 1
            assert json.loads(json.dumps(textrnn.load(run.folder, threads=threads).evaluate(*source))) == printed
    window = textrnn.load(trained.folder).evaluate(window=5)["nats"]
    assert window > textrnn.load(trained.folder).evaluate()["nats"]


def test_export_and_save_write_bundles(
    trained_classifier: TrainedRun, trained_classifier_int8: Path, tmp_path: Path
) -> None:
    model, texts = textrnn.load(trained_classifier.folder), ["a good film", "差"]
    small = model.export(tmp_path / "int8", quantize="int8")
    assert files_of(tmp_path / "int8") == files_of(trained_classifier_int8)
    assert small.classify(texts) == textrnn.load(trained_classifier_int8).classify(texts)
    model.save(tmp_path / "copied" / "bundle")
    assert files_of(tmp_path / "copied" / "bundle") == files_of(trained_classifier.folder / "bundle")
    assert textrnn.load(tmp_path / "copied" / "bundle").classify(texts) == model.classify(texts)
    assert "must not exist yet" in error_of(lambda: model.save(tmp_path / "int8"))
    assert "must not exist yet" in error_of(lambda: model.export(tmp_path / "int8"))
    assert "quantize must be int8 or None, was: 'int4'" in error_of(lambda: model.export(tmp_path / "a", "int4"))


def test_a_bundle_alone_is_evaluated_on_given_data_only(trained: TrainedRun, tmp_path: Path) -> None:
    whole = textrnn.load(trained.folder)
    whole.save(tmp_path / "bundle")
    model = textrnn.load(tmp_path / "bundle")
    assert model.evaluate({"text": "the cat sat."}) == whole.evaluate({"text": "the cat sat."})
    assert "a bundle has none; give a source" in error_of(model.evaluate).lower()
    assert "export needs the weights of a run" in error_of(lambda: model.export(tmp_path / "int8", "int8"))


def test_options_for_other_kinds_of_models_are_refused(trained: TrainedRun, trained_classifier: TrainedRun) -> None:
    message = error_of(lambda: textrnn.load(trained_classifier.folder).evaluate(window=5))
    assert message == "window is for language models, this is a classifier; leave it out"
    message = error_of(lambda: textrnn.load(trained.folder).evaluate(label="stars"))
    assert message == "label is for classifiers and regressors, this is a language model; leave it out"


def test_a_model_without_a_run_folder_lives_until_it_is_forgotten(tmp_path: Path) -> None:
    model = textrnn.train(write_small_text(tmp_path / "animals.txt"), **SMALL)
    folder, text = model.folder, model.generate("the", length=20, seed=1)
    model.save(tmp_path / "saved")
    copied = copy.deepcopy(model)
    del model
    gc.collect()
    assert copied.score("the cat").tokens == 7  # with a graph that is loaded from its file now
    assert copied.evaluate()["tokens"] > 7
    del copied
    gc.collect()
    assert not folder.exists()
    assert textrnn.load(tmp_path / "saved").generate("the", length=20, seed=1) == text


def test_settings_are_given_by_name_by_key_or_in_sections(tmp_path: Path) -> None:
    from textrnn.actions.training import in_sections

    expected = {"seed": 2, "model": {"hidden_dim": 8, "layers": 1}, "train": {"epochs": 0.5}}
    assert in_sections({"seed": 2, "hidden_dim": np.int64(8), "layers": 1, "epochs": 0.5}) == expected
    assert in_sections({"seed": 2, "model.hidden_dim": 8, "model.layers": 1, "train.epochs": 0.5}) == expected
    assert in_sections({"seed": 2, "model": {"hidden_dim": 8, "layers": 1}, "train": {"epochs": 0.5}}) == expected
    assert in_sections({"init_from": tmp_path}, "sentiment") == {
        "task": "classification",
        "model": {"init_from": str(tmp_path)},
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hiden_dim": 8}, "unknown config key: hiden_dim; did you mean model.hidden_dim?"),
        ({"train.epoch": 8}, "unknown config key: train.epoch; did you mean train.epochs?"),
        ({"min_count": 1}, "min_count is tokenizer.min_count and model.min_count; give"),
        ({"hidden_dim": "many"}, "model.hidden_dim must be of type int, was: 'many'"),
        ({"horizon": 2}, "model.horizon applies to forecasters, was: 2 for a language model; leave it out"),
        ({"task": "clasification"}, "did you mean classification?"),
        ({"resume": True}, "out was: None; give out=RUN"),
        ({"out": "."}, "does not exist yet, found: .; give another out, or resume=True"),
        ({"progress": 3}, "progress must be True, False or a function, was: 3"),
        ({"budget": "soon"}, "is a time above 0, such as 90s, 10m or 1.5h, was: 'soon'"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    source = write_small_text(tmp_path / "animals.txt")
    assert message in error_of(lambda: textrnn.train(source, **settings))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("It was a dark and stormy night.", 'for text in memory give {"text": ...}'),
        (["one text", "another text"], 'for text in memory give {"text": ...}'),
        ("nothing.txt", "a source must be a file or folder that exists, was: 'nothing.txt'"),
        (3, "a source must be a path, several paths"),
        ([], "was an empty list; give one"),
        ([1, 2], "a source must be a path, several paths"),
        ({}, "a table must have columns, has none"),
        ({"text": 3}, "the column text must be a list of values, was: 3"),
        ((["a", "b"], [1]), "must be equally long, were: text 2, label 1"),
        ((np.zeros((4, 3)), [1]), "was: (4, 3) with (1,) labels"),
        ((np.zeros((4, 3)), [0.5, 1, 2, 3]), 'one was: 0.5; give task="regression"'),
        (np.zeros((4, 3)), "language_model reads text, data.reads was: 'vectors'; set"),
        (
            (["a", object()], [1, 2]),
            "a value must be text, a number or a list of numbers, text of record 2 is: <object",
        ),
    ],
)
def test_a_wrong_source_is_refused_in_one_line(tmp_path: Path, source: object, message: str) -> None:
    assert message in error_of(lambda: textrnn.train(source, out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_model_is_loaded_as_the_class_that_is_asked_for(trained: TrainedRun, trained_classifier: TrainedRun) -> None:
    assert isinstance(textrnn.load(trained.folder, textrnn.LanguageModel), textrnn.LanguageModel)
    message = error_of(lambda: textrnn.load(trained_classifier.folder, textrnn.LanguageModel))
    assert message.startswith(f"the model must be a LanguageModel, {trained_classifier.folder} is a Classifier; give")


def test_a_type_checker_knows_what_it_got(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import textrnn\n"
        "reveal_type(textrnn.load('a', textrnn.LanguageModel).generate('b'))\n"
        "reveal_type(textrnn.load('a', textrnn.Forecaster))\n"
        "textrnn.load('a', textrnn.Classifier).generate('b')\n"
        "reveal_type(textrnn.load('a'))\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(program)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    for line in (
        'program.py:2: note: Revealed type is "str"',
        'program.py:3: note: Revealed type is "textrnn.runtime.forecaster.Forecaster"',
        'program.py:4: error: "Classifier" has no attribute "generate"',
        'program.py:5: note: Revealed type is "Any"',
    ):
        assert line.partition(" ")[2] in result.stdout, result.stdout + result.stderr


def run_program(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for name in ("TF_CPP_MIN_LOG_LEVEL", "KERAS_BACKEND"):
        environment.pop(name, None)
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment, check=False)


def test_a_process_is_left_as_it_was(tmp_path: Path) -> None:
    code = """if True:
        import json, logging, os, random, signal, sys
        import numpy as np
        import textrnn

        def state():
            return {
                "environment": [os.environ.get(name) for name in ("TF_CPP_MIN_LOG_LEVEL", "KERAS_BACKEND")],
                "signals": [repr(signal.getsignal(number)) for number in signal.valid_signals()],
                "root logger": [logging.root.level, repr(logging.root.handlers)],
                "tensorflow": logging.getLogger("tensorflow").level,
                "random": [repr(random.getstate()), repr(np.random.get_state())],
                "folder": os.getcwd(),
                "files": sorted(os.listdir()),
            }

        before = state()
        model = textrnn.train(sys.argv[1], **json.loads(sys.argv[2]))
        model.export(sys.argv[3], quantize="int8")
        after = state()
        print(json.dumps([name for name in before if before[name] != after[name]]))
        """
    source = write_small_text(tmp_path / "animals.txt")
    result = run_program(code, source, json.dumps(SMALL), tmp_path / "int8")
    assert (result.stdout, result.stderr) == ("[]\n", "")


def test_without_the_extra_one_line_says_what_to_install(tmp_path: Path) -> None:
    code = """if True:
        import sys
        sys.modules["tensorflow"] = sys.modules["keras"] = sys.modules["sklearn"] = sys.modules["sklearn.base"] = None
        import textrnn
        from textrnn import *
        for action in (lambda: textrnn.train(sys.argv[1]), lambda: textrnn.TextClassifier):
            try:
                action()
            except textrnn.UserError as error:
                print(error)
        """
    result = run_program(code, write_small_text(tmp_path / "animals.txt"))
    training, estimator = result.stdout.splitlines()
    assert "run: pip install 'textrnn[train]'" in training
    assert "run: pip install 'textrnn[train,sklearn]'" in estimator
    assert result.stderr == ""
