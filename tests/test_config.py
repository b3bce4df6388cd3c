"""Settings: defaults, what wins over what, and a wrong value that is told by its name."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textrnn.config import Config, Scope
from textrnn.errors import UserError
from textrnn.training.tasks.configuration import from_dict, load_config, task_names, validate
from textrnn.training.tasks.table import TASKS, task_of
from textrnn.training.tasks.task import Task

CONFIGS = sorted((Path(__file__).resolve().parent.parent / "configs").glob("*.toml"))


def settings_of(cls: Any, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Every setting by its whole name: its type and its metadata."""
    hints = get_type_hints(cls)
    found: dict[str, tuple[Any, Any]] = {}
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            found |= settings_of(hint, f"{prefix}{field.name}.")
        else:
            found[prefix + field.name] = (hint, field.metadata)
    return found


SETTINGS = settings_of(Config)
RANGED = sorted(name for name, (_, metadata) in SETTINGS.items() if "range" in metadata)


def value_of(config: Config, name: str) -> Any:
    for part in name.split("."):
        config = getattr(config, part)
    return config


def nested(values: dict[str, Any]) -> dict[str, Any]:
    """{"model.layers": 1} as {"model": {"layers": 1}}."""
    tree: dict[str, Any] = {}
    for name, value in values.items():
        section, _, key = name.rpartition(".")
        (tree.setdefault(section, {}) if section else tree)[key] = value
    return tree


def allowed(name: str) -> st.SearchStrategy[Any]:
    hint, metadata = SETTINGS[name]
    if name == "task":
        return st.sampled_from([task.name for task in TASKS])
    if "choices" in metadata:
        return st.sampled_from(metadata["choices"])
    if "range" in metadata:
        low, high = metadata["range"]
        return st.integers(low, high) if hint is int else st.floats(low, high)
    if get_origin(hint) is tuple:
        return st.lists(st.integers() if int in get_args(hint) else st.text(), max_size=3)
    return st.booleans() if hint is bool else st.text()


def test_the_default_is_a_character_model_of_the_built_in_text() -> None:
    config = load_config()
    assert config.data.source == ("builtin",)
    assert config.tokenizer.kind == "char"
    assert (config.model.hidden_dim, config.model.layers) == (512, 2)
    assert (config.model.input_ngrams, config.model.embedding_dim) == (4, 128)
    assert from_dict({}) == config


def test_every_default_is_in_its_own_range() -> None:
    assert from_dict(Config().to_dict()) == Config()


