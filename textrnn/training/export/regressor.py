"""A trained regressor to an ONNX graph to a bundle; nothing is written unless onnxruntime agrees with Keras.

One graph, ``regress``: vectors ``(batch, time, features)`` and lengths ``(batch,)`` to values ``(batch, outputs)``, in
their own units. It is the graph of a classifier, whose output layer holds the scale of the values.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from textrnn.bundle import Bundle, Manifest, write_bundle
from textrnn.config import Config, ModelConfig
from textrnn.data.labelled_vectors import VectorBatches
from textrnn.data.places import without_folders
from textrnn.metrics.regression import Scaling, errors
from textrnn.training.export.classifier import GraphSession, require_parity, vector_runtime, whole_sequence_graph
from textrnn.training.export.language_model import runtime_block, versions, write_graphs
from textrnn.training.network.classifier import Classifier
from textrnn.training.network.layers import fold_input_scale

Array = NDArray[np.float32]


def export_regressor(
    model: Classifier,
    held_out: VectorBatches,
    scaling: Scaling,
    settings: Config,
    folder: Path,
    quantize: str | None = None,
) -> Bundle:
    """Write the bundle of a trained regressor, and measure it in float32 and in 8 bits.

    Args:
        model: the model, with the weights to export.
        held_out: sequences on which the graphs are checked and measured.
        scaling: of the values.
        settings: the whole resolved configuration, for the manifest.
        folder: where the bundle goes; must not exist.
        quantize: None or "int8".

    Raises:
        UserError: onnxruntime and Keras differ (`require_parity`), `folder` exists, or the disk refuses.
    """
    metrics: dict[str, Any] = {}
    finished = quantize or "float32"
    with tempfile.TemporaryDirectory() as name:
        specs = {}
        for precision in ("float32", "int8"):
            work = Path(name) / precision
            work.mkdir()
            graph = regress_graph(model.config, model.arrays(), scaling, precision == "int8")
            specs[precision] = write_graphs({"regress": graph}, work)
            session = GraphSession(work / specs[precision]["regress"].file)
            if precision == "float32":
                check_regression(model, session, held_out, scaling)
            size = sum(path.stat().st_size for path in work.iterdir())
            metrics[precision] = {**_measure(session, held_out), "bytes": size}
        metrics["held_out"] = metrics[finished]
        manifest = Manifest(
            kind="regressor",
            precision=finished,
            tokenizer=None,
            start_id=None,
            graphs=specs[finished],
            runtime=runtime_block(settings, **vector_runtime(settings)),
            metrics=metrics,
            config=without_folders(settings).to_dict(),
            created_with=versions(),
        )
        return write_bundle(folder, manifest, Path(name) / finished)


def regress_graph(
    config: ModelConfig, arrays: Mapping[str, Array], scaling: Scaling, in_8_bits: bool = False
) -> onnx.ModelProto:
    """Vectors float32 ``(batch, time, features)`` and lengths int32 ``(batch,)`` -> values ``(batch, outputs)``."""
    weights = fold_input_scale(config, arrays)
    if config.bidirectional:
        weights = fold_input_scale(config, weights, "backward_")
    weights["output_kernel"] = weights["output_kernel"] * scaling.scale
    weights["output_bias"] = scaling.original(weights["output_bias"])
    return whole_sequence_graph(config, weights, "values", in_8_bits)


def check_regression(model: Classifier, session: GraphSession, held_out: VectorBatches, scaling: Scaling) -> float:
    """Compare a float32 graph with Keras on standardised values; see `require_parity`."""
    return require_parity(
        model,
        held_out,
        "value",
        lambda *inputs: scaling.standardised(session.run(*inputs)),
        lambda *inputs: np.asarray(model(*inputs)),
    )


def _measure(session: GraphSession, held_out: VectorBatches) -> dict[str, float]:
    values, targets = [], []
    for batch in held_out.all():
        count = len(batch.indices)
        values.append(session.run(*batch.inputs)[:count])
        targets.append(batch.targets[:count])
    return errors(np.concatenate(values), np.concatenate(targets))
