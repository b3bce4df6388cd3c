"""Trained weights to ONNX graphs to a bundle; nothing is written unless onnxruntime agrees with Keras.

Four graphs share one set of weights:

* ``step``: one token for each stream, ``ids (batch,)`` and ``state (layers, batch, hidden)`` to ``logits (batch,
  vocabulary)`` and ``next_state``: Gather, MatMul, Add, Tanh.
* ``sequence``: many tokens at once, ``ids (batch, time)``. For scoring and long prompts.
* ``generate``: a chunk of text, each token drawn and read inside the graph.
* ``filtered``: the same with top-k, top-p and min-p.

The embedding and the first input projection are one table, ``E W + b``, looked up by token. The logits of an adaptive
softmax are log-probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from textrnn.config import Config, ModelConfig
from textrnn.data.tokens.datasets import TokenDataset
from textrnn.runtime.sessions import Sessions
from textrnn.scoring import Scorer, TextMetrics
from textrnn.tokenizers.base import END_ID, Tokenizer
from textrnn.training.export.adaptive_graphs import log_probs, with_tails_in_graphs
from textrnn.training.export.cell_graphs import (
    AXES,
    Nodes,
    filtered_graph,
    generate_graph,
    graph_model,
    layer_states,
    step_graph,
    stepwise_graph,
    value,
)
from textrnn.training.export.drawn_tokens import compare_drawn_tokens, state_difference
from textrnn.training.export.exporter import TOLERANCE, Exporter, relative, require_close, run_graph
from textrnn.training.export.layer_graphs import join, layer_over_time, next_state, tensors
from textrnn.training.export.ngram_graphs import ngram_constants, ngrams_of_sequence, ngrams_of_step
from textrnn.training.export.quantization import dynamically_quantized
from textrnn.training.network.language_model import LanguageModel
from textrnn.training.network.layers import fold_input_scale
from textrnn.training.network.ngram_inputs import state_rows

INT8_TOLERANCE = 0.05  # largest difference of a probability between two int8 graphs, whose rounding may tip over
INT8_TOKENS = 50_000  # of held-out text on which the loss of int8 is measured
PARITY_TOKENS = 256  # of held-out text on which graphs are compared with Keras

Array = NDArray[np.float32]


class LanguageModelExporter(Exporter):
    """Writes the bundle of a language model.

    Args:
        model: the model, with the weights to export.
        tokenizer: its tokenizer.
        held_out: tokens on which the graphs are checked and measured.
        start_id: the token before the first one of a text.
        never_drawn: ids that generation never draws, of `textrnn.generation.untrained`.
        settings: the whole resolved configuration, for the manifest.
    """

    kind = "language_model"

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: Tokenizer,
        held_out: TokenDataset,
        start_id: int,
        never_drawn: NDArray[np.int32],
        settings: Config,
    ) -> None:
        super().__init__(settings, tokenizer)
        self.model, self.held_out, self.never_drawn = model, held_out, never_drawn
        self.start_id: int = start_id

    def graphs(self, precision: str) -> dict[str, onnx.ModelProto]:
        return build_graphs(self.model.config, self.model.arrays(), self.never_drawn, precision)

    def runtime(self) -> dict[str, Any]:
        return {"never_drawn": self.never_drawn.tolist(), "prompt": self.settings.train.prompt}

    def compare(self, graphs: Sessions, precision: str) -> float:
        if precision == "int8":
            return self._compare_drawn_tokens(graphs, INT8_TOLERANCE)
        return max(self._compare_with_keras(graphs), self._compare_drawn_tokens(graphs, TOLERANCE))

    def measure(self, graphs: Mapping[str, Sessions]) -> dict[str, Any]:
        ids = np.asarray(self.held_out.ids)
        nats = self._nats(graphs["float32"], ids)
        metrics = {"held_out": TextMetrics.of(float(nats.sum()), len(ids), self.held_out.size).to_dict()}
        if "int8" in graphs:
            full = nats[:INT8_TOKENS].mean()
            quantized = self._nats(graphs["int8"], ids[:INT8_TOKENS]).mean()
            metrics["int8"] = {
                "tokens": min(INT8_TOKENS, len(ids)),
                "float32_nats_per_token": float(full),
                "nats_per_token": float(quantized),
                "loss": float(quantized - full),
            }
        return metrics

    def _nats(self, graphs: Sessions, ids: NDArray[Any]) -> NDArray[np.float64]:
        session = graphs("sequence")

        def read(ids: NDArray[Any], state: Array | None) -> tuple[Array, Array]:
            logits, state = run_graph(session, ids, self._zero_state(len(ids)) if state is None else state)
            return logits, state

        vocabulary_size, separate = self.model.backbone.vocabulary_size, self.model.separate_documents
        return Scorer(read, vocabulary_size, self.start_id, separate).add(ids)

    def _zero_state(self, batch: int) -> Array:
        config = self.model.config
        return np.zeros((state_rows(config), batch, config.hidden_dim), np.float32)

    def _compare_drawn_tokens(self, graphs: Sessions, tolerance: float) -> float:
        layers = self.model.config.layers
        return compare_drawn_tokens(graphs, self.never_drawn, self._zero_state, layers, tolerance)

    def _compare_with_keras(self, graphs: Sessions) -> float:
        """Compare logits and states on random and on held-out tokens."""
        step, sequence = graphs("step"), graphs("sequence")
        generator = np.random.default_rng(0)
        random_ids = generator.integers(0, self.model.backbone.vocabulary_size, (3, 64), dtype=np.int32)
        real_ids = np.asarray(self.held_out.ids[:PARITY_TOKENS], np.int32)
        if self.model.separate_documents:  # the state is reset by whoever runs the graph, not by the graph
            random_ids[random_ids == END_ID] += 1
            real_ids = real_ids[real_ids != END_ID]
        differences = []
        for ids in (random_ids, real_ids[None, :]):
            state = self._zero_state(len(ids))
            expected, expected_state = (np.asarray(x) for x in self.model(ids, state))
            expected = expected.transpose(1, 0, 2)
            logits, last_state = run_graph(sequence, ids, state)
            differences += [
                relative(logits - expected, expected),
                state_difference(last_state, expected_state, self.model.config.layers),
            ]
            for position in range(ids.shape[1]):
                logits, state = run_graph(step, ids[:, position], state)
                differences.append(relative(logits - expected[:, position], expected))
        worst = float(np.max(differences))  # unlike Python's max, it lets no NaN pass
        require_close(worst, "logit")
        return worst


def build_graphs(
    config: ModelConfig, arrays: Mapping[str, Array], never_drawn: NDArray[np.int32], precision: str = "float32"
) -> dict[str, onnx.ModelProto]:
    """Build the graphs of a bundle, by their use.

    In 8 bits a sequence is read step after step too, so that it computes what the step graph computes.
    """
    weights = graph_weights(config, arrays)
    cell = cell_graph(config, weights)
    if precision == "int8":
        cell = dynamically_quantized(cell)
        sequence = stepwise_graph(cell)
    else:
        sequence = sequence_graph(config, weights)
    return {
        "step": step_graph(cell),
        "sequence": sequence,
        "generate": generate_graph(cell, never_drawn),
        "filtered": filtered_graph(cell, never_drawn),
    }


def graph_weights(config: ModelConfig, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return the weights as the graphs hold them, from those of the model by name."""
    weights = fold_input_scale(config, arrays)
    if config.softmax == "adaptive":
        weights = with_tails_in_graphs(config, weights)
    embedding = weights.pop("embedding")
    kernel = weights.pop("kernel_0")
    weights["table"] = embedding @ kernel + weights.pop("bias_0")
    if "ngrams" in weights:
        if kernel.shape[0] < kernel.shape[1]:  # multiplied in the graph, because the table is smaller so
            weights["ngram_kernel"] = kernel
        else:
            weights["ngrams"] = weights["ngrams"] @ kernel
    if config.tied and config.softmax == "full":
        weights["output_kernel"] = embedding.T
    return {
        name: np.ascontiguousarray(array, np.int64 if name == "head_sizes" else np.float32)
        for name, array in weights.items()
    }


