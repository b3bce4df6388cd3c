"""A real bundle in onnxruntime beside the same network in numpy."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_bundle import (
    TinyNetwork,
    step_graph,
    tiny_manifest,
    tiny_network,
    tiny_runtime,
    write_tiny_bundle,
)

import textrnn
from textrnn import UserError
from textrnn.bundle import Graph, write_bundle
from textrnn.generation import GenerationOptions, generate
from textrnn.runtime import language_model
from textrnn.runtime.language_model import PREFILL_FROM, LanguageModel
from textrnn.runtime.load import load
from textrnn.tokenizers import BEGINNING_ID, END_ID, PAD_ID, UNKNOWN_ID, CharTokenizer

NETWORK = tiny_network()
AWKWARD = "hello é 😀\n\0 world"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("model") / "bundle").folder


@pytest.fixture(scope="module")
def model(folder: Path) -> LanguageModel:
    return load(folder)


class BySteps:
    """A model whose every token is drawn by `textrnn.sampling` from the logits of its step graph."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model

    def samples(self, prompt: str, *, count: int = 1, **options: Any) -> list[str]:
        model, texts = self.model, [""] * count
        checked = GenerationOptions(count=count, **options)
        never_drawn = np.array(model.manifest.runtime["never_drawn"])
        start, state = model.start_id, model.initial_state(1)
        for index, piece in generate(model.step, state, model.tokenizer, start, prompt, checked, never_drawn):
            texts[index] += piece
        return texts

    def generate(self, prompt: str, **options: Any) -> str:
        return self.samples(prompt, **options)[0]


