"""What a new run takes over from another model: a model of its own task learns on, another gives its first layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from textrnn.bundle import find_bundle, read_bundle
from textrnn.config import (
    ARCHITECTURE,
    AUDIO_READING,
    READING,
    STRUCTURE,
    Config,
    ModelConfig,
    TokenizerConfig,
    build,
    data_of_bundle,
    settings_of_bundle,
    value_of,
)
from textrnn.errors import UserError
from textrnn.models.places import find_model
from textrnn.tokenizers import load_tokenizer
from textrnn.tokenizers.base import Tokenizer
from textrnn.training.direct.model import DIRECT, DirectPath
from textrnn.training.loop.checkpoints import BEST, load_checkpoint
from textrnn.training.loop.run import Run
from textrnn.training.loop.small_data import read_fitted, with_fitted_values
from textrnn.training.loop.warm_start import Arrays, as_start, load_start
from textrnn.training.network.weight_names import forward_weights, is_layer_weight, with_backward_weights
from textrnn.training.tasks.bundle_weights import weights_of_bundle
from textrnn.training.tasks.configuration import read_config
from textrnn.training.tasks.table import task_of
from textrnn.training.tasks.task import with_defaults

RATE = 0.5
"""Factor of the default learning rate where a model learns on (docs/results.md)."""
TASK_OF_KIND = {
    "language_model": ("language_model", "text"),
    "classifier": ("classification", "text"),
    "multilabel_classifier": ("multilabel", "text"),
    "vector_classifier": ("classification", "vectors"),
    "regressor": ("regression", "vectors"),
    "forecaster": ("forecast", "vectors"),
    "text_to_text": ("text_to_text", "text"),
    "recognizer": ("recognition", "audio"),
}
"""Task and input of each kind of bundle."""


ALL_IN_SHAPES = ("language_model", "forecast")
"""Tasks whose architecture the shapes of their weights say, so that a bundle of any version will do."""


DECIDING = ("tokenizer.kind", "model.input_ngrams", "model.tied")
"""Settings that decide what the defaults of others are; see `default_like`."""


class Pretrained(NamedTuple):
    """A model to start from.

    Attributes:
        config: its configuration.
        tokenizer: of a model that reads text.
        arrays: its weights, by name.
        direct: its direct path, if it has one.
    """

    config: Config
    tokenizer: Tokenizer | None
    arrays: Arrays
    direct: DirectPath | None


class Taken(NamedTuple):
    """What a new run takes over.

    Attributes:
        config: the configuration of the run, with the settings of the model.
        tokenizer: the tokenizer of the model.
        learns_on: whether the model is of the task of the run. New tokens are then added to the tokenizer.
        start: arrays of ``init.npz``, which `textrnn.training.loop.warm_start` reads.
    """

    config: Config
    tokenizer: Tokenizer | None
    learns_on: bool
    start: Arrays


def stated_from(stated: Mapping[str, Any], model: str, resumed: Path | None = None) -> dict[str, Any]:
    """Return what a user states of a run that starts from a model, in sections, so that defaults suit the model.

    The task is that of the model unless another is stated. Where a model learns on, the default of the learning rate
    is lower.

    Args:
        stated: what the user states.
        model: a run folder, a bundle, the name of a finished model or an address of the hub.
        resumed: the run folder, if the run was made already; the model is not needed any more then.

    Raises:
        UserError: there is no model.
    """
    sections = dict(stated)
    if not all(isinstance(sections.get(name, {}), dict) for name in ("data", "tokenizer", "model", "train")):
        return sections  # which no configuration can be made of
    sections["model"] = {**sections.get("model", {}), "init_from": model}
    found = read_config(resumed) if resumed else _config_of(_place_of(model))
    learns_on = load_start(Run(resumed, found).initial).learns_on if resumed else True
    sections.setdefault("task", found.task)
    if learns_on and sections["task"] == found.task:
        sections["data"] = {"reads": found.data.reads, **sections.get("data", {})}
        if found.data.reads == "audio":
            known = {name: getattr(found.data, name) for name in AUDIO_READING}
            sections["data"] = {**known, **sections["data"]}
        if found.data.reads == "text":
            sections["tokenizer"] = {"kind": found.tokenizer.kind, **sections.get("tokenizer", {})}
            sections["model"] = {"input_ngrams": found.model.input_ngrams, **sections["model"]}
        rate = RATE * default_like(found).train.learning_rate
        sections["train"] = {"learning_rate": rate, **sections.get("train", {})}
    return sections


def load_pretrained(config: Config) -> Taken:
    """Load what a run takes over from the model `config.model.init_from`.

    Of a model of another task these are tokenizer, tables of tokens and n-grams, and layers; backward layers that it
    lacks start from its forward layers. A language model has no backward layers. N-gram inputs that `config` states
    stay; 0 takes those of the model.

    Raises:
        UserError: there is no model, it reads other data, its weights are in 8 bits, or `config` states another
            tokenizer or architecture.
    """
    folder = _place_of(config.model.init_from)
    kind = task_of(_config_of(folder)).model
    if kind == "recognizer":
        raise UserError(f"model.init_from must not be a recognizer, {folder} is one; give another model")
    if kind == "translator":
        raise UserError(f"model.init_from must be a model with one tokenizer, {folder} has two; give another model")
    source, tokenizer, arrays, direct = _load(folder)
    if source.data.reads != config.data.reads:
        raise UserError(
            f"model.init_from must read {config.data.reads}, {folder} reads {source.data.reads}; give another model"
        )
    learns_on = source.task == config.task
    default = default_like(config)
    of_tokenizer = [f.name for f in fields(source.tokenizer)] if tokenizer else []
    taken = [f"tokenizer.{name}" for name in of_tokenizer]
    taken += [f"model.{name}" for name in (*ARCHITECTURE, *(STRUCTURE if learns_on else ()))]
    if not learns_on and source.model.input_ngrams > 1 and config.model.input_ngrams != 1:
        if config.model.input_ngrams == 0:
            config = with_value(config, "model.input_ngrams", source.model.input_ngrams)
        taken.append("model.ngram_rows")
    plain = task_of(config).default_config()
    for key in taken:
        stated, found = value_of(config, key), value_of(source, key)
        usual = [value_of(each, key) for each in ((plain,) if key in DECIDING else (plain, default))]
        if stated not in (*usual, found):
            raise UserError(f"{key} must be that of the model {folder}, {found!r}, was: {stated!r}; leave it out")
        config = with_value(config, key, found)
    if not learns_on:
        if tokenizer:
            arrays = _of_backbone(_with_one_table(arrays))
            arrays = with_backward_weights(arrays) if config.model.bidirectional else forward_weights(arrays)
        if direct and config.model.direct_ngrams:
            arrays |= direct.stored()
        return Taken(config, tokenizer, False, as_start(arrays, False))
    for key in [f"data.{name}" for name in READING]:
        if value_of(config, key) == value_of(default, key):
            config = with_value(config, key, value_of(source, key))
    if config.data.separate_documents != source.data.separate_documents:
        raise UserError(
            f"data.separate_documents must be that of the model {folder}, {source.data.separate_documents}, was: "
            f"{config.data.separate_documents}; leave it out"
        )
    if direct and config.model.direct_ngrams:
        arrays |= direct.stored()
    manifest = read_bundle(find_bundle(folder)).manifest
    missing = sorted(set(STRUCTURE) - manifest.runtime["architecture"].keys())
    if missing and not (_is_run(folder) or source.task in ALL_IN_SHAPES):
        raise UserError(
            f"a bundle to learn on from must say its architecture, {folder} lacks {missing[0]}; export its run again"
        )
    tokens = tokenizer.vocabulary_size if tokenizer else 0
    drawn = np.setdiff1d(np.arange(tokens), manifest.runtime.get("never_drawn", ()))
    return Taken(config, tokenizer, True, as_start(arrays, True, manifest.labels or (), drawn))


def with_model_of(config: Config, found: Config) -> Config:
    """Return a configuration with what another, of a run that started from a model, took over from it.

    Settings that differ from the default stay.
    """
    default = default_like(found)
    taken = [f"tokenizer.{f.name}" for f in fields(found.tokenizer)]
    taken += [f"model.{name}" for name in (*ARCHITECTURE, *STRUCTURE)] + [f"data.{name}" for name in READING]
    for key in taken:
        if value_of(config, key) in (value_of(default, key), value_of(task_of(found).default_config(), key)):
            config = with_value(config, key, value_of(found, key))
    return config


def default_like(config: Config) -> Config:
    """Return the configuration of a run of which only task, input, kind of tokenizer and of inputs are stated."""
    stated: dict[str, Any] = {"task": config.task, "data": {"reads": config.data.reads}}
    if config.data.reads == "text":
        stated["tokenizer"] = {"kind": config.tokenizer.kind}
        if config.task == "language_model":
            stated["model"] = {"input_ngrams": config.model.input_ngrams, "tied": config.model.tied}
    return build(Config, with_defaults(task_of(config).defaults(stated), stated))


def with_value(config: Config, key: str, value: Any) -> Config:
    """Return a configuration with another value of the setting of a section, by its key."""
    section, _, name = key.partition(".")
    return replace(config, **{section: replace(getattr(config, section), **{name: value})})


def _place_of(model: str) -> Path:
    """Return the run folder or the bundle folder of a model."""
    folder = Path(model).expanduser()
    return folder if _is_run(folder) else find_model(folder if folder.exists() else model)


def _is_run(folder: Path) -> bool:
    return (folder / BEST).exists() and (folder / "config.json").exists()


def _config_of(folder: Path) -> Config:
    if _is_run(folder):
        return with_fitted_values(read_config(folder), read_fitted(folder))
    return weights_config(find_bundle(folder))


def weights_config(folder: Path) -> Config:
    """Return the configuration of a bundle, as far as its runtime block has it."""
    manifest = read_bundle(folder).manifest
    task, reads = TASK_OF_KIND[manifest.kind]
    runtime = manifest.runtime
    reads = "audio" if "audio" in runtime else reads
    return Config(
        task=task,
        data=replace(data_of_bundle(runtime), reads=reads),
        tokenizer=settings_of_bundle(TokenizerConfig, runtime["tokenizer_settings"], "tokenizer."),
        model=settings_of_bundle(ModelConfig, runtime["architecture"], "model."),
    )


def _load(folder: Path) -> Pretrained:
    if not _is_run(folder):
        bundle = read_bundle(find_bundle(folder))
        config, arrays, direct = weights_of_bundle(bundle, weights_config(bundle.folder))
        tokenizer = load_tokenizer(bundle.folder, bundle.tokenizer.kind) if bundle.manifest.tokenizer else None
        return Pretrained(config, tokenizer, arrays, direct)
    config = _config_of(folder)
    _, arrays = load_checkpoint(folder / BEST)
    if config.model.softmax == "adaptive" and not config.model.cutoffs:  # those of a larger vocabulary may be others
        sizes = [len(arrays[name]) for name in sorted(arrays) if name.startswith("tail_bias_")]
        head = len(arrays["output_bias"]) - len(sizes)
        config = with_value(config, "model.cutoffs", tuple(np.cumsum([head, *sizes[:-1]]).tolist()))
    if config.task == "regression":  # the scale of its values is in the graph alone
        _, of_graph, _ = weights_of_bundle(read_bundle(find_bundle(folder)), config)
        arrays |= {name: of_graph[name] for name in ("output_kernel", "output_bias")}
    tokenizer = load_tokenizer(folder, config.tokenizer.kind) if config.data.reads == "text" else None
    return Pretrained(config, tokenizer, arrays, DirectPath.load(folder / DIRECT))


def _with_one_table(arrays: Arrays) -> Arrays:
    """Return the weights with one embedding of all words, computed from the narrower embeddings of rarer words."""
    tables = [arrays["embedding"]]
    while f"embedding_{len(tables)}" in arrays:
        number = len(tables)
        tables.append(arrays[f"embedding_{number}"] @ arrays[f"embedding_projection_{number}"])
    return arrays | {"embedding": np.concatenate(tables)}


def _of_backbone(arrays: Arrays) -> Arrays:
    return {name: array for name, array in arrays.items() if name in ("embedding", "ngrams") or is_layer_weight(name)}