def cell_graph(config: ModelConfig, weights: Mapping[str, Array]) -> onnx.ModelProto:
    """Build one step of the network, as `textrnn.training.export.cell_graphs` takes it."""
    nodes = Nodes()
    hidden = ""
    for layer in range(config.layers):
        if layer == 0:
            projected = nodes.add("Gather", "table", "ids", axis=0)
            if config.input_ngrams > 1:
                projected = nodes.add("Add", projected, ngrams_of_step(nodes, config, weights))
        else:
            projected = nodes.add("Add", nodes.add("MatMul", hidden, f"kernel_{layer}"), f"bias_{layer}")
        state = next_state(nodes, config, layer, f"state_{layer}", projected, f"next_state_{layer}")
        hidden = join(nodes, config, layer, hidden, state)
    _head(nodes, weights, hidden)
    return graph_model(
        nodes,
        [value("ids", TensorProto.INT32, "batch"), *layer_states("state", state_rows(config), config.hidden_dim)],
        [
            value("logits", TensorProto.FLOAT, "batch", len(weights["output_bias"])),
            *layer_states("next_state", state_rows(config), config.hidden_dim),
        ],
        tensors(weights),
        AXES | ngram_constants(config),
    )


def sequence_graph(config: ModelConfig, weights: Mapping[str, Array]) -> onnx.ModelProto:
    """Build the graph of many tokens: ids ``(batch, time)``, state -> logits ``(batch, time, vocabulary)``, next_state.

    Layer by layer: only ``U h`` and the activation stand in a loop over time, all other products are taken over the
    whole text at once. With 512 units a text alone is read 1.6 times as fast as by onnxruntime's operator ``RNN`` and
    five times as fast as step after step; 16 and 64 texts 2.5 to 2.9 times as fast as by that operator, and between
    0.8 and 1.2 times as fast as step after step (benchmarks/scoring.py).
    """
    nodes = Nodes()
    layers, rows = range(config.layers), state_rows(config)
    nodes.split_state(f"first_state_{row}" for row in range(rows))
    hidden, ids = "", nodes.add("Transpose", "ids", perm=[1, 0])
    for layer in layers:
        if layer == 0:
            projected = nodes.add("Gather", "table", ids, axis=0)
            if config.input_ngrams > 1:
                projected = nodes.add("Add", projected, ngrams_of_sequence(nodes, config, weights, ids))
        else:
            projected = nodes.add("Add", nodes.add("MatMul", hidden, f"kernel_{layer}"), f"bias_{layer}")
        states = layer_over_time(nodes, config, layer, f"first_state_{layer}", projected, f"last_state_{layer}")
        hidden = join(nodes, config, layer, hidden, states)
    nodes.join_state(f"last_state_{row}" for row in range(rows))
    _head(nodes, weights, nodes.add("Transpose", hidden, perm=[1, 0, 2]))
    state_shape = (rows, "batch", config.hidden_dim)
    return graph_model(
        nodes,
        [value("ids", TensorProto.INT32, "batch", "time"), value("state", TensorProto.FLOAT, *state_shape)],
        [
            value("logits", TensorProto.FLOAT, "batch", "time", len(weights["output_bias"])),
            value("next_state", TensorProto.FLOAT, *state_shape),
        ],
        tensors(weights),
        AXES | ngram_constants(config),
    )


def _head(nodes: Nodes, weights: Mapping[str, Array], hidden: str) -> None:
    if "adapter" in weights:
        hidden = nodes.add("MatMul", hidden, "adapter")
    if "head_bias" in weights:
        outputs = log_probs(nodes, weights, hidden)
    else:
        outputs = nodes.add("MatMul", hidden, "output_kernel")
    nodes.add("Add", outputs, "output_bias", output="logits")