@pytest.fixture(scope="module")
def without_filters(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    """The same model in an older bundle."""
    manifest = tiny_manifest(NETWORK)
    graphs = {use: graph for use, graph in manifest.graphs.items() if use != "filtered"}
    path = tmp_path_factory.mktemp("older") / "bundle"
    return load(write_bundle(path, dataclasses.replace(manifest, graphs=graphs), folder).folder)


@pytest.fixture(scope="module")
def by_steps(model: LanguageModel) -> BySteps:
    return BySteps(model)


def rebuilt(folder: Path, path: Path, graph: onnx.ModelProto | None = None, **fields: Any) -> Path:
    """A bundle with right hashes and one thing that is wrong: another step graph, or fields of the manifest."""
    source = path.with_name("source")
    shutil.copytree(folder, source)
    if graph is not None:
        (source / "model.onnx").write_bytes(graph.SerializeToString())
    return write_bundle(path, dataclasses.replace(tiny_manifest(NETWORK), **fields), source).folder


class TestLoading:
    def test_a_bundle_or_a_run_folder(self, folder: Path) -> None:
        for path in (folder, str(folder), folder.parent):
            assert textrnn.load(path).manifest.kind == "language_model"

    def test_large_weights_may_lie_in_files_of_their_own(self, model: LanguageModel, tmp_path: Path) -> None:
        bundle = write_tiny_bundle(tmp_path / "bundle", external_weights=True)
        assert "model.bin" in bundle.manifest.files
        external = load(bundle.folder)
        assert external.generate("he", seed=1) == model.generate("he", seed=1)
        assert external.score(AWKWARD) == model.score(AWKWARD)

    def test_more_threads_write_the_same(self, model: LanguageModel, folder: Path) -> None:
        assert load(folder, threads=2).generate("he", seed=1) == model.generate("he", seed=1)
        with pytest.raises(UserError, match="threads must be a whole number, 1 or above, was: 0"):
            load(folder, threads=0)

    @pytest.mark.parametrize("place", ["{outside}/model.bin", "../model.bin"])
    def test_weights_outside_of_the_folder_are_not_read(self, folder: Path, tmp_path: Path, place: str) -> None:
        onnx.save(
            step_graph(NETWORK),
            tmp_path / "model.onnx",
            save_as_external_data=True,
            location="model.bin",
            size_threshold=64,
        )
        graph = onnx.load(tmp_path / "model.onnx", load_external_data=False)
        for tensor in graph.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = place.format(outside=tmp_path)
        with pytest.raises(UserError, match=r"model\.onnx refers to weights outside the bundle"):
            load(rebuilt(folder, tmp_path / "bundle", graph))

    def test_what_is_no_graph_is_refused_in_one_line(self, folder: Path, tmp_path: Path, capfd: Any) -> None:
        source = Path(shutil.copytree(folder, tmp_path / "source"))
        (source / "generate.onnx").write_bytes(b"no graph")
        broken = write_bundle(tmp_path / "bundle", tiny_manifest(NETWORK), source).folder
        with pytest.raises(UserError, match=r"generate\.onnx could not be loaded by onnxruntime") as caught:
            load(broken)
        assert "\n" not in str(caught.value)
        assert capfd.readouterr() == ("", "")

    def test_a_graph_that_is_not_what_the_manifest_says(self, folder: Path, tmp_path: Path) -> None:
        graph = step_graph(NETWORK)
        graph.graph.output[1].name = graph.graph.node[-1].output[0] = "memory"
        with pytest.raises(UserError, match=r"model\.onnx must have the outputs .* of its manifest, has .*memory"):
            load(rebuilt(folder, tmp_path / "bundle", graph)).generate(repetition_penalty=2)

    def test_graphs_that_do_not_write_are_loaded_when_they_are_needed(self, folder: Path, tmp_path: Path) -> None:
        source = Path(shutil.copytree(folder, tmp_path / "source"))
        for name in ("model", "sequence", "filtered"):
            (source / f"{name}.onnx").write_bytes(b"no graph")
        model = load(write_bundle(tmp_path / "bundle", tiny_manifest(NETWORK), source).folder)
        assert model.generate("hello", length=20, seed=1) == load(folder).generate("hello", length=20, seed=1)
        with pytest.raises(UserError, match=r"sequence\.onnx could not be loaded"):
            model.score("hello")
        with pytest.raises(UserError, match=r"model\.onnx could not be loaded"):
            model.generate("hello", repetition_penalty=1.1)
        with pytest.raises(UserError, match=r"filtered\.onnx could not be loaded"):
            model.generate("hello", top_k=3)

    def test_a_sequence_graph_in_place_of_the_step_graph(self, folder: Path, tmp_path: Path) -> None:
        def swapped(graphs: dict[str, Graph]) -> dict[str, Graph]:
            return {**graphs, "step": dataclasses.replace(graphs["step"], file="sequence.onnx")}

        graphs = swapped(dict(tiny_manifest(NETWORK).graphs))
        with pytest.raises(UserError, match=r"sequence\.onnx must have the inputs"):
            load(rebuilt(folder, tmp_path / "bundle", graphs=graphs)).generate(repetition_penalty=2)

    def test_a_tokenizer_of_another_model(self, folder: Path, tmp_path: Path) -> None:
        source = Path(shutil.copytree(folder, tmp_path / "source"))
        CharTokenizer.train(["abc"]).save(source)
        with pytest.raises(UserError, match=r"must belong together, .* has 23 tokens, 28 logits"):
            load(write_bundle(tmp_path / "bundle", tiny_manifest(NETWORK), source).folder)

    def test_a_tokenizer_in_a_file_that_would_not_be_read(self, folder: Path, tmp_path: Path) -> None:
        source = Path(shutil.copytree(folder, tmp_path / "source"))
        shutil.copy(source / "tokenizer.json", source / "characters.json")
        manifest = tiny_manifest(NETWORK)
        manifest = dataclasses.replace(
            manifest, tokenizer=dataclasses.replace(manifest.tokenizer, file="characters.json")
        )
        with pytest.raises(UserError, match=r"must be in tokenizer\.json, .* has it in characters\.json"):
            load(write_bundle(tmp_path / "bundle", manifest, source).folder)

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"kind": "classifier"}, "runtime.max_length must be given, is missing"),
            ({"kind": "translator"}, "must be one of language_model, classifier, .* is a translator"),
            ({"start_id": 28}, "must belong together, .* start_id 28"),
            ({"start_id": -1}, "must belong together, .* start_id -1"),
            ({"graphs": {}}, "must have a generate graph, .* has none"),
            ({"runtime": tiny_runtime()}, r"runtime\.never_drawn must be given, is missing"),
            ({"runtime": tiny_runtime(never_drawn=[0, 1, 2, 28])}, r"runtime\.never_drawn must list ids"),
            ({"runtime": tiny_runtime(never_drawn=list(range(28)))}, r"runtime\.never_drawn must list ids"),
            ({"runtime": tiny_runtime(never_drawn=[0, 1])}, r"runtime\.never_drawn must list ids"),
            ({"runtime": tiny_runtime(never_drawn=[0, 1, True, 2])}, r"never_drawn must be a list of whole numbers"),
        ],
    )
    def test_a_bundle_that_cannot_generate(
        self, folder: Path, tmp_path: Path, fields: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(UserError, match=message):
            load(rebuilt(folder, tmp_path / "bundle", **fields))

    def test_damage_is_found(self, folder: Path, tmp_path: Path) -> None:
        damaged = Path(shutil.copytree(folder, tmp_path / "bundle"))
        (damaged / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:-5])
        with pytest.raises(UserError, match=r"model\.onnx must have .* bytes"):
            load(damaged)


