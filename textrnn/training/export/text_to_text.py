"""Translators to ONNX. Two graphs:

* ``encode``: whole sources, ``ids (batch, time)`` to ``keys`` and ``values (batch, time, hidden)``, ``mask (batch,
  time)`` and the decoder's first ``state (layers + 1, batch, hidden)``;
* ``decode``: one step of the decoder, ``ids (batch)``, state, keys, values and mask to ``logits (batch, vocabulary)``,
  ``attention (batch, time)`` and ``next_state``.

The last row of the state is the output of the attention, which is fed to the next step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
from numpy.typing import NDArray
from onnx import TensorProto

from textrnn.config import Config, ModelConfig
from textrnn.data.pairs.dataset import PairBatches, PairDataset
from textrnn.decoding.beam_search import Hypothesis, Memory, search
from textrnn.metrics.text_to_text import compare_texts, compare_tokens
from textrnn.runtime.sessions import Sessions
from textrnn.tokenizers.base import PAD_ID, Tokenizer
from textrnn.training.export.cell_graphs import AXES, Nodes, graph_model, value
from textrnn.training.export.exporter import Exporter, relative, require_close, run_graph
from textrnn.training.export.layer_graphs import OPERATORS, join, next_state, tensors
from textrnn.training.export.ngram_graphs import ngram_constants, ngrams_of_texts
from textrnn.training.export.quantization import stored_in_8_bits
from textrnn.training.export.whole_sequence import stack_over_time
from textrnn.training.network.layers import fold_input_scale
from textrnn.training.network.text_to_text.translator import (
    LOWEST,
    UPPER,
    Translator,
    attention_activation,
    upper_config,
)
from textrnn.training.network.weight_names import BACKWARD

PARITY_BATCHES = 4
LENGTH_PENALTY = 1.0
BEAMS = 4  # with which held-out pairs are measured
MEASURED = 4000  # held-out pairs at most

Array = NDArray[np.float32]


class TranslatorExporter(Exporter):
    """Writes the bundle of a translator.

    Args:
        model: the model, with the weights to export.
        tokenizers: those of sources and targets.
        train: the training pairs, whose longest texts bound the length of an output.
        held_out: pairs on which the graphs are checked and measured.
        settings: the whole resolved configuration, for the manifest.
        report: called with the figures of the float32 graphs on held-out pairs, and the best output of each pair that
            was read, by its number in the held-out set.
    """

    kind = "text_to_text"

    def __init__(
        self,
        model: Translator,
        tokenizers: tuple[Tokenizer, Tokenizer],
        train: PairDataset,
        held_out: PairBatches,
        settings: Config,
        report: Callable[[Mapping[str, Any], Mapping[int, Hypothesis]], None] | None = None,
    ) -> None:
        super().__init__(settings, tokenizers[0])
        self.report = report
        self.model, self.target, self.held_out = model, tokenizers[1], held_out
        self.is_shared = tokenizers[0] is tokenizers[1]
        self.longest = int(train.source_lengths.max()), int(train.target_lengths.max())

    def graphs(self, precision: str) -> dict[str, onnx.ModelProto]:
        return translator_graphs(self.model.config, self.model.arrays(), precision == "int8")

    def save_tokenizers(self, folder: Path) -> None:
        super().save_tokenizers(folder)
        if not self.is_shared:
            self.target.save(folder, "target_")

    def runtime(self) -> dict[str, Any]:
        prefix = "" if self.is_shared else "target_"
        return {
            "target": self.settings.data.target,
            "target_tokenizer": {"kind": self.target.kind, "file": f"{prefix}{self.target.file_name}"},
            "longest_source": self.longest[0],
            "longest_target": self.longest[1],
            "length_penalty": LENGTH_PENALTY,
        }

    def compare(self, graphs: Sessions, precision: str) -> float:
        model, worst = self.model, 0.0
        generator = np.random.default_rng(0)
        sources = generator.integers(1, model.backbone.vocabulary_size, (3, 9), dtype=np.int32)
        sources[1, 4:], sources[2] = PAD_ID, PAD_ID
        random = sources, generator.integers(1, model.target_size, (3, 12), dtype=np.int32)
        for ids, targets in (random, *(batch.inputs for batch in islice(self.held_out.all(), PARITY_BATCHES))):
            *memory, state = run_graph(graphs("encode"), ids)
            steps = []
            for t in range(targets.shape[1]):
                logits, attention, state = run_graph(graphs("decode"), targets[:, t], state, *memory)
                steps.append((logits, attention))
            if precision != "float32":
                continue
            memory_there, state_there = model.encode(tf.constant(ids))
            logits, attention, state_there = model.decode(tf.constant(targets), state_there, memory_there)
            found = [np.stack([step[number] for step in steps]) for number in (0, 1)]
            for one, other in zip(
                [*memory[:2], *found, state], [*memory_there[:2], logits, attention, state_there], strict=True
            ):
                worst = np.maximum(worst, relative(one - np.asarray(other), np.asarray(other)))  # NaN stays
        require_close(float(worst), "logit, key or state")
        return float(worst)

    def measure(self, graphs: Mapping[str, Sessions]) -> dict[str, Any]:
        metrics: dict[str, Any] = {}
        for precision, sessions in graphs.items():
            outputs = self._outputs(sessions)
            figures = self._figures(outputs)
            metrics["held_out"], metrics[precision] = figures, dict(figures)
            if precision == "float32" and self.report:
                self.report(figures, outputs)
        return metrics

    def _outputs(self, sessions: Sessions) -> dict[int, Hypothesis]:
        """Return the best output of held-out sources by beam search, by their numbers."""

        def step(ids: NDArray[np.int32], state: Array, memory: Memory) -> tuple[Array, Array, Array]:
            logits, attention, state = run_graph(sessions("decode"), ids, state, *memory)
            return logits, attention, state

        outputs: dict[int, Hypothesis] = {}
        every = -(-len(self.held_out.dataset) // MEASURED)
        for number, batch in enumerate(self.held_out.all()):
            if number % every == 0:  # of all lengths
                sources = batch.inputs[0][: len(batch.indices)]
                *memory, state = run_graph(sessions("encode"), sources)
                bounds = [self.longest[1] + 1] * len(sources)
                found = search(step, tuple(memory), state, bounds, BEAMS, LENGTH_PENALTY)
                outputs |= {index: each[0] for index, each in zip(batch.indices.tolist(), found, strict=True)}
        return outputs

    def _figures(self, outputs: Mapping[int, Hypothesis]) -> dict[str, Any]:
        expected = [self.held_out.dataset.pair(index)[1].tolist() for index in outputs]
        found = [list(each.ids) for each in outputs.values()]
        targets, texts = ([self.target.decode(ids) for ids in each] for each in (expected, found))
        return {**compare_tokens(expected, found), **compare_texts([[text] for text in targets], texts)}


def translator_graphs(
    config: ModelConfig, arrays: Mapping[str, Array], in_8_bits: bool = False
) -> dict[str, onnx.ModelProto]:
    """Build the graphs of a bundle, by their use, from the weights of the model, by name."""
    arrays = dict(arrays)
    upper = {name.removeprefix(UPPER): arrays.pop(name) for name in list(arrays) if name.startswith(UPPER)}
    weights = fold_input_scale(config, arrays)
    if upper:
        weights |= {f"{UPPER}{name}": array for name, array in fold_input_scale(upper_config(config), upper).items()}
    weights["key_kernel"] = weights["key_kernel"] * np.float32(config.hidden_dim**-0.5)
    weights["decoder_table"] = weights.pop("decoder_embedding") @ weights.pop("decoder_kernel") + weights.pop(
        "decoder_bias"
    )
    weights["state_and_feed_kernel"] = np.concatenate(
        [weights.pop("decoder_recurrent_kernel"), weights.pop("feed_kernel")]
    )
    weights = {name: np.ascontiguousarray(array, np.float32) for name, array in weights.items()}
    decoding = ("decoder_", "attention_", "output_", "state_and_feed")
    of_decoder = {name: array for name, array in weights.items() if name.startswith(decoding)}
    of_encoder = {name: array for name, array in weights.items() if name not in of_decoder}
    return {
        "encode": _encode_graph(config, of_encoder, in_8_bits),
        "decode": _decode_graph(config, of_decoder, in_8_bits),
    }


def _encode_graph(config: ModelConfig, weights: dict[str, Any], in_8_bits: bool) -> onnx.ModelProto:
    nodes = Nodes()
    constants: dict[str, NDArray[Any]] = {
        **AXES,
        "pad": np.array(PAD_ID, np.int32),
        "lowest": np.array(LOWEST, np.float32),
        "one": np.array(1, np.float32),
        "any": np.array([-1]),
        "second": np.array([1]),
        "hidden_dim": np.array([config.hidden_dim]),
        "rest_of_state": np.array([0, 0, 0, config.layers, 0, 0]),
    }
    if config.input_ngrams > 1:
        constants |= ngram_constants(config)
    if in_8_bits:
        weights = stored_in_8_bits(nodes, weights)
    by_time = nodes.add("Transpose", "ids", perm=[1, 0])
    real = nodes.add("Cast", nodes.add("Not", nodes.add("Equal", by_time, "pad")), to=TensorProto.FLOAT)
    vectors = nodes.add("Gather", "embedding", by_time, axis=0)
    if config.input_ngrams > 1:
        steps = nodes.add("Gather", nodes.add("Shape", "ids"), "second")
        vectors = nodes.add("Add", vectors, ngrams_of_texts(nodes, config, weights, "ids", steps))
    rows = nodes.add("Gather", nodes.add("Shape", by_time), "second")
    zeros = nodes.add("ConstantOfShape", nodes.add("Concat", rows, "hidden_dim", axis=0))
    is_real = nodes.add("Unsqueeze", real, "axis_2")
    read = [stack_over_time(nodes, config, vectors, zeros, "")]
    if config.bidirectional:
        read.append(stack_over_time(nodes, config, vectors, zeros, BACKWARD, is_real))
    states = nodes.add("Concat", *read, axis=2) if len(read) > 1 else read[0]
    for name in ("keys", "values"):
        product = nodes.add("MatMul", states, f"{name.removesuffix('s')}_kernel")
        nodes.add("Transpose", product, output=name, perm=[1, 0, 2])
    outside = nodes.add("Mul", nodes.add("Sub", "one", real), "lowest")
    nodes.add("Transpose", outside, output="mask", perm=[1, 0])
    count = nodes.add("Max", nodes.add("ReduceSum", is_real, "axis_0", keepdims=0), "one")
    mean = nodes.add("Div", nodes.add("ReduceSum", nodes.add("Mul", states, is_real), "axis_0", keepdims=0), count)
    first = nodes.add("Tanh", nodes.add("Add", nodes.add("MatMul", mean, "initial_kernel"), "initial_bias"))
    nodes.add("Pad", nodes.add("Unsqueeze", first, "axis_0"), "rest_of_state", output="state")
    hidden = config.hidden_dim
    return graph_model(
        nodes,
        [value("ids", TensorProto.INT32, "batch", "time")],
        [
            value("keys", TensorProto.FLOAT, "batch", "time", hidden),
            value("values", TensorProto.FLOAT, "batch", "time", hidden),
            value("mask", TensorProto.FLOAT, "batch", "time"),
            value("state", TensorProto.FLOAT, config.layers + 1, "batch", hidden),
        ],
        tensors(weights),
        constants,
    )


def _decode_graph(config: ModelConfig, weights: dict[str, Any], in_8_bits: bool) -> onnx.ModelProto:
    nodes = Nodes()
    if in_8_bits:
        weights = stored_in_8_bits(nodes, weights)
    layers, hidden = config.layers, config.hidden_dim
    nodes.split_state(f"state_{layer}" for layer in range(layers + 1))
    before = nodes.add("Concat", "state_0", f"state_{layers}", axis=1)
    projected = nodes.add("Gather", "decoder_table", "ids", axis=0)
    carried = nodes.add("MatMul", before, "state_and_feed_kernel")
    state = nodes.add(
        OPERATORS[attention_activation(config)], nodes.add("Add", projected, carried), output="next_state_0"
    )
    products = nodes.add("MatMul", "keys", nodes.add("Unsqueeze", state, "axis_2"))
    scores = nodes.add("Add", nodes.add("Squeeze", products, "axis_2"), "mask")
    attention = nodes.add("Softmax", scores, output="attention", axis=1)
    context = nodes.add("MatMul", nodes.add("Unsqueeze", attention, "axis_1"), "values")
    output = nodes.add("Add", nodes.add("MatMul", state, "attention_kernel"), "attention_bias")
    output = nodes.add("Add", output, nodes.add("Squeeze", context, "axis_1"))
    output = nodes.add("Tanh", output, output=f"next_state_{layers}")
    if layers > 1:
        upper, above, below = upper_config(config), "", output
        for layer in range(layers - 1):
            product = nodes.add("MatMul", below, f"{UPPER}kernel_{layer}")
            projected = nodes.add("Add", product, f"{UPPER}bias_{layer}")
            names = f"state_{layer + 1}", f"next_state_{layer + 1}"
            state = next_state(nodes, upper, layer, names[0], projected, names[1], UPPER)
            below = above = join(nodes, upper, layer, above, state, UPPER)
        output = nodes.add("Add", output, above) if config.residual else above
    nodes.add("Add", nodes.add("MatMul", output, "output_kernel"), "output_bias", output="logits")
    nodes.join_state(f"next_state_{layer}" for layer in range(layers + 1))
    memory = ("batch", "time", hidden)
    state_shape = (layers + 1, "batch", hidden)
    return graph_model(
        nodes,
        [
            value("ids", TensorProto.INT32, "batch"),
            value("state", TensorProto.FLOAT, *state_shape),
            value("keys", TensorProto.FLOAT, *memory),
            value("values", TensorProto.FLOAT, *memory),
            value("mask", TensorProto.FLOAT, "batch", "time"),
        ],
        [
            value("logits", TensorProto.FLOAT, "batch", len(weights["output_bias"])),
            value("attention", TensorProto.FLOAT, "batch", "time"),
            value("next_state", TensorProto.FLOAT, *state_shape),
        ],
        tensors(weights),
    )
