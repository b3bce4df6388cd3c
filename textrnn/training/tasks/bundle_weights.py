"""The weights of a model from the graph of its float32 bundle: the network computes the same, up to rounding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from textrnn.bundle import Bundle
from textrnn.config import STRUCTURE, Config
from textrnn.errors import UserError
from textrnn.training.direct.model import DirectPath
from textrnn.training.loop.warm_start import Arrays
from textrnn.training.network.weight_names import directions

USES = ("step", "classify", "regress")


def weights_of_bundle(bundle: Bundle, config: Config) -> tuple[Config, Arrays, DirectPath | None]:
    """Return the weights of a bundle by their names in a model, with the settings of the model that has them.

    Args:
        bundle: the bundle.
        config: its configuration, as far as its runtime block has it.

    Returns:
        the configuration with all that the shapes of the weights say, the weights, and the direct path if it has one.
        The output layer of a regressor gives values in the units of the data.

    Raises:
        UserError: the weights are in 8 bits, or their form cannot be undone.
    """
    import onnx  # slow to load, and rarely needed

    manifest = bundle.manifest
    if manifest.precision != "float32":
        raise UserError(
            f"model.init_from must be a model in float32, {bundle.folder} is in {manifest.precision}; give the run, or"
            " export it again"
        )
    file = next(graph.file for use, graph in manifest.graphs.items() if use in USES)
    graph = onnx.load(bundle.path(file))  # with the weights in the file beside it
    arrays: Arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    model = config.model
    if "head_bias" in arrays:
        raise UserError(
            f"a bundle to start from must have a full softmax, {bundle.folder} has an adaptive one; give its run folder"
        )
    if manifest.kind == "language_model":
        arrays, embedding_dim = _with_embedding(arrays, model.embedding_dim or model.hidden_dim)
        ngrams, rows = (len(arrays["row_factors"]), len(arrays["ngrams"])) if "ngrams" in arrays else (0, 0)
        model = replace(model, embedding_dim=embedding_dim, input_ngrams=ngrams, tied=False, softmax="full", cutoffs=())
        if ngrams:
            model = replace(model, ngram_rows=rows)
    elif not set(STRUCTURE) <= manifest.runtime["architecture"].keys():
        model = replace(model, bidirectional="backward_kernel_0" in arrays)
    arrays = _without_input_scale(replace(config, model=model), arrays)
    if manifest.kind == "forecaster":
        model = replace(model, horizon=len(arrays["output_bias"]) // len(arrays["input_scale"]))
        scale = np.tile(arrays["input_scale"], model.horizon)
        arrays |= {name: arrays[name] / scale for name in ("output_kernel", "output_bias")}
    direct: DirectPath | None = None
    if "direct_weights" in arrays:
        labels, order = np.array(manifest.labels), sum(name.startswith("hash_factors_") for name in arrays)
        direct = DirectPath.restored(arrays | {"direct_labels": labels, "direct_order": np.array(order)})
    weights = {name: array for name, array in arrays.items() if array.dtype == np.float32 and "direct_" not in name}
    return replace(config, model=model), weights, direct


def _with_embedding(arrays: Arrays, width: int) -> tuple[Arrays, int]:
    """Return the weights of a language model with an embedding and a first kernel, and the width of the embedding.

    The graph holds ``E W + b`` as one table, and the n-grams times W if W is square or taller.
    """
    table, hidden_dim = arrays["table"], arrays["table"].shape[1]
    if width >= hidden_dim:
        parts = {"embedding": table, "kernel_0": np.eye(hidden_dim), "bias_0": np.zeros(hidden_dim)}
    else:
        # Rows less their mean are in the row space of W, so that nothing is lost.
        mean = table.mean(axis=0, dtype=np.float64)
        rest = table - mean
        kernel = arrays.get("ngram_kernel")
        if kernel is None:
            kernel = np.linalg.svd(rest, full_matrices=False)[2][:width]
            kernel = np.pad(kernel, ((0, width - len(kernel)), (0, 0)))
        parts = {"embedding": rest @ np.linalg.pinv(kernel.astype(np.float64)), "kernel_0": kernel, "bias_0": mean}
    arrays = arrays | {name: array.astype(np.float32) for name, array in parts.items()}
    if "adapter" in arrays:  # of an output layer that was tied to the embedding, and is its own weight now
        arrays["output_kernel"] = arrays.pop("adapter") @ arrays["output_kernel"]
    return arrays, arrays["embedding"].shape[1]


def _without_input_scale(config: Config, arrays: Arrays) -> Arrays:
    """Return the weights of layers as a model has them: what `fold_input_scale` does, undone."""
    model = config.model
    if model.recurrence == "dense":
        return arrays
    arrays = dict(arrays)
    for prefix in directions(model):
        for layer in range(model.layers):
            real = arrays.pop(f"{prefix}recurrent_{layer}").astype(np.float64)
            turned = arrays.pop(f"{prefix}crossed_{layer}", None)
            magnitude = np.abs(real)
            if turned is not None:
                half = len(real) // 2
                arrays[f"{prefix}angle_{layer}"] = np.arctan2(turned[half:], real[:half]).astype(np.float32)
                magnitude = np.hypot(real, turned)[:half]
            decay = np.log(-np.log(np.clip(magnitude, 1e-30, 1 - 1e-7)))
            arrays[f"{prefix}decay_{layer}"] = decay.astype(np.float32)
            scale = np.sqrt(-np.expm1(-2 * np.exp(decay)))
            scale = scale if turned is None else np.concatenate([scale, scale])
            for name in ("kernel", "bias"):
                arrays[f"{prefix}{name}_{layer}"] = (arrays[f"{prefix}{name}_{layer}"] / scale).astype(np.float32)
    return arrays