def test_a_file_states_differences_and_set_wins_over_it(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text(
        'seed = 7\n[data]\nsource = ["诗.txt", "b.csv"]\n[model]\nhidden_dim = 64\nlayers = 3\n', encoding="utf-8"
    )
    config = load_config(path, ["model.layers=1", "train.epochs = 2", "train.prompt=ROMEO:"])
    assert config.seed == 7
    assert config.data.source == ("诗.txt", "b.csv")
    assert (config.model.hidden_dim, config.model.layers, config.model.residual) == (64, 1, True)
    assert config.train.epochs == 2.0
    assert isinstance(config.train.epochs, float)
    assert config.train.prompt == "ROMEO:"


@pytest.mark.parametrize(
    ("override", "name", "value"),
    [
        ("seed=3", "seed", 3),
        ("train.learning_rate=1e-3", "train.learning_rate", 1e-3),
        ("model.tied=true", "model.tied", True),
        ("tokenizer.kind=word", "tokenizer.kind", "word"),
        ("tokenizer.kind='word'", "tokenizer.kind", "word"),
        ("data.source=a.txt", "data.source", ("a.txt",)),
        ('data.source=["a.txt", "b.txt"]', "data.source", ("a.txt", "b.txt")),
        ("train.prompt=", "train.prompt", ""),
        ("train.prompt=a=b", "train.prompt", "a=b"),
        ('train.prompt="1984"', "train.prompt", "1984"),
        ("train.prompt=春眠", "train.prompt", "春眠"),
    ],
)
def test_set_reads_every_kind_of_value(override: str, name: str, value: Any) -> None:
    assert value_of(load_config(None, [override]), name) == value


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("model.hiden_dim", "model.hidden_dim"),
        ("modle.hidden_dim", "model"),
        ("training.epochs", "train"),
        ("hidden_dim", "model.hidden_dim"),
        ("train.lerning_rate", "train.learning_rate"),
        ("train.dropout", "model.dropout"),
        ("data.sources", "data.source"),
        ("sead", "seed"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest(key: str, nearest: str) -> None:
    with pytest.raises(UserError, match=f"did you mean {nearest}[?]"):
        load_config(None, [f"{key}=1"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.hidden_dim=0", "model.hidden_dim must be between 1 and 65536, was: 0"),
        ("model.dropout=1.0", "model.dropout must be between 0 and 0.95, was: 1.0"),
        ("train.learning_rate=nan", "train.learning_rate must be between .*, was: nan"),
        ("train.learning_rate=inf", "train.learning_rate must be between .*, was: inf"),
        ("train.epochs=-1", "train.epochs must be between .*, was: -1.0"),
        ("train.epochs=1" + 400 * "0", "train.epochs must be between .*, was: inf"),
        ("model.layers=1.5", "model.layers must be of type int, was: 1.5"),
        ("model.layers=true", "model.layers must be of type int, was: True"),
        ("train.epochs=true", "train.epochs must be of type float, was: True"),
        ("train.epochs=many", "train.epochs must be of type float, was: 'many'"),
        ("model.tied=1", "model.tied must be of type bool, was: 1"),
        ("train.prompt=1984", "train.prompt must be of type str, was: 1984"),
        ("tokenizer.kind=chars", "tokenizer.kind must be one of char, word, sentencepiece, was: 'chars'; .* char[?]"),
        ("data.source=[1]", r"data.source must be a string or a list of strings, was: \[1\]"),
        ("data.source=1", "data.source must be a string or a list of strings, was: 1"),
        ("model=5", "model is a section of settings, was: 5"),
        ("seed.x=5", "seed must be of type int, was: {'x': 5}"),
        ("epochs", "--set takes key.path=value, was: epochs"),
        ("=5", "--set takes key.path=value, was: =5"),
    ],
)
def test_a_wrong_value_is_named_in_one_line(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_config(None, [override])
    assert "\n" not in str(caught.value)


def test_set_does_not_turn_a_value_of_the_file_into_a_section(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("seed = 1\n", encoding="utf-8")
    with pytest.raises(UserError, match="seed is a value, not a section"):
        load_config(path, ["seed.x=5"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"seed = \n", "must be valid TOML, .*bad.toml: .*line 1"),
        (b"[model\nlayers = 1\n", "must be valid TOML"),
        (b"seed = 1\nseed = 2\n", "must be valid TOML"),
        (b'[train]\nprompt = "\xff"\n', "must be valid TOML"),
        (b"seed = 1" + 5000 * b"0", "must be valid TOML|seed must be between"),
        (b"[model]\nhiden_dim = 4\n", "unknown config key: model.hiden_dim; did you mean model.hidden_dim"),
        (b"model = 3\n", "model is a section"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        load_config(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.toml: No such file"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(UserError, match="must be a readable TOML file"):
        load_config(tmp_path)


@given(st.fixed_dictionaries({}, optional={name: allowed(name) for name in SETTINGS}))
def test_dictionaries_round_trip(values: dict[str, Any]) -> None:
    config = from_dict(nested(values))
    assert {name: value_of(config, name) for name in values} == {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    assert from_dict(json.loads(json.dumps(config.to_dict()))) == config


@given(st.sampled_from(RANGED), st.booleans(), st.floats(min_value=1e-3, max_value=1e6))
def test_a_value_out_of_any_range_is_refused_by_name(name: str, below: bool, distance: float) -> None:
    hint, metadata = SETTINGS[name]
    low, high = metadata["range"]
    value = low - distance if below else high + distance
    value = (int(low) - 1 if below else int(high) + 1) if hint is int else value
    with pytest.raises(UserError, match=f"^{name} must be between"):
        from_dict(nested({name: value}))


# Defaults of a task


def changed_from(default: Config, config: Config) -> set[str]:
    return {name for name in SETTINGS if value_of(config, name) != value_of(default, name)}


def test_classification_has_defaults_of_its_own_and_shares_all_others() -> None:
    config = from_dict({"task": "classification"})
    assert config.tokenizer.kind == "word"
    assert config.tokenizer.split == "punctuation", "Chinese text has no blanks to cut at"
    assert config.model.bidirectional
    assert config.data == Config().data
    defaults = task_of(config).defaults({})
    stated = {f"{section}.{name}" for section, values in defaults.items() for name in values}
    assert {"task"} < changed_from(Config(), config) <= {"task", *stated}
    assert from_dict({"task": "language_model"}) == load_config()
    # Words and pieces are tokens of several characters, so n-grams of them are not the default.
    assert from_dict({"tokenizer": {"kind": "word"}}).model == Config().model


# Task and `data.reads` decide together which defaults there are.
@pytest.mark.parametrize("name", sorted(set(SETTINGS) - {"task", "data.reads"}))
@given(data=st.data())
@settings(max_examples=10)
def test_a_stated_value_wins_over_the_default_of_its_task(name: str, data: st.DataObject) -> None:
    value = data.draw(allowed(name))
    config = from_dict({**nested({name: value}), "task": "classification"})
    assert value_of(config, name) == (tuple(value) if isinstance(value, list) else value)
    with_it = {"tokenizer.vocabulary_size"} if value == "sentencepiece" else set()
    assert changed_from(from_dict({"task": "classification"}), config) <= {name} | with_it


def test_the_default_of_a_language_model_can_be_stated_for_a_classifier() -> None:
    config = load_config(None, ["task=classification", "model.layers=2", "tokenizer.kind=char", "train.epochs=10"])
    assert (config.model.layers, config.tokenizer.kind, config.train.epochs) == (2, "char", 10.0)
    assert config.model.hidden_dim == from_dict({"task": "classification"}).model.hidden_dim


def test_the_task_may_stand_in_the_file_or_after_it(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("[model]\nhidden_dim = 48\n", encoding="utf-8")
    after = load_config(path, ["train.epochs=2", "task=classification"])
    path.write_text('task = "classification"\n[model]\nhidden_dim = 48\n[train]\nepochs = 2\n', encoding="utf-8")
    assert load_config(path) == after
    assert after == from_dict({"task": "classification", "model": {"hidden_dim": 48}, "train": {"epochs": 2}})
    assert load_config(path, ["task=language_model"]).tokenizer == Config().tokenizer


def test_defaults_are_the_same_after_a_run_changed_its_own() -> None:
    load_config(None, ["task=classification", "model.hidden_dim=5", "train.batch_size=3"])
    assert from_dict({"task": "classification"}).model.hidden_dim != 5
    assert load_config(None, ["task=classification"]) == from_dict({"task": "classification"})


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task=clasification", "task must be one of language_model, classification, .* did you mean classification[?]"),
        ("task=1", "task must be of type str, was: 1"),
        (
            "task=sentiment",
            "task must be one of language_model, classification, multilabel, regression, forecast, text_to_text,"
            " recognition, was: 'sentiment'",
        ),
        ("model=5", "model is a section of settings, was: 5"),
        ("data.max_length=1", "data.max_length must be between 2 and .*, was: 1"),
        ("data.label_names=[1]", r"data.label_names must be a string or a list of strings, was: \[1\]"),
        ("train.class_weights=equal", "train.class_weights must be one of none, balanced, was: 'equal'"),
        ("data.labels=stars", "unknown config key: data.labels; did you mean data.label[?]"),
        ("label_names=a", "unknown config key: label_names; did you mean data.label_names[?]"),
    ],
)
def test_a_wrong_setting_of_a_classifier_is_named_in_one_line(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_config(None, ["task=classification", override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["data.mix=old.txt"],
            "data.mix is for a run that starts from a model, which model.init_from names, was: old.txt; add",
        ),
        (
            ["model.bidirectional=true"],
            "model.bidirectional applies to classifiers and regressors, or to translators, or to recognizers, was: true"
            " for a language model;",
        ),
        (
            ["task=forecast", "model.bidirectional=true"],
            "model.bidirectional applies to classifiers and regressors, or to translators, or to recognizers, was: true"
            " for a forecaster;",
        ),
        (
            ["task=regression", "model.segment_length=8"],
            "model.segment_length applies to classifiers of text, was: 8 for a regressor; leave it out",
        ),
        (["data.season=7"], "data.season applies to forecasters, was: 7 for a language model; leave it out"),
        (
            ["model.segment_length=8"],
            "model.segment_length applies to classifiers of text, was: 8 for a language model",
        ),
        (
            ["task=regression", "data.reads=text"],
            "regression reads vectors, data.reads was: 'text'; set data.reads=vec",
        ),
        (
            ["task=forecast", "data.reads=text"],
            "forecast reads vectors, data.reads was: 'text'; set data.reads=vectors",
        ),
        (
            ["data.reads=vectors"],
            "language_model reads text, data.reads was: 'vectors'; set data.reads=text, or a task that",
        ),
        (
            ["task=classification", "data.reads=vectors", "model.input_dropout=0.1"],
            "model.input_dropout applies to all models of text, was: 0.1 for a classifier of vectors; leave it out",
        ),
        (
            ["task=classification", "data.reads=vectors", "model.embedding_dropout=0.1"],
            "model.embedding_dropout applies to all models of text, was: 0.1 for a classifier of vectors;",
        ),
        (
            ["task=classification", "data.reads=vectors", "model.segment_length=8"],
            "model.segment_length applies to classifiers of text, was: 8 for a classifier of vectors; leave it out",
        ),
        (
            ["task=classification", "model.stride=4"],
            "model.stride applies to classifiers and regressors of vectors, was: 4 for a classifier of text",
        ),
        (
            ["task=forecast", "model.stride=4"],
            "model.stride applies to classifiers and regressors of vectors, was: 4 for a forecaster",
        ),
        (
            ["task=classification", "model.pooling=last"],
            "model.pooling=last reads a text as one, segment_length was: 64; set it to 0",
        ),
        (
            ["model.recurrence=diagonal", "model.weight_drop=0.2"],
            "model.weight_drop applies to all models with model.recurrence=dense, was: 0.2 with model.recurrence=diag",
        ),
        (
            ["task=classification", "model.softmax=adaptive"],
            "model.softmax applies to language models, was: adaptive for a classifier of text; leave it out",
        ),
        (
            ["model.softmax=adaptive"],
            "needs frequent tokens first, as words and unigram pieces are, the tokenizer was: char",
        ),
        (
            ["model.cutoffs=[100]"],
            "model.cutoffs applies to language models with model.softmax=adaptive, was: [100] with model.softmax=full",
        ),
        (
            ["tokenizer.kind=word", "model.softmax=adaptive", "model.cutoffs=[100, 100]"],
            "model.cutoffs must rise from above 0, were: [100, 100]",
        ),
        (
            ["task=forecast", "model.embedding_dim=8"],
            "model.embedding_dim applies to language models, or to classifiers",
        ),
        (["task=regression", "model.tied=true"], "model.tied applies to language models, was: true for a regressor"),
        (["task=classification", "train.recompute=8"], "train.recompute applies to language models, was: 8 for a"),
        (
            ["data.document=line"],
            "data.document applies to language models with data.separate_documents=true, was: line with data.sep",
        ),
        (
            ["data.validation=a.txt", "data.held_out=0.2"],
            'data.held_out applies to all models with no data.validation, was: 0.2 with data.validation=["a.txt"]',
        ),
        (
            ["task=regression", "model.layers=1", "model.dropout=0.1", "model.variational=true"],
            "with model.dropout above 0 and model.layers above 1, was: true with model.layers=1; leave it out",
        ),
        (
            ["train.optimizer=rmsprop", "train.beta_2=0.9"],
            "train.beta_2 applies to all models with train.optimizer=adamw",
        ),
        (
            ["model.recurrence=rotation", "model.hidden_dim=65"],
            "rotations pair units, model.hidden_dim was: 65; give an",
        ),
    ],
)
def test_settings_that_do_not_fit_each_other_are_named_in_one_line(overrides: list[str], message: str) -> None:
    config = load_config(None, overrides)
    with pytest.raises(UserError) as caught:
        validate(config)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_reads_vectors_has_defaults_of_its_own() -> None:
    vectors = from_dict({"task": "classification", "data": {"reads": "vectors"}})
    assert vectors.model.recurrence == "rotation" != from_dict({"task": "classification"}).model.recurrence
    assert from_dict({"task": "regression"}).model == vectors.model
    forecast = from_dict({"task": "forecast", "model": {"horizon": 3}})
    assert (forecast.data.reads, forecast.model.recurrence, forecast.model.layers) == ("vectors", "rotation", 1)
    assert from_dict({"task": "regression"}).data.reads == "vectors"
    stated = from_dict({"task": "regression", "model": {"recurrence": "dense"}}).model
    assert stated == dataclasses.replace(vectors.model, recurrence="dense")


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.name} of {task.reads}")
def test_the_defaults_of_every_task_fit_each_other(task: Task) -> None:
    config = load_config(None, [f"task={task.name}", f"data.reads={task.reads}"])
    validate(config)
    assert config == task.default_config()


def test_an_unknown_task_is_refused_with_the_nearest_name() -> None:
    assert set(task_names().values()) == {task.name for task in TASKS}
    with pytest.raises(UserError, match=r"^task must be one of language_model, .*, was: 'clasify'; did you"):
        load_config(None, ["task=clasify"])


@pytest.mark.parametrize(
    "overrides",
    [
        [
            "task=classification",
            "data.reads=vectors",
            "model.stride=4",
            "model.bidirectional=true",
            "model.pooling=last",
        ],
        ["task=regression", "model.stride=4", "model.pooling=last"],
        ["task=classification", "model.recurrence=rotation", "model.segment_length=0", "model.pooling=last"],
        ["model.recurrence=diagonal", "model.hidden_dim=65", "model.mixing=glu"],
        ["model.weight_drop=0.2"],
        ["task=classification", "model.recurrence=rotation", "model.max_excitation=0.0", "train.sample_length=0"],
        ["train.optimizer=rmsprop", "train.weight_decay=0"],
        ["task=classification", "tokenizer.kind=char", "tokenizer.lowercase=false"],
    ],
    ids=str,
)
def test_settings_that_fit_each_other_pass(overrides: list[str]) -> None:
    validate(load_config(None, overrides))


def test_the_pieces_of_a_classifier_are_as_many_as_its_texts_can_have() -> None:
    of_pieces = load_config(None, ["task=classification", "tokenizer.kind=sentencepiece"])
    assert (of_pieces.tokenizer.vocabulary_size, Config().tokenizer.vocabulary_size) == (0, 0)
    stated = load_config(None, ["task=classification", "tokenizer.kind=sentencepiece", "tokenizer.vocabulary_size=500"])
    assert stated.tokenizer.vocabulary_size == 500
    validate(of_pieces)


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_every_setting_says_which_runs_it_applies_to(name: str) -> None:
    assert all(isinstance(scope, Scope) for scope in SETTINGS[name][1]["scopes"])
    needed = {key for scope in SETTINGS[name][1]["scopes"] for key in scope.needs}
    assert needed <= set(SETTINGS), "a scope names settings that there are"


def test_the_number_of_a_column_needs_no_quotes() -> None:
    assert load_config(None, ["data.text=2", "data.label=1"]).data.text == "2"


def test_one_name_of_a_label_needs_no_list() -> None:
    assert load_config(None, ["data.label_names=0=bad"]).data.label_names == ("0=bad",)
    assert load_config(None, ['data.label_names=["0=差", "1=好"]']).data.label_names == ("0=差", "1=好")


# The configs of this project


def test_there_are_configs_to_load() -> None:
    assert "demo" in [path.stem for path in CONFIGS]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_of_the_project_loads_fits_and_differs_from_the_default(path: Path) -> None:
    config = load_config(path)
    assert config != Config()
    validate(config)