class TestLogits:
    def test_steps_agree_with_the_equations(self, model: LanguageModel) -> None:
        ids = [BEGINNING_ID, *model.tokenizer.encode(AWKWARD).tolist()]
        state = model.initial_state(1)
        rows = []
        for token in ids:
            logits, state = model.step(np.array([token]), state)
            rows.append(logits[0])
        np.testing.assert_allclose(rows, NETWORK.logits(ids), atol=1e-5)

    @pytest.mark.parametrize("batch", [1, 3])
    def test_reading_agrees_with_the_equations(self, model: LanguageModel, batch: int) -> None:
        ids = np.random.default_rng(5).integers(model.vocabulary_size, size=(batch, 9))
        expected = np.array([NETWORK.logits(row.tolist()) for row in ids])
        first, state = model.read(ids[:, :4])
        second, state = model.read(ids[:, 4:], state)
        np.testing.assert_allclose(np.concatenate([first, second], axis=1), expected, atol=1e-5)
        assert first.dtype == state.dtype == np.float32
        assert state.shape == model.initial_state(batch).shape

    def test_a_state_is_not_changed_by_a_later_call(self, model: LanguageModel) -> None:
        _, state = model.read(np.array([[21, 22]]))
        before = state.copy()
        model.read(np.array([[23, 24, 25]]), state)
        assert (state == before).all()

    @pytest.mark.parametrize("token", [-1, 28])
    def test_an_id_outside_of_the_vocabulary_is_refused(self, model: LanguageModel, token: int) -> None:
        message = f"ids must be between 0 and 27, were: {token} to {token}"
        with pytest.raises(UserError, match=message):
            model.step(np.array([token]), model.initial_state(1))
        with pytest.raises(UserError, match=message):
            model.read(np.array([[token]]))


class TestScore:
    def test_every_token_is_predicted_once_from_the_start_token_on(self, model: LanguageModel) -> None:
        ids = model.tokenizer.encode(AWKWARD)
        expected = NETWORK.log_probs(ids.tolist())
        log_probs = model.token_log_probs(ids)
        assert log_probs.dtype == np.float64
        np.testing.assert_allclose(log_probs, expected, atol=1e-5)

        score = model.score(AWKWARD)
        assert score.nats == pytest.approx(-expected.sum(), abs=1e-4)
        assert (score.tokens, score.characters, score.bytes) == (len(ids), 17, 21)
        assert score.bits_per_byte == pytest.approx(-expected.sum() / np.log(2) / 21, abs=1e-5)

    def test_a_long_text_is_read_in_parts_that_carry_the_state(self, model: LanguageModel) -> None:
        ids = model.tokenizer.encode("hello world " * 300)
        np.testing.assert_allclose(model.token_log_probs(ids), NETWORK.log_probs(ids.tolist()), atol=1e-4)

    def test_no_text_costs_nothing(self, model: LanguageModel) -> None:
        assert model.score("").nats == 0

    def test_what_the_model_writes_it_finds_probable(self, model: LanguageModel) -> None:
        written = model.generate(length=30, temperature=0)
        assert model.score(written).nats_per_token < model.score("hello world hello world").nats_per_token


class TestNextProbs:
    def test_the_most_probable_tokens_come_first(self, model: LanguageModel) -> None:
        ids = [BEGINNING_ID, *model.tokenizer.encode("hell").tolist()]
        probs = np.exp(NETWORK.logits(ids)[-1])
        probs /= probs.sum()
        found = model.next_probs("hell", top=5)
        assert list(found.values()) == pytest.approx(sorted(probs, reverse=True)[:5], abs=1e-6)
        assert list(found) == [model.tokenizer.token_text(int(token)) for token in np.argsort(-probs)[:5]]

    def test_all_of_them_make_one(self, model: LanguageModel) -> None:
        everything = model.next_probs("", top=1000)
        assert len(everything) == model.vocabulary_size
        assert sum(everything.values()) == pytest.approx(1)


def with_weights(**weights: Any) -> TinyNetwork:
    return dataclasses.replace(tiny_network(), **weights)


