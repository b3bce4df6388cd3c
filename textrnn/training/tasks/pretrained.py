"""Pretrained models: what a new model takes over from a run or a bundle."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from textrnn.bundle import find_bundle, read_bundle
from textrnn.config import (
    ARCHITECTURE,
    Config,
    ModelConfig,
    TokenizerConfig,
    data_of_bundle,
    settings_of_bundle,
    with_model_settings,
)
from textrnn.errors import UserError
from textrnn.tokenizers import load_tokenizer
from textrnn.tokenizers.base import Tokenizer
from textrnn.training.direct.model import DIRECT, DirectPath
from textrnn.training.loop.checkpoints import BEST, load_checkpoint
from textrnn.training.loop.small_data import read_fitted, with_fitted_values
from textrnn.training.loop.warm_start import Arrays
from textrnn.training.network.weight_names import forward_weights, is_layer_weight, with_backward_weights
from textrnn.training.tasks.configuration import read_config
from textrnn.training.tasks.table import task_of


def load_pretrained(config: Config) -> tuple[Config, Tokenizer | None, Arrays]:
    """Load what a classifier or regressor takes over from the model `config.model.init_from`.

    Backward layers that the model lacks start from its forward layers; a language model has no backward layers.

    Returns:
        the configuration with the model's tokenizer and architecture, its tokenizer if it reads text, and its tables of
        tokens and n-grams and its layers by their names in the backbone; a vector model gives its output layer too, a
        classifier of texts its direct path.

    Raises:
        UserError: there is no model, it reads other data, its weights are in 8 bits, or `config` states another
            tokenizer or architecture.
    """
    folder = Path(config.model.init_from)
    tokenizer: Tokenizer | None = None
    direct: DirectPath | None = None
    if (folder / BEST).exists() and (folder / "config.json").exists():
        source = with_fitted_values(read_config(folder), read_fitted(folder))
        _, arrays = load_checkpoint(folder / BEST)
        if source.data.reads == "text":
            tokenizer, arrays = load_tokenizer(folder, source.tokenizer.kind), _of_backbone(_with_one_table(arrays))
            direct = DirectPath.load(folder / DIRECT)
    else:
        source, tokenizer, arrays, direct = _from_bundle(find_bundle(folder))
    if source.data.reads != config.data.reads:
        raise UserError(
            f"model.init_from must read {config.data.reads}, {folder} reads {source.data.reads}; give another model"
        )
    default = task_of(config).default_config()
    of_tokenizer = [f.name for f in fields(source.tokenizer)] if tokenizer else []
    model = with_model_settings(config.model, source.model)
    of_model = [*ARCHITECTURE, *(["ngram_rows"] if min(model.input_ngrams, source.model.input_ngrams) > 1 else [])]
    for section, names in (("tokenizer", of_tokenizer), ("model", of_model)):
        for name in names:
            stated, usual, found = (getattr(getattr(c, section), name) for c in (config, default, source))
            if stated not in (usual, found):
                raise UserError(
                    f"{section}.{name} must be that of the model {folder}, {found!r}, was: {stated!r}; leave it out"
                )
    if tokenizer is None:
        return replace(config, model=model), None, arrays
    arrays = with_backward_weights(arrays) if config.model.bidirectional else forward_weights(arrays)
    if direct and config.model.direct_ngrams:
        arrays |= direct.stored()
    return replace(config, tokenizer=source.tokenizer, model=model), tokenizer, arrays


def _from_bundle(folder: Path) -> tuple[Config, Tokenizer, Arrays, DirectPath | None]:
    """Load a model from the graph of a bundle.

    The graph of a language model holds ``E W + b`` as one table. With this table as the embedding, ``N W`` as that of
    n-grams, ``W = 1`` and ``b = 0``, the network computes the same.
    """
    import onnx  # slow to load, and rarely needed

    bundle = read_bundle(folder)
    manifest = bundle.manifest
    if manifest.precision != "float32":
        raise UserError(
            f"model.init_from must be a model in float32, {folder} is in {manifest.precision}; give the run, or export "
            "it again"
        )
    kind = bundle.tokenizer.kind  # of a model that reads text, which is refused if it does not
    file = next(graph.file for use, graph in manifest.graphs.items() if use in ("step", "classify"))
    graph = onnx.load(bundle.path(file))  # with the weights in the file beside it
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    config = Config(
        data=data_of_bundle(manifest.runtime),
        tokenizer=settings_of_bundle(TokenizerConfig, manifest.runtime["tokenizer_settings"], "tokenizer."),
        model=settings_of_bundle(ModelConfig, manifest.runtime["architecture"], "model."),
    )
    if config.model.recurrence != "dense":  # whose graph holds products of the weights
        raise UserError(
            f"a bundle to start from must have a dense U, {folder} has: {config.model.recurrence}; give its run folder"
        )
    if "ngrams" in arrays:
        # A step has the terms of all lengths in one array, the graph of a classifier each by itself.
        lengths = sum(array.size for name, array in arrays.items() if name.startswith("row_term"))
        rows, order = len(arrays["ngrams"]), 1 + lengths
        config = replace(config, model=replace(config.model, input_ngrams=order, ngram_rows=rows))
    if "table" in arrays:
        if "ngram_kernel" in arrays:
            arrays["ngrams"] = arrays["ngrams"] @ arrays["ngram_kernel"]
        hidden_dim = arrays["table"].shape[1]
        arrays |= {
            "embedding": arrays["table"],
            "kernel_0": np.eye(hidden_dim, dtype=np.float32),
            "bias_0": np.zeros(hidden_dim, np.float32),
        }
        config = replace(config, model=replace(config.model, embedding_dim=hidden_dim))
    direct: DirectPath | None = None
    if "direct_weights" in arrays:
        labels, order = np.array(manifest.labels), sum(name.startswith("hash_factors_") for name in arrays)
        direct = DirectPath.restored(arrays | {"direct_labels": labels, "direct_order": np.array(order)})
    return config, load_tokenizer(folder, kind), _of_backbone(arrays), direct


def _with_one_table(arrays: Arrays) -> Arrays:
    """Return the weights with one embedding of all words, computed from the narrower embeddings of rarer words."""
    tables = [arrays["embedding"]]
    while f"embedding_{len(tables)}" in arrays:
        number = len(tables)
        tables.append(arrays[f"embedding_{number}"] @ arrays[f"embedding_projection_{number}"])
    return arrays | {"embedding": np.concatenate(tables)}


def _of_backbone(arrays: Arrays) -> Arrays:
    return {name: array for name, array in arrays.items() if name in ("embedding", "ngrams") or is_layer_weight(name)}
