"""Starting a classifier from a language model: its tokenizer, embedding and layers."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from textrnn.bundle import find_bundle, read_bundle
from textrnn.config import ARCHITECTURE, Config, from_dict
from textrnn.errors import UserError
from textrnn.tokenizers import load_tokenizer
from textrnn.tokenizers.base import Tokenizer
from textrnn.train.checkpoints import load_checkpoint

Arrays = dict[str, NDArray[Any]]

LAYER_WEIGHTS = ("kernel_", "recurrent_kernel_", "bias_", "gain_", "shift_")


def take_over(config: Config) -> tuple[Config, Tokenizer, Arrays]:
    """What a classifier takes from the language model `config.model.init_from`.

    Returns:
        the configuration with the language model's tokenizer and architecture, its tokenizer, and its embedding and
        layers by the names they have in the backbone.

    Raises:
        UserError: there is no language model there, its weights are in 8 bits, or `config` states another tokenizer or
            architecture than it has.
    """
    folder = Path(config.model.init_from)
    if (folder / "best.npz").exists() and (folder / "config.json").exists():
        source, tokenizer, arrays = _from_run(folder)
    else:
        source, tokenizer, arrays = _from_bundle(find_bundle(folder))
    if source.task != "language_model":
        raise UserError(f"model.init_from must be a language model, {folder} is of task {source.task}; give another")
    default = from_dict({"task": config.task})
    for section, names in (("tokenizer", [f.name for f in fields(source.tokenizer)]), ("model", ARCHITECTURE)):
        for name in names:
            stated, usual, found = (getattr(getattr(c, section), name) for c in (config, default, source))
            if stated not in (usual, found):
                raise UserError(
                    f"{section}.{name} must be that of the language model {folder}, {found!r}, was: {stated!r}; "
                    "leave it out"
                )
    model = replace(config.model, **{name: getattr(source.model, name) for name in ARCHITECTURE})
    return replace(config, tokenizer=source.tokenizer, model=model), tokenizer, arrays


def _from_run(folder: Path) -> tuple[Config, Tokenizer, Arrays]:
    from textrnn.train.run import open_run

    run = open_run(folder, quiet=True)
    _, arrays = load_checkpoint(run.best)
    wanted = {name: array for name, array in arrays.items() if name == "embedding" or name.startswith(LAYER_WEIGHTS)}
    return run.config, load_tokenizer(folder, run.config.tokenizer.kind), wanted


def _from_bundle(folder: Path) -> tuple[Config, Tokenizer, Arrays]:
    """From the graphs, which hold ``E W + b`` as one table: with it as the embedding, ``W = 1`` and ``b = 0`` do."""
    bundle = read_bundle(folder)
    manifest = bundle.manifest
    if manifest.kind != "language_model" or manifest.precision != "float32":
        raise UserError(
            f"model.init_from must be a language model in float32, {folder} is a {manifest.kind} in "
            f"{manifest.precision}; give the run, or export it again"
        )
    graph = onnx.load(bundle.path(manifest.graphs["step"].file))  # with the weights in the file beside it
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    table = arrays["table"]
    wanted = {name: array for name, array in arrays.items() if name.startswith(LAYER_WEIGHTS)}
    wanted |= {
        "embedding": table,
        "kernel_0": np.eye(table.shape[1], dtype=np.float32),
        "bias_0": np.zeros(table.shape[1], np.float32),
    }
    config = from_dict(manifest.config)
    config = replace(config, model=replace(config.model, embedding_dim=table.shape[1]))
    return config, load_tokenizer(folder, manifest.tokenizer.kind), wanted
