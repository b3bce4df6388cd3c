"""Bundles of untrained networks, made by the product's own exporter: what a token costs does not depend on weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from textrnn.bundle import Bundle, Manifest, TokenizerFile, write_bundle
from textrnn.config import Config, ModelConfig
from textrnn.generation import untrained
from textrnn.tokenizers import END_ID, CharTokenizer
from textrnn.tokenizers.char import FIRST_CHARACTER

Weights = dict[str, NDArray[np.float32]]

FIRST_CODE = ord("0")


def tokenizer_of_size(vocabulary_size: int) -> CharTokenizer:
    """Characters in the order of their code points."""
    count = vocabulary_size - FIRST_CHARACTER
    codes = [code for code in range(FIRST_CODE, FIRST_CODE + count + 0x800) if not 0xD800 <= code < 0xE000]
    return CharTokenizer("".join(map(chr, codes[:count])))


def random_weights(units: int, layers: int, vocabulary_size: int) -> Weights:
    """Weights whose states neither die nor saturate, and which write characters only, so that no text ends early."""
    random = np.random.default_rng(0)

    def normal(*shape: int) -> NDArray[np.float32]:
        return (random.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)

    weights = {
        "embedding": random.standard_normal((vocabulary_size, units)).astype(np.float32),
        "output_kernel": normal(units, vocabulary_size),
        "output_bias": np.where(np.arange(vocabulary_size) < FIRST_CHARACTER, -60, 0).astype(np.float32),
    }
    for layer in range(layers):
        weights[f"kernel_{layer}"], weights[f"recurrent_kernel_{layer}"] = normal(units, units), normal(units, units)
        weights[f"bias_{layer}"] = np.zeros(units, np.float32)
    return weights


def keras_weights(weights: Weights, layers: int) -> list[NDArray[np.float32]]:
    """The weights in the order in which Embedding, the SimpleRNN layers and Dense hold them."""
    names = [f"{name}_{layer}" for layer in range(layers) for name in ("kernel", "recurrent_kernel", "bias")]
    return [weights[name] for name in ("embedding", *names, "output_kernel", "output_bias")]


def random_config(units: int, layers: int) -> ModelConfig:
    """The plain stacked network, which the peers have too."""
    return ModelConfig(hidden_dim=units, layers=layers, residual=False)


def random_bundle(folder: Path, units: int, layers: int, vocabulary_size: int, quantize: str | None = None) -> Bundle:
    """Write the bundle of an untrained network."""
    from textrnn.training.tensorflow_setup import import_tensorflow

    import_tensorflow()
    from textrnn.training.export.exporter import runtime_block
    from textrnn.training.export.graph_files import write_graphs
    from textrnn.training.export.language_model import build_graphs

    tokenizer = tokenizer_of_size(vocabulary_size)
    source = folder.with_name(f"{folder.name}.source")
    source.mkdir()
    weights = random_weights(units, layers, vocabulary_size)
    never_drawn = untrained(np.ones(vocabulary_size, np.int64))
    graphs = write_graphs(
        build_graphs(random_config(units, layers), weights, never_drawn, quantize or "float32"), source
    )
    tokenizer.save(source)
    manifest = Manifest(
        kind="language_model",
        precision=quantize or "float32",
        tokenizer=TokenizerFile(tokenizer.kind, tokenizer.file_name),
        start_id=END_ID,
        graphs=graphs,
        runtime=runtime_block(Config(), never_drawn=never_drawn.tolist()),
    )
    return write_bundle(folder, manifest, source)


def bare_session(path: Path) -> onnxruntime.InferenceSession:
    """A graph in onnxruntime with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
