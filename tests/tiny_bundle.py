"""Tiny real bundles: a language model made with the onnx library's own builders, classifiers, a regressor; in numpy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import reference_classifier
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from textrnn.bundle import Bundle, Graph, Manifest, Tensor, TokenizerFile, write_bundle
from textrnn.config import ModelConfig
from textrnn.tokenizers import BEGINNING_ID, PAD_ID, UNKNOWN_ID, WordTokenizer
from textrnn.tokenizers.char import FIRST_CHARACTER, CharTokenizer
from textrnn.training.export import cell_graphs
from textrnn.training.export.cell_graphs import IR_VERSION, OPSET

TEXT = "hello world"
NEVER_DRAWN = [PAD_ID, UNKNOWN_ID, BEGINNING_ID]

Array = NDArray[np.float32]


@dataclass(frozen=True)
class TinyNetwork:
    """An embedding, layers of the plain recurrent network, and an output.

    embedding (vocabulary, hidden); of each layer W (hidden, hidden), U (hidden, hidden), b (hidden,);
    V (hidden, vocabulary), c (vocabulary,).
    """

    embedding: Array
    layers: tuple[tuple[Array, Array, Array], ...]
    V: Array
    c: Array

    @staticmethod
    def random(vocabulary_size: int, *, hidden: int = 5, layers: int = 2, seed: int = 0) -> TinyNetwork:
        generator = np.random.default_rng(seed)

        def weights(*shape: int) -> Array:
            return np.asarray(generator.standard_normal(shape) / np.sqrt(shape[0]), np.float32)

        return TinyNetwork(
            embedding=weights(vocabulary_size, hidden),
            layers=tuple((weights(hidden, hidden), weights(hidden, hidden), weights(hidden)) for _ in range(layers)),
            V=3 * weights(hidden, vocabulary_size),
            c=weights(vocabulary_size),
        )

    @property
    def vocabulary_size(self) -> int:
        return len(self.c)

    @property
    def state_shape(self) -> tuple[int | str, ...]:
        return (len(self.layers), "batch", len(self.layers[0][2]))

    def logits(self, ids: list[int]) -> NDArray[np.float64]:
        """Logits (time, vocabulary) after each of the ids, from the zero state: the equations, spelled out."""
        states = [np.zeros(len(b)) for _, _, b in self.layers]
        rows = []
        for token in ids:
            x = self.embedding[token].astype(np.float64)
            for index, (W, U, b) in enumerate(self.layers):
                x = states[index] = np.tanh(x @ W + states[index] @ U + b)
            rows.append(x @ self.V + self.c)
        return np.array(rows)

    def log_probs(self, ids: list[int]) -> NDArray[np.float64]:
        """Log probability of each of the ids, the first one after the beginning token."""
        logits = self.logits([BEGINNING_ID, *ids[:-1]])
        return np.asarray(logits[np.arange(len(ids)), ids] - np.log(np.exp(logits).sum(axis=1)))


def cell_graph(network: TinyNetwork) -> onnx.ModelProto:
    """ids (batch,), state_0 .. (batch, hidden) -> logits (batch, vocabulary), next_state_0 .."""
    constants: dict[str, NDArray[Any]] = {"embedding": network.embedding, "V": network.V, "output_bias": network.c}
    nodes = [helper.make_node("Gather", ["embedding", "ids"], ["x0"])]
    hidden = "x0"
    for i, (W, U, b) in enumerate(network.layers):
        constants |= {f"W{i}": W, f"U{i}": U, f"b{i}": b}
        nodes += [
            helper.make_node("MatMul", [hidden, f"W{i}"], [f"Wx{i}"]),
            helper.make_node("MatMul", [f"state_{i}", f"U{i}"], [f"Uh{i}"]),
            helper.make_node("Add", [f"Wx{i}", f"b{i}"], [f"Wx+b{i}"]),
            helper.make_node("Add", [f"Wx+b{i}", f"Uh{i}"], [f"a{i}"]),
            helper.make_node("Tanh", [f"a{i}"], [f"next_state_{i}"]),
        ]
        hidden = f"next_state_{i}"
    nodes += [
        helper.make_node("MatMul", [hidden, "V"], ["Vh"]),
        helper.make_node("Add", ["Vh", "output_bias"], ["logits"]),
    ]
    states = [(f"state_{i}", len(b)) for i, (_, _, b) in enumerate(network.layers)]
    tensor = helper.make_tensor_value_info
    return _model(
        nodes,
        [
            tensor("ids", TensorProto.INT32, ("batch",)),
            *(tensor(name, TensorProto.FLOAT, ("batch", size)) for name, size in states),
        ],
        [
            tensor("logits", TensorProto.FLOAT, ("batch", network.vocabulary_size)),
            *(tensor(f"next_{name}", TensorProto.FLOAT, ("batch", size)) for name, size in states),
        ],
        constants,
    )


def step_graph(network: TinyNetwork) -> onnx.ModelProto:
    """ids (batch,), state -> logits (batch, vocabulary), next_state."""
    return cell_graphs.step_graph(cell_graph(network))


def sequence_graph(network: TinyNetwork) -> onnx.ModelProto:
    """ids (batch, time), state -> logits (batch, time, vocabulary), next_state."""
    constants: dict[str, NDArray[Any]] = {"embedding": network.embedding, "V": network.V, "c": network.c}
    constants["directions_axis"] = np.array([1])
    nodes = [
        helper.make_node("Transpose", ["ids"], ["ids_by_time"], perm=[1, 0]),
        helper.make_node("Gather", ["embedding", "ids_by_time"], ["x0"]),
    ]
    for i, (W, U, b) in enumerate(network.layers):
        constants |= {f"W{i}": W.T[None], f"U{i}": U.T[None], f"b{i}": np.concatenate([b, np.zeros_like(b)])[None]}
        constants[f"layer{i}"] = np.array([i])
        inputs = [f"x{i}", f"W{i}", f"U{i}", f"b{i}", "", f"h{i}"]
        nodes += [
            helper.make_node("Gather", ["state", f"layer{i}"], [f"h{i}"], axis=0),
            helper.make_node("RNN", inputs, [f"y{i}", f"n{i}"], hidden_size=len(b)),
            helper.make_node("Squeeze", [f"y{i}", "directions_axis"], [f"x{i + 1}"]),
        ]
    nodes += [
        helper.make_node("Transpose", [f"x{len(network.layers)}"], ["h"], perm=[1, 0, 2]),
        helper.make_node("MatMul", ["h", "V"], ["Vh"]),
        helper.make_node("Add", ["Vh", "c"], ["logits"]),
        helper.make_node("Concat", [f"n{i}" for i in range(len(network.layers))], ["next_state"], axis=0),
    ]
    tensor = helper.make_tensor_value_info
    return _model(
        nodes,
        [
            tensor("ids", TensorProto.INT32, ("batch", "time")),
            tensor("state", TensorProto.FLOAT, network.state_shape),
        ],
        [
            tensor("logits", TensorProto.FLOAT, ("batch", "time", network.vocabulary_size)),
            tensor("next_state", TensorProto.FLOAT, network.state_shape),
        ],
        constants,
    )


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: dict[str, NDArray[Any]],
) -> onnx.ModelProto:
    weights = [numpy_helper.from_array(value.copy(order="C"), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def tiny_runtime(sources: dict[str, Any] | None = None, **entries: Any) -> dict[str, Any]:
    """Return the runtime block of a manifest: `entries`, and those that every kind has."""
    usual: dict[str, Any] = {
        "text": "text",
        "label": "label",
        "label_names": [],
        "values": [],
        "document": "file",
        "separate_documents": False,
        "season": 0,
        "errors": "strict",
    }
    return {**entries, "sources": usual | (sources or {}), "architecture": {}, "tokenizer_settings": {}}


def tiny_manifest(network: TinyNetwork) -> Manifest:
    """The manifest of a bundle of this network with the tokenizer of `TEXT`."""
    state = Tensor("state", "float32", network.state_shape)
    next_state = Tensor("next_state", "float32", network.state_shape)

    def reader(file: str, *free: str) -> Graph:
        logits = Tensor("logits", "float32", (*free, network.vocabulary_size))
        return Graph(file, inputs=(Tensor("ids", "int32", free), state), outputs=(logits, next_state))

    generate = Graph(
        "generate.onnx",
        inputs=(
            Tensor("ids", "int32", ("batch",)),
            state,
            Tensor("given", "int32", ("steps", "batch")),
            Tensor("uniforms", "float64", ("steps", "batch")),
            Tensor("temperature", "float64", ("batch",)),
        ),
        outputs=(Tensor("tokens", "int32", ("steps", "batch")), next_state),
    )
    filters = (("top_k", "int32"), ("top_p", "float64"), ("min_p", "float64"))
    filtered = Graph(
        "filtered.onnx",
        inputs=(*generate.inputs, *(Tensor(name, dtype, ("batch",)) for name, dtype in filters)),
        outputs=generate.outputs,
    )
    sequence = reader("sequence.onnx", "batch", "time")
    graphs = {
        "step": reader("model.onnx", "batch"),
        "sequence": sequence,
        "generate": generate,
        "filtered": filtered,
    }
    return Manifest(
        kind="language_model",
        precision="float32",
        tokenizer=TokenizerFile(CharTokenizer.kind, CharTokenizer.file_name),
        start_id=BEGINNING_ID,
        graphs=graphs,
        runtime=tiny_runtime(never_drawn=NEVER_DRAWN),
        metrics={"held_out": {"nats_per_token": 1.5}},
        config={"model": {"hidden_dim": 5}},
        created_with={"textrnn": "0.1.0"},
    )


def tiny_tokenizer() -> CharTokenizer:
    return CharTokenizer.train([TEXT])


def tiny_network() -> TinyNetwork:
    """A network that mostly writes letters of `TEXT`: special tokens and hexadecimal digits are improbable."""
    network = TinyNetwork.random(tiny_tokenizer().vocabulary_size)
    network.c[:FIRST_CHARACTER] -= 6
    return network


def write_tiny_bundle(
    folder: Path,
    *,
    external_weights: bool = False,
    network: TinyNetwork | None = None,
) -> Bundle:
    """Write a bundle of `tiny_network`, which writes nonsense over the letters of `TEXT`, or of another.

    With `external_weights` the graphs keep their weights in files of their own beside them.
    """
    tokenizer, network = tiny_tokenizer(), network or tiny_network()
    source = folder.with_name(folder.name + ".source")
    source.mkdir(parents=True)
    tokenizer.save(source)
    graphs = {
        "model": step_graph(network),
        "sequence": sequence_graph(network),
        "generate": cell_graphs.generate_graph(cell_graph(network), np.array(NEVER_DRAWN, np.int32)),
        "filtered": cell_graphs.filtered_graph(cell_graph(network), np.array(NEVER_DRAWN, np.int32)),
    }
    for name, graph in graphs.items():
        if external_weights:
            onnx.save(
                graph, source / f"{name}.onnx", save_as_external_data=True, location=f"{name}.bin", size_threshold=64
            )
        else:
            onnx.save(graph, source / f"{name}.onnx")
    return write_bundle(folder, tiny_manifest(network), source)


# A classifier

LABELS = ("bad", "good")
MAX_LENGTH = 12  # tokens of a text that `write_tiny_classifier` reads
CLASSIFIER = ModelConfig(
    hidden_dim=3, embedding_dim=2, layers=1, activation="relu", bidirectional=True, segment_length=4
)


def tiny_words() -> WordTokenizer:
    return WordTokenizer.train(["good bad film the 好 差 影"], lowercase=True, split="punctuation")


def tiny_classifier_weights() -> dict[str, NDArray[np.float64]]:
    """Of a network that goes by the words good, bad, 好 and 差, and a little by their order."""
    tokenizer = tiny_words()
    weights = reference_classifier.random_weights(CLASSIFIER, tokenizer.vocabulary_size, len(LABELS))
    weights["embedding"] *= 0.1
    for word, value in {"good": 1, "好": 1, "bad": -1, "差": -1}.items():
        weights["embedding"][tokenizer.encode(word)[0], 0] = value
    weights["output_kernel"] *= 0.5
    weights["output_kernel"][-2] = [-8, 8]  # of the mean of the first number of the embedding
    weights["output_bias"][:] = 0
    return weights


def write_tiny_classifier(folder: Path, **changes: Any) -> Bundle:
    """Write the bundle of that network; `changes` are other entries of its manifest."""
    from textrnn.training.export.classifier import classify_graph  # which loads TensorFlow
    from textrnn.training.export.graph_files import write_graphs

    source = folder.with_name(folder.name + ".source")
    source.mkdir(parents=True)
    tokenizer = tiny_words()
    tokenizer.save(source)
    weights = {name: array.astype(np.float32) for name, array in tiny_classifier_weights().items()}
    graphs = write_graphs({"classify": classify_graph(CLASSIFIER, weights)}, source)
    entries = {
        "kind": "classifier",
        "precision": "float32",
        "tokenizer": TokenizerFile(tokenizer.kind, tokenizer.file_name),
        "start_id": None,
        "graphs": graphs,
        "labels": LABELS,
        "runtime": tiny_runtime(max_length=MAX_LENGTH, segment_length=CLASSIFIER.segment_length),
    }
    return write_bundle(folder, Manifest(**(entries | changes)), source)


# Models that read vectors

CLASSES = ("down", "even", "up")
OUTPUTS = 2
VALUES_SCALE, VALUES_MEAN = np.array([3, 0.5], np.float32), np.array([-1, 10], np.float32)  # of a regressor


def vector_model(stride: int = 1) -> ModelConfig:
    return ModelConfig(hidden_dim=4, layers=2, stride=stride)


def tiny_vector_weights(outputs: int, features: int, stride: int = 1) -> dict[str, NDArray[np.float64]]:
    weights = reference_classifier.random_weights(vector_model(stride), 0, outputs, seed=1, features=features)
    weights["output_bias"][:] = 0  # so that every class is told of some
    return weights


def write_tiny_vector_classifier(
    folder: Path, features: int = 1, stride: int = 1, data: dict[str, Any] | None = None, **changes: Any
) -> Bundle:
    """Write the bundle of a network of `tiny_vector_weights`; `changes` are other entries of its manifest."""
    from textrnn.training.export.classifier import classify_graph

    weights = _float32(tiny_vector_weights(len(CLASSES), features, stride))
    graph = {"classify": classify_graph(vector_model(stride), weights)}
    entries = {"kind": "vector_classifier", "labels": CLASSES, "runtime": _runtime(stride, data)}
    return _write_vector_bundle(folder, graph, entries | changes)


def write_tiny_regressor(
    folder: Path, features: int = 1, stride: int = 1, data: dict[str, Any] | None = None, **changes: Any
) -> Bundle:
    """As `write_tiny_vector_classifier`; its values are scaled by `VALUES_SCALE` and `VALUES_MEAN`."""
    from textrnn.metrics.regression import Scaling
    from textrnn.training.export.regressor import regress_graph

    weights = _float32(tiny_vector_weights(OUTPUTS, features, stride))
    scaling = Scaling(np.stack([VALUES_MEAN - VALUES_SCALE, VALUES_MEAN + VALUES_SCALE]))
    graph = {"regress": regress_graph(vector_model(stride), weights, scaling)}
    entries = {"kind": "regressor", "labels": None, "runtime": _runtime(stride, data)}
    return _write_vector_bundle(folder, graph, entries | changes)


def _float32(weights: dict[str, NDArray[np.float64]]) -> dict[str, Array]:
    return {name: array.astype(np.float32) for name, array in weights.items()}


def _runtime(stride: int, data: dict[str, Any] | None) -> dict[str, Any]:
    return tiny_runtime(**({"steps": "rows", "hidden_dim": 4, "stride": stride} | (data or {})))


def _write_vector_bundle(folder: Path, graphs: dict[str, onnx.ModelProto], entries: dict[str, Any]) -> Bundle:
    from textrnn.training.export.graph_files import write_graphs

    source = folder.with_name(folder.name + ".source")
    source.mkdir(parents=True)
    written = write_graphs(graphs, source)
    shared = {"precision": "float32", "tokenizer": None, "start_id": None, "graphs": written}
    return write_bundle(folder, Manifest(**(shared | entries)), source)