class TestOneTextOnEveryPath:
    @pytest.mark.parametrize("temperature", [0, 1e-6, 0.3, 1, 2.5])
    def test_the_graph_writes_what_single_steps_write(
        self, model: LanguageModel, by_steps: BySteps, temperature: float
    ) -> None:
        for seed in range(25):
            options: dict[str, Any] = {"length": 100, "seed": seed, "temperature": temperature}
            text = by_steps.generate("wor", **options)
            assert model.generate("wor", **options) == text
            assert "".join(model.stream("wor", **options)) == text
            assert model.samples("wor", count=3, **options) == by_steps.samples("wor", count=3, **options)

    def test_whatever_the_prompt(self, model: LanguageModel, by_steps: BySteps) -> None:
        for prompt in ("", "h", AWKWARD, "hello world " * 20):
            assert model.generate(prompt, length=40, seed=3) == by_steps.generate(prompt, length=40, seed=3)

    @settings(max_examples=30, deadline=None)
    @given(
        options=st.fixed_dictionaries(
            {"seed": st.integers(0, 999), "temperature": st.sampled_from([0, 0.4, 1, 2])},
            optional={"top_k": st.integers(1, 40), "top_p": st.floats(0.01, 1), "min_p": st.floats(0, 1)},
        )
    )
    def test_filters_too_and_in_bundles_without_a_graph_for_them(
        self, model: LanguageModel, without_filters: LanguageModel, by_steps: BySteps, options: dict[str, Any]
    ) -> None:
        text = by_steps.generate("wor", length=70, **options)
        assert model.generate("wor", length=70, **options) == text
        assert without_filters.generate("wor", length=70, **options) == text
        texts = by_steps.samples("wor", length=40, count=3, **options)
        assert model.samples("wor", length=40, count=3, **options) == texts

    def test_filters_have_an_effect(self, model: LanguageModel, without_filters: LanguageModel) -> None:
        assert model.has_filters
        assert not without_filters.has_filters
        for options in ({"top_k": 3}, {"top_p": 0.8}, {"min_p": 0.1}):
            found = model.generate("wor", length=50, seed=4, **options)  # type: ignore[arg-type]
            assert found != model.generate("wor", length=50, seed=4)

    @pytest.mark.parametrize("options", [{"repetition_penalty": 1.3}, {"repetition_penalty": 1.3, "top_k": 9}])
    def test_a_penalty_too(self, model: LanguageModel, by_steps: BySteps, options: dict[str, Any]) -> None:
        text = model.generate("wor", length=50, seed=4, **options)
        assert text == by_steps.generate("wor", length=50, seed=4, **options)
        assert text != model.generate("wor", length=50, seed=4)

    def test_a_beam_search_too(self, model: LanguageModel, by_steps: BySteps) -> None:
        text = model.generate("wor", length=50, beams=3)
        assert text == by_steps.generate("wor", length=50, beams=3)
        assert text != model.generate("wor", length=50, seed=4)

    @pytest.mark.parametrize("temperature", [0, 1])
    def test_special_tokens_are_never_written(self, tmp_path: Path, temperature: float) -> None:
        bias = np.full(NETWORK.vocabulary_size, -50, np.float32)
        bias[[PAD_ID, UNKNOWN_ID, BEGINNING_ID]] = 50
        bias[-1] = 0
        folder = write_tiny_bundle(tmp_path / "bundle", network=with_weights(c=bias)).folder
        assert load(folder).generate(length=8, temperature=temperature) == "w" * 8

    @pytest.mark.parametrize("options", [{}, {"top_k": 2}, {"repetition_penalty": 2}])  # each graph that draws
    @pytest.mark.parametrize("temperature", [0, 1])
    @pytest.mark.parametrize("damage", [np.nan, np.inf])
    def test_a_damaged_model_is_refused(
        self, tmp_path: Path, damage: float, temperature: float, options: dict[str, Any]
    ) -> None:
        for token in (END_ID, 20, NETWORK.vocabulary_size - 1):
            bias = NETWORK.c.copy()
            bias[token] = damage
            path = tmp_path / f"bundle{token}"
            damaged = load(write_tiny_bundle(path, network=with_weights(c=bias)).folder)
            for write in (damaged.generate, partial(damaged.samples, count=2)):
                with pytest.raises(UserError, match=r"logits must be finite numbers, .*; the model is damaged"):
                    write("he", temperature=temperature, **options)


