"""What a read token costs: the graphs a text can be scored with, over lengths and batches; and when a prompt pays.

    python benchmarks/scoring.py [--units N ...] [--layers N] [--vocabulary N] [--lengths N ...] [--batches N ...]
                                 [--json FILE]

One thread for every candidate, run in turn; medians in microseconds a token. The networks are untrained. `layer by
layer` is the sequence graph of float32 bundles, `step after step` that of int8 ones; `single steps` calls the step
graph for every token, `RNN operator` is onnxruntime's own, `Keras export` what `keras_model.export(format="onnx")`
makes of Embedding, SimpleRNN and Dense. The second table is what `PREFILL_FROM` in textrnn/runtime/language_model.py
comes from: the length from which a prompt is read sooner by the sequence graph, its loading included, than by the
generate graph.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

# One thread for every candidate, said before any of them is loaded.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = "1"

import numpy as np
import onnx
from measure import alternate, median_rows, peer, print_table, write_json
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from random_bundle import Weights, bare_session, keras_weights, random_bundle, random_config, random_weights

from textrnn.bundle import Bundle

OURS = "layer by layer, float32"
PROMPT = 256  # tokens on which the cost of a prompt is measured

Ids = NDArray[np.int32]
Read = Callable[[Ids], object]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--units", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--vocabulary", type=int, default=85, help="85 is 65 characters and the special tokens")
    parser.add_argument("--lengths", type=int, nargs="+", default=[16, 128, 1024])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--seconds", type=float, default=8.0, help="of each length and batch")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(argv)
    random = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for units in arguments.units:
        sizes = (units, arguments.layers, arguments.vocabulary)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            bundles = {None: random_bundle(folder / "float32", *sizes)}
            bundles["int8"] = random_bundle(folder / "int8", *sizes, "int8")
            candidates = readers(bundles, folder, *sizes)
            for batch in arguments.batches:
                for length in arguments.lengths:
                    ids = random.integers(0, arguments.vocabulary, (batch, length), dtype=np.int32)
                    found = cost(candidates, ids, arguments.seconds)
                    print(f"\n{units} units, {arguments.layers} layers, batch {batch}, length {length}")
                    print_table(found)
                    rows += [{"units": units, "batch": batch, "length": length, **row} for row in found]
            found = prompts(bundles, arguments.vocabulary, arguments.seconds)
            print(f"\n{units} units, {arguments.layers} layers, a prompt")
            print_table(found)
            rows += [{"units": units, **row} for row in found]
    if arguments.json:
        write_json(arguments.json, "scoring", rows, layers=arguments.layers, vocabulary=arguments.vocabulary)
    return 0


def cost(candidates: Mapping[str, Read], ids: Ids, seconds: float) -> list[dict[str, Any]]:
    """Microseconds a token, against our graph."""
    times = alternate({name: partial(read, ids) for name, read in candidates.items()}, seconds, warm_up=1)
    return [
        {
            "candidate": row["candidate"],
            "microseconds_a_token": 1e3 * row["milliseconds"] / ids.size,
            "of_ours": row["ratio"],
            "runs": row["runs"],
        }
        for row in median_rows(times, against=OURS)
    ]


def readers(
    bundles: Mapping[str | None, Bundle], folder: Path, units: int, layers: int, vocabulary_size: int
) -> dict[str, Read]:
    """Every way to read, ids (batch, time) -> logits, each in a session of its own."""
    from textrnn.training.export.cell_graphs import stepwise_graph
    from textrnn.training.export.language_model import cell_graph, graph_weights

    weights = random_weights(units, layers, vocabulary_size)
    config = random_config(units, layers)
    stored = graph_weights(config, weights)
    onnx.save(stepwise_graph(cell_graph(config, stored)), folder / "stepwise.onnx")
    onnx.save(rnn_operator_graph(stored, layers), folder / "rnn.onnx")

    def whole(path: Path) -> Read:
        session = bare_session(path)
        state = partial(np.zeros, dtype=np.float32)
        return lambda ids: session.run(None, {"ids": ids, "state": state((layers, len(ids), units))})

    def steps(path: Path) -> Read:
        session = bare_session(path)

        def read(ids: Ids) -> object:
            state = np.zeros((layers, len(ids), units), np.float32)
            logits = np.empty((*ids.shape, vocabulary_size), np.float32)
            for position, column in enumerate(np.ascontiguousarray(ids.T)):
                logits[:, position], state = session.run(None, {"ids": column, "state": state})
            return logits

        return read

    full, small = bundles[None], bundles["int8"]
    candidates = {
        OURS: whole(graph_path(full, "sequence")),
        "step after step, float32": whole(folder / "stepwise.onnx"),
        "single steps, float32": steps(graph_path(full, "step")),
        "RNN operator, float32": whole(folder / "rnn.onnx"),
        "step after step, int8": whole(graph_path(small, "sequence")),
        "single steps, int8": steps(graph_path(small, "step")),
    }
    keras = peer("keras")
    if keras and peer("tf2onnx"):
        candidates["Keras export, float32"] = keras_export(keras, weights, layers, folder / "keras.onnx")
    check_equal(candidates, vocabulary_size)
    return candidates


def graph_path(bundle: Bundle, use: str) -> Path:
    return bundle.path(bundle.manifest.graphs[use].file)


def check_equal(candidates: Mapping[str, Read], vocabulary_size: int) -> None:
    """Figures of graphs that compute something else would mean nothing.

    Raises:
        RuntimeError: logits of two float32 candidates differ.
    """
    ids = np.random.default_rng(1).integers(0, vocabulary_size, (2, 9), dtype=np.int32)

    def logits(name: str) -> NDArray[np.float32]:
        result = candidates[name](ids)
        return np.asarray(result[0] if isinstance(result, list) else result)

    expected = logits(OURS)
    for name in candidates:
        if name.endswith("float32") and not np.allclose(logits(name), expected, atol=1e-3):
            raise RuntimeError(f"{name} must give the logits of {OURS}")


def rnn_operator_graph(weights: Weights, layers: int) -> onnx.ModelProto:
    """The network of `graph_weights` with onnxruntime's operator RNN, layer by layer."""
    vocabulary_size, units = weights["table"].shape
    stored = {name: weights[name] for name in ("table", "output_kernel", "output_bias")}
    stored |= {"axis": np.array([1])}
    nodes = [
        helper.make_node("Transpose", ["ids"], ["ids_by_time"], perm=[1, 0]),
        helper.make_node("Gather", ["table", "ids_by_time"], ["hidden_0"]),
        helper.make_node("Split", ["state"], [f"first_{layer}" for layer in range(layers)], axis=0),
    ]
    for layer in range(layers):
        # The table is projected already: the operator's own projection of the first layer must change nothing.
        kernel = weights[f"kernel_{layer}"] if layer else np.eye(units, dtype=np.float32)
        bias = weights[f"bias_{layer}"] if layer else np.zeros(units, np.float32)
        stored[f"W_{layer}"] = kernel.T[None]
        stored[f"R_{layer}"] = weights[f"recurrent_kernel_{layer}"].T[None]
        stored[f"B_{layer}"] = np.concatenate([bias, np.zeros_like(bias)])[None]
        inputs = [f"hidden_{layer}", f"W_{layer}", f"R_{layer}", f"B_{layer}", "", f"first_{layer}"]
        nodes += [
            helper.make_node("RNN", inputs, [f"all_{layer}", f"last_{layer}"], hidden_size=units),
            helper.make_node("Squeeze", [f"all_{layer}", "axis"], [f"hidden_{layer + 1}"]),
        ]
    nodes += [
        helper.make_node("Transpose", [f"hidden_{layers}"], ["by_batch"], perm=[1, 0, 2]),
        helper.make_node("MatMul", ["by_batch", "output_kernel"], ["product"]),
        helper.make_node("Add", ["product", "output_bias"], ["logits"]),
        helper.make_node("Concat", [f"last_{layer}" for layer in range(layers)], ["next_state"], axis=0),
    ]
    tensor = helper.make_tensor_value_info
    state = (layers, "batch", units)
    graph = helper.make_graph(
        nodes,
        "rnn",
        [tensor("ids", TensorProto.INT32, ("batch", "time")), tensor("state", TensorProto.FLOAT, state)],
        [
            tensor("logits", TensorProto.FLOAT, ("batch", "time", vocabulary_size)),
            tensor("next_state", TensorProto.FLOAT, state),
        ],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def keras_export(keras: Any, weights: Weights, layers: int, path: Path) -> Read:
    """The network of `random_weights` in Keras's own layers, by Keras's own way to ONNX, in onnxruntime."""
    import warnings

    vocabulary_size, units = weights["embedding"].shape
    inputs = keras.Input((None,), dtype="int32")
    hidden = keras.layers.Embedding(vocabulary_size, units)(inputs)
    for _ in range(layers):
        hidden = keras.layers.SimpleRNN(units, return_sequences=True)(hidden)
    model = keras.Model(inputs, keras.layers.Dense(vocabulary_size)(hidden))
    model.set_weights(keras_weights(weights, layers))
    model(np.zeros((1, 2), np.int32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.export(path, format="onnx", verbose=False)
    session = bare_session(path)
    name = session.get_inputs()[0].name
    return lambda ids: session.run(None, {name: ids})


def prompts(bundles: Mapping[str | None, Bundle], vocabulary_size: int, seconds: float) -> list[dict[str, Any]]:
    """What loading the sequence graph costs and what it saves a token, one text; and the length at which they meet."""
    rows = []
    ids = np.random.default_rng(0).integers(0, vocabulary_size, (1, PROMPT), dtype=np.int32)
    for precision, bundle in bundles.items():
        layers, _, units = bundle.manifest.graphs["step"].inputs[1].shape
        state = np.zeros((int(layers), 1, int(units)), np.float32)
        sequence = bare_session(graph_path(bundle, "sequence"))
        generate = bare_session(graph_path(bundle, "generate"))
        given = {
            "given": np.roll(ids.T, -1, axis=0),
            "uniforms": np.zeros((PROMPT, 1)),
            "temperature": np.ones(1),
        }
        times = alternate(
            {
                "load": partial(bare_session, graph_path(bundle, "sequence")),
                "sequence": partial(sequence.run, None, {"ids": ids, "state": state}),
                "generate": partial(generate.run, None, {"ids": ids[:, 0], "state": state, **given}),
            },
            seconds,
        )
        load, by_sequence, by_generate = (row["milliseconds"] for row in median_rows(times))
        saved = (by_generate - by_sequence) / PROMPT
        rows.append(
            {
                "candidate": f"prompt, {precision or 'float32'}",
                "load_milliseconds": load,
                "sequence_microseconds_a_token": 1e3 * by_sequence / PROMPT,
                "generate_microseconds_a_token": 1e3 * by_generate / PROMPT,
                "even_at_tokens": load / saved if saved > 0 else None,
            }
        )
    return rows


if __name__ == "__main__":
    raise SystemExit(main())
