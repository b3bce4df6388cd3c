"""Exported graphs compute what Keras computes, with native operators and one set of weights, or nothing is written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import reference_model
import tensorflow as tf
from commands import call, files_of
from conftest import POEMS, TrainedRun
from numpy.typing import NDArray

import textrnn
from textrnn import runtime
from textrnn.bundle import Bundle, read_bundle
from textrnn.config import Config, ModelConfig
from textrnn.data.records import SourceOptions
from textrnn.data.tokens.datasets import TokenDataset, prepare
from textrnn.errors import UserError
from textrnn.generation import SPECIAL, GenerationOptions, generate
from textrnn.runtime.streams import shares_calls
from textrnn.tokenizers.base import END_ID
from textrnn.tokenizers.char import CharTokenizer
from textrnn.training.export import language_model as export_onnx
from textrnn.training.export.graph_files import write_graphs
from textrnn.training.export.language_model import LanguageModelExporter
from textrnn.training.network import elementwise
from textrnn.training.network.language_model import LanguageModel

NEVER_DRAWN = np.array(sorted(SPECIAL), np.int32)
SMALL = ModelConfig(hidden_dim=6, embedding_dim=5, layers=2)
CONFIGS = {
    "tanh": SMALL,
    "one layer": replace(SMALL, layers=1),
    "three layers": replace(SMALL, layers=3, embedding_dim=0),
    "no residual": replace(SMALL, layers=3, residual=False),
    "n-grams": replace(SMALL, input_ngrams=4, ngram_rows=50),
    "n-grams as wide as the states": replace(SMALL, input_ngrams=2, ngram_rows=9, embedding_dim=0, tied=True),
    "relu": replace(SMALL, activation="relu"),
    "linear": replace(SMALL, activation="linear", layers=1),
    "normalised": replace(SMALL, normalization="layer", layers=3),
    "normalised, no residual": replace(SMALL, normalization="layer", residual=False),
    "tied by an adapter": replace(SMALL, tied=True),
    "tied, all else too": replace(
        SMALL, tied=True, embedding_dim=6, layers=3, normalization="layer", activation="relu"
    ),
    "adaptive": replace(SMALL, softmax="adaptive", cutoffs=(7, 9)),
    "adaptive and tied": replace(SMALL, softmax="adaptive", cutoffs=(8,), tied=True, layers=1),
    "mixed by relu": replace(SMALL, mixing="relu"),
    "mixed by gates": replace(SMALL, mixing="glu", normalization="layer", residual=False),
    "diagonal": replace(SMALL, recurrence="diagonal"),
    "diagonal, linear, mixed": replace(SMALL, recurrence="diagonal", activation="linear", mixing="relu"),
    "rotation": replace(SMALL, recurrence="rotation", layers=1),
    "rotation, relu": replace(SMALL, recurrence="rotation", activation="relu", tied=True),
    "rotation, linear, mixed": replace(
        SMALL, recurrence="rotation", activation="linear", mixing="glu", normalization="layer", layers=3
    ),
}
# Beyond those of a dense U, by what asks for them.
HASHING = {"Cast", "Concat", "Mod", "Mul", "Pad", "ReduceSum", "Slice"}
MORE = {
    "normalization=layer": {"LayerNormalization"},
    "input_ngrams=4": HASHING,
    "input_ngrams=2": HASHING,
    "softmax=adaptive": {"LogSoftmax"},
    "recurrence=diagonal": {"Mul"},
    "recurrence=rotation": {"Mul"},
    "mixing=relu": {"Relu"},
    "mixing=glu": {"Mul", "Sigmoid"},
}


@pytest.fixture(autouse=True)
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """An elementwise loop would compile a program for each shape; test_elementwise has it compiled."""
    monkeypatch.setattr(elementwise, "_compiled", lambda function: function)


NETWORK = {"Split", "Squeeze", "Gather", "MatMul", "Add", "Unsqueeze", "Concat", "Identity", "Tanh", "Relu"}
DRAWING = {
    "Cast",
    "ReduceMax",
    "Sub",
    "Div",
    "Exp",
    "CumSum",
    "Mul",
    "LessOrEqual",
    "ReduceSum",
    "Less",
    "Where",
    "Max",
}
FILTERING = {
    *("TopK", "GatherElements", "ScatterElements", "ConstantOfShape", "Shape", "Min"),
    *("GreaterOrEqual", "Or"),
}
NATIVE = {
    "step": NETWORK,
    "sequence": NETWORK | {"Transpose", "Scan"},
    "generate": NETWORK | DRAWING | {"Scan"},
    "filtered": NETWORK | DRAWING | FILTERING | {"Scan"},
}


@pytest.fixture(scope="module")
def tokenizer() -> CharTokenizer:
    return CharTokenizer.train(["the cat sat on the mat.\n"])


@pytest.fixture(scope="module")
def held_out(tokenizer: CharTokenizer, tmp_path_factory: pytest.TempPathFactory) -> TokenDataset:
    folder = tmp_path_factory.mktemp("held_out")
    (folder / "mat.txt").write_text("the cat sat on the mat.\n" * 20, encoding="utf-8")
    dataset, _ = prepare(
        tokenizer,
        [str(folder / "mat.txt")],
        SourceOptions(),
        folder / "data",
        separate_documents=False,
        held_out=None,
        quiet=True,
    )
    return dataset


def random_model(config: ModelConfig, tokenizer: CharTokenizer, apart: bool = False) -> LanguageModel:
    model = LanguageModel(config, tokenizer.vocabulary_size, separate_documents=apart)
    model.set_arrays(reference_model.random_weights(config, tokenizer.vocabulary_size))
    return model


def export(
    model: LanguageModel, tokenizer: CharTokenizer, held_out: TokenDataset, folder: Path, quantize: str | None = None
) -> Bundle:
    exporter = LanguageModelExporter(model, tokenizer, held_out, END_ID, NEVER_DRAWN, Config(seed=1))
    return exporter.export(folder, quantize)


def graphs_of(bundle: Bundle) -> dict[str, onnx.ModelProto]:
    """The graphs as they are in their files, without the weights beside them."""
    return {
        use: onnx.load(bundle.path(graph.file), load_external_data=False)
        for use, graph in bundle.manifest.graphs.items()
    }


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph and of the bodies of its loops."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from all_nodes(attribute.g)


def drawn_step_by_step(model: runtime.LanguageModel, prompt: str, **options: Any) -> list[str]:
    """What `samples` gives, by the step graph and `textrnn.sampling` alone."""
    checked = GenerationOptions(**options)
    texts = [""] * checked.count
    state, start = model.initial_state(1), model.start_id
    never_drawn = np.array(model.manifest.runtime["never_drawn"])
    for index, piece in generate(model.step, state, model.tokenizer, start, prompt, checked, never_drawn):
        texts[index] += piece
    return texts


def settings_of(config: ModelConfig) -> set[str]:
    return {f"{name}={value}" for name, value in asdict(config).items()}


@pytest.mark.parametrize("name", CONFIGS)
def test_graphs_equal_keras_and_the_equations(
    name: str, tokenizer: CharTokenizer, held_out: TokenDataset, tmp_path: Path
) -> None:
    config = CONFIGS[name]
    model = random_model(config, tokenizer)
    bundle = export(model, tokenizer, held_out, tmp_path / "bundle")
    random = np.random.default_rng(1)
    ids = random.integers(0, tokenizer.vocabulary_size, (3, 9), dtype=np.int32)
    state = reference_model.random_state(config, 3, tokenizer.vocabulary_size)
    keras_logits, keras_state = (result.numpy() for result in model(tf.constant(ids), tf.constant(state)))
    keras_logits = keras_logits.transpose(1, 0, 2)

    loaded = textrnn.load(tmp_path / "bundle")
    logits, next_state = loaded.read(ids, state)
    step_logits, step_state = np.empty_like(logits), state
    for position in range(ids.shape[1]):
        step_logits[:, position], step_state = loaded.step(ids[:, position], step_state)
    for actual in (logits, step_logits):
        np.testing.assert_allclose(actual, keras_logits, rtol=1e-4, atol=1e-4)
    for actual in (next_state, step_state):
        np.testing.assert_allclose(actual, keras_state, rtol=1e-4, atol=1e-4)
    expected, expected_state = reference_model.run(config, model.arrays(), ids, state)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(next_state, expected_state, rtol=1e-4, atol=1e-4)

    for use, graph in graphs_of(bundle).items():
        nodes = list(all_nodes(graph.graph))
        more = set().union(*(more for what, more in MORE.items() if what in settings_of(config)))
        if config.input_ngrams and use != "sequence":
            more = more | {"CumSum"}
        assert more <= {node.op_type for node in nodes} <= NATIVE[use] | more
        assert {node.domain for node in nodes} == {""}
        assert not graph.functions

    for options in ({}, {"top_k": 4, "top_p": 0.9}):
        texts = loaded.samples("the", count=2, length=60, seed=1, **options)
        assert texts == drawn_step_by_step(loaded, "the", count=2, length=60, seed=1, **options)


def test_the_graphs_are_for_onnxruntimes_of_years_ago(
    tokenizer: CharTokenizer, held_out: TokenDataset, tmp_path: Path
) -> None:
    for graph in graphs_of(export(random_model(SMALL, tokenizer), tokenizer, held_out, tmp_path / "bundle")).values():
        assert graph.ir_version == 8
        assert [(opset.domain, opset.version) for opset in graph.opset_import] == [("", 17)]


def test_inputs_and_outputs_are_those_of_the_contract(
    tokenizer: CharTokenizer, held_out: TokenDataset, tmp_path: Path
) -> None:
    bundle = export(random_model(SMALL, tokenizer), tokenizer, held_out, tmp_path / "bundle")
    size = tokenizer.vocabulary_size
    filters = [("top_k", "int32", ("batch",)), ("top_p", "float64", ("batch",)), ("min_p", "float64", ("batch",))]
    for use, more in (("generate", []), ("filtered", filters)):
        graph = bundle.manifest.graphs[use]
        assert [(t.name, t.dtype, t.shape) for t in (*graph.inputs, *graph.outputs)] == [
            ("ids", "int32", ("batch",)),
            ("state", "float32", (2, "batch", 6)),
            ("given", "int32", ("steps", "batch")),
            ("uniforms", "float64", ("steps", "batch")),
            ("temperature", "float64", ("batch",)),
            *more,
            ("tokens", "int32", ("steps", "batch")),
            ("next_state", "float32", (2, "batch", 6)),
        ]
    for use, free in (("step", ("batch",)), ("sequence", ("batch", "time"))):
        graph = bundle.manifest.graphs[use]
        assert [(t.name, t.dtype, t.shape) for t in (*graph.inputs, *graph.outputs)] == [
            ("ids", "int32", free),
            ("state", "float32", (2, "batch", 6)),
            ("logits", "float32", (*free, size)),
            ("next_state", "float32", (2, "batch", 6)),
        ]


def test_the_weights_are_stored_once(trained: TrainedRun, tmp_path: Path) -> None:
    call("export", trained.folder, "--quantize", "int8", "--out", tmp_path / "int8")
    for folder, names in (
        (trained.folder / "bundle", {"table", "recurrent_kernel_0", "kernel_1", "recurrent_kernel_1"}),
        (tmp_path / "int8", {"table_quantized", "recurrent_kernel_0_quantized", "kernel_1_quantized"}),
    ):
        bundle = read_bundle(folder)
        graph_files = {"model.onnx", "sequence.onnx", "generate.onnx", "filtered.onnx"}
        assert set(bundle.manifest.files) == graph_files | {"weights.bin", "tokenizer.json"}
        places: dict[str, set[str]] = {}
        for graph in graphs_of(bundle).values():
            inside = 0
            for tensor in graph.graph.initializer:
                outside = {entry.key: entry.value for entry in tensor.external_data}
                if outside:
                    assert outside["location"] == "weights.bin"
                    places.setdefault(tensor.name, set()).add(outside["offset"])
                else:
                    inside += len(onnx.numpy_helper.to_array(tensor).tobytes())
            assert inside < 4_000
        assert names <= set(places)
        assert all(len(offsets) == 1 for offsets in places.values())  # all graphs read the same bytes
        assert len({*next(zip(*places.values(), strict=True))}) == len(places)
        assert sum(bundle.manifest.files[name].bytes for name in graph_files) < 45_000


def test_the_manifest_tells_settings_versions_and_held_out_loss(trained: TrainedRun) -> None:
    manifest = read_bundle(trained.folder / "bundle").manifest
    config = json.loads((trained.folder / "config.json").read_text(encoding="utf-8"))
    config["data"]["source"] = [trained.source.name]
    assert manifest.config == config
    modules = {"textrnn": textrnn, "tensorflow": tf, "onnx": onnx, "onnxruntime": onnxruntime}
    assert manifest.created_with == {name: module.__version__ for name, module in modules.items()}
    lines = [json.loads(line) for line in (trained.folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    while_training = min(line["held_out_loss"] for line in lines if "held_out_loss" in line)
    # One stream and the first token are the difference.
    assert manifest.metrics["held_out"]["nats_per_token"] == pytest.approx(while_training, rel=0.15)


def test_graphs_that_differ_from_keras_are_not_written(
    tokenizer: CharTokenizer, held_out: TokenDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model(SMALL, tokenizer)
    true_weights = export_onnx.graph_weights
    names = sorted(true_weights(SMALL, model.arrays()))

    for name in names:

        def nearly(config: ModelConfig, arrays: Mapping[str, Any], name: str = name) -> dict[str, NDArray[np.float32]]:
            weights = true_weights(config, arrays)
            weights[name] = weights[name].copy()
            weights[name].flat[-1] += 0.01
            return weights

        monkeypatch.setattr(export_onnx, "graph_weights", nearly)
        with pytest.raises(UserError, match=r"must equal Keras within 0.0001 .* differed by .*; no bundle was written"):
            export(model, tokenizer, held_out, tmp_path / "out" / "bundle")
    assert files_of(tmp_path) == {}


def test_a_generate_graph_that_draws_otherwise_is_not_written(
    tokenizer: CharTokenizer, held_out: TokenDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model(SMALL, tokenizer)
    both = (None, "int8")
    for name, operator, change, precisions in (
        ("generate_graph", "Div", "Mul", both),
        ("generate_graph", "Exp", "Sigmoid", both),
        ("generate_graph", "Tanh", "Sin", both),
        ("filtered_graph", "Or", "And", both[:1]),
        ("filtered_graph", "Min", "Max", both[1:]),
    ):
        true_graph = getattr(export_onnx, name)

        def otherwise(
            cell: onnx.ModelProto,
            never_drawn: Any,
            build: Any = true_graph,
            operator: str = operator,
            change: str = change,
        ) -> onnx.ModelProto:
            graph: onnx.ModelProto = build(cell, never_drawn)
            for node in all_nodes(graph.graph):
                if node.op_type == operator:
                    node.op_type = change
            return graph

        with monkeypatch.context() as patch:
            patch.setattr(export_onnx, name, otherwise)
            for quantize in precisions:
                with pytest.raises(UserError, match=r"an exported graph must .*; nothing was written"):
                    export(model, tokenizer, held_out, tmp_path / "out" / "bundle", quantize)
    assert not (tmp_path / "out").exists()


def test_weights_that_are_not_finite_are_not_written(
    tokenizer: CharTokenizer, held_out: TokenDataset, tmp_path: Path
) -> None:
    model = random_model(SMALL, tokenizer)
    model.output_bias.assign(model.output_bias * np.nan)
    with pytest.raises(UserError, match="must equal Keras"):
        export(model, tokenizer, held_out, tmp_path / "bundle")
    assert files_of(tmp_path) == {}


def test_an_existing_folder_is_refused_and_untouched(
    tokenizer: CharTokenizer, held_out: TokenDataset, tmp_path: Path
) -> None:
    model = random_model(SMALL, tokenizer)
    export(model, tokenizer, held_out, tmp_path / "bundle")
    before = files_of(tmp_path)
    with pytest.raises(UserError, match=r"must not exist yet, found: .*bundle"):
        export(model, tokenizer, held_out, tmp_path / "bundle")
    assert files_of(tmp_path) == before


def test_int8_is_a_smaller_bundle_whose_loss_is_written_down(trained: TrainedRun, tmp_path: Path) -> None:
    result = call("export", trained.folder, "--quantize", "int8", "--out", tmp_path / "small")
    assert (result.code, result.out) == (0, f"{tmp_path / 'small'}\n")
    small, full = read_bundle(tmp_path / "small"), read_bundle(trained.folder / "bundle")
    assert small.manifest.precision == "int8"
    assert set(small.manifest.graphs) == {"step", "sequence", "generate", "filtered"}

    cost = small.manifest.metrics["int8"]
    held_out = full.manifest.metrics["held_out"]
    assert cost["tokens"] == held_out["tokens"]
    assert cost["float32_nats_per_token"] == pytest.approx(held_out["nats_per_token"])
    assert cost["loss"] == pytest.approx(cost["nats_per_token"] - cost["float32_nats_per_token"])
    assert abs(cost["loss"]) < 0.05
    assert result.err == f"int8 costs {cost['loss']:.4f} nats a token on held-out text\n"

    # What was written down is what a user measures.
    measured = call("evaluate", tmp_path / "small", trained.source, "--json")
    again = call("evaluate", trained.folder, trained.source, "--json")
    loss = json.loads(measured.out)["nats_per_token"] - json.loads(again.out)["nats_per_token"]
    assert loss == pytest.approx(cost["loss"], abs=0.02)
    model = textrnn.load(tmp_path / "small")
    assert model.generate("the ", length=15, temperature=0) == textrnn.load(trained.folder).generate(
        "the ", length=15, temperature=0
    )
    assert shares_calls(model, 9)  # a row of a batch has the bits that it has alone
    for seed in range(5):
        assert model.samples("the ", count=3, length=80, seed=seed) == drawn_step_by_step(
            model, "the ", count=3, length=80, seed=seed
        )


@pytest.mark.parametrize("name", ["diagonal, linear, mixed", "rotation, linear, mixed", "adaptive"])
def test_other_forms_in_8_bits_write_nearly_the_same(
    name: str, tokenizer: CharTokenizer, held_out: TokenDataset, tmp_path: Path
) -> None:
    model = random_model(CONFIGS[name], tokenizer)
    bundle = export(model, tokenizer, held_out, tmp_path / "bundle", "int8")
    assert 0 < abs(bundle.manifest.metrics["int8"]["loss"]) < 0.15  # of random weights, in six units
    loaded = textrnn.load(tmp_path / "bundle")
    assert shares_calls(loaded, 9)
    assert loaded.samples("the", count=2, length=40, seed=1) == drawn_step_by_step(
        loaded, "the", count=2, length=40, seed=1
    )


def test_a_real_size_in_8_bits_is_a_quarter(tmp_path: Path) -> None:
    config = ModelConfig(hidden_dim=256, layers=2)
    arrays = {name: array.astype(np.float32) for name, array in reference_model.random_weights(config, 3000).items()}
    sizes = []
    for precision in ("float32", "int8"):
        folder = tmp_path / precision
        folder.mkdir()
        write_graphs(export_onnx.build_graphs(config, arrays, NEVER_DRAWN, precision), folder)
        sizes.append(sum(path.stat().st_size for path in folder.iterdir()))
    assert sizes[1] < 0.27 * sizes[0]
    assert sizes[0] < 1.02 * 4 * (2 * 3000 * 256 + 3 * 256 * 256)


def test_a_model_of_documents_apart_writes_poems_that_end(trained_poems: TrainedRun) -> None:
    model = textrnn.load(trained_poems.folder)
    assert model.manifest.start_id == END_ID
    poems = model.samples(count=20, length=200, temperature=0.5, seed=1)
    assert all(0 < len(poem) < 100 for poem in poems)
    assert sum(poem.endswith("。") for poem in poems) >= 15
    assert set("".join(poems)) <= set("".join(POEMS)) | {"\ufffd"}
    # Whoever reads several documents resets the state at the end of each: their losses add up.
    one, other = (model.score(poem).nats for poem in POEMS[:2])
    assert one / len(POEMS[0]) < 3
    assert model.score(POEMS[0] + POEMS[1]).nats != pytest.approx(one + other, rel=1e-3)