class TestGenerate:
    def test_greedy_text_follows_the_equations(self, model: LanguageModel) -> None:
        ids = [BEGINNING_ID, *model.tokenizer.encode("wor").tolist()]
        for _ in range(25):
            logits = NETWORK.logits(ids)[-1]
            logits[:3] = -np.inf
            ids.append(int(logits.argmax()))
        assert model.generate("wor", length=25, temperature=0) == model.tokenizer.decode(ids[4:])

    def test_the_same_seed_writes_the_same_text(self, model: LanguageModel, folder: Path) -> None:
        text = model.generate("hello", length=50, seed=1, temperature=0.8, top_k=20, top_p=0.9, min_p=0.01)
        assert len(text) == 50
        options = {"seed": 1, "temperature": 0.8, "top_k": 20, "top_p": 0.9, "min_p": 0.01}
        assert load(folder).generate("hello", length=50, **options) == text  # type: ignore[arg-type]
        assert model.generate("hello", length=50, **{**options, "seed": 2}) != text  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "options", [{}, {"stop": "lo"}, {"temperature": 0.5}, {"beams": 3}, {"repetition_penalty": 1.5}]
    )
    def test_a_stream_is_the_text_in_pieces(self, model: LanguageModel, options: dict[str, Any]) -> None:
        pieces = list(model.stream("wor", length=40, seed=3, **options))
        assert "".join(pieces) == model.generate("wor", length=40, seed=3, **options)
        assert all(pieces)

    def test_two_streams_at_once_do_not_disturb_each_other(self, model: LanguageModel) -> None:
        streams = model.stream("he", length=30, seed=1), model.stream("wo", length=30, seed=2)
        first, second = zip(*zip_longest(*streams, fillvalue=""), strict=True)
        assert "".join(first) == model.generate("he", length=30, seed=1)
        assert "".join(second) == model.generate("wo", length=30, seed=2)

    def test_samples_are_several_and_the_first_is_that_of_generate(self, model: LanguageModel) -> None:
        texts = model.samples("wor", count=4, length=40, seed=5)
        assert len(set(texts)) == 4
        assert texts[0] == model.generate("wor", length=40, seed=5)
        assert model.samples("wor", count=2, length=40, seed=5) == texts[:2]

    def test_a_long_prompt_is_read_by_the_sequence_graph_to_the_same_end(
        self, model: LanguageModel, by_steps: BySteps, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(language_model, "PREFILL_CHUNK_LOGITS", 100 * model.vocabulary_size)
        prompt = "hello world " * (PREFILL_FROM // 12 + 1)
        assert len(prompt) >= PREFILL_FROM
        options: dict[str, Any] = {"length": 60, "seed": 8}
        text = model.generate(prompt, **options)
        assert by_steps.generate(prompt, **options) == text
        monkeypatch.setattr(language_model, "PREFILL_FROM", len(prompt) + 1)
        assert model.generate(prompt, **options) == text

    def test_a_prompt_never_seen_is_no_error(self, model: LanguageModel) -> None:
        assert len(model.generate("明月 😀", length=10, seed=1, top_k=5)) > 0

    @pytest.mark.parametrize("write", ["generate", "stream", "samples"])
    def test_a_wrong_option_is_refused_before_anything_is_written(self, model: LanguageModel, write: str) -> None:
        call: Callable[..., object] = getattr(model, write)
        options = {"count": 1} if write == "samples" else {}
        with pytest.raises(UserError, match="temperature must be"):
            call("he", temperature=-1, **options)
        with pytest.raises(TypeError, match="temprature"):
            call("he", temprature=1, **options)

    def test_a_stop_string_cuts_the_text_that_would_have_been_written(self, model: LanguageModel) -> None:
        for seed in range(20):
            whole = model.generate(length=40, seed=seed)
            expected = min(whole.split("rl")[0], whole.split("lo")[0], key=len)
            assert model.generate(length=40, seed=seed, stop=["rl", "lo"]) == expected


def test_the_package_is_imported_without_numpy_or_onnxruntime() -> None:
    code = "import sys, json, textrnn; print(json.dumps([m for m in ('numpy', 'onnxruntime') if m in sys.modules]))"
    root = Path(textrnn.__file__).parent.parent
    result = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=True, timeout=60)
    assert json.loads(result.stdout) == []


def test_a_char_model_never_loads_sentencepiece(folder: Path) -> None:
    code = "import sys, textrnn; textrnn.load(sys.argv[1]).generate(length=2); print('sentencepiece' in sys.modules)"
    root = Path(textrnn.__file__).parent.parent
    command = [sys.executable, "-c", code, str(folder)]
    assert subprocess.run(command, cwd=root, capture_output=True, check=True, timeout=60).stdout.strip() == b"False"


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = textrnn.nonsense
