"""The C++ runtime says what the Python runtime says, on every kind of bundle, and refuses what it refuses.

The driver in tests/cpp is compiled once, with warnings as errors and with the sanitizers of addresses and undefined
behaviour. It needs g++, the library in the onnxruntime package and its C header, in the folder TEXTRNN_ORT_HEADERS.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import textrnn
from textrnn.bundle import MANIFEST
from textrnn.errors import UserError
from textrnn.files import sha256
from textrnn.sampling import SamplingOptions, random_streams, sample
from textrnn.tokenizers import Tokenizer, train_tokenizer

HERE = Path(__file__).parent
SOURCES = HERE.parent / "export" / "cpp"
GOLDEN = HERE / "golden"
FINISHED = Path(textrnn.__file__).parent / "models"
LANGUAGE_MODELS = sorted(folder.name for folder in GOLDEN.glob("language-model-*"))
PROMPTS = ["", "the cat", "a dog sat on the mat. " * 8, "\0 e\u0301 \U0001f44d\U0001f3fd\r\n 中文 ｆｕｌｌ  \u3000"]
TOLERANCE = 1e-5


def library() -> Path:
    found = sorted((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so*"))
    if not found:
        pytest.skip("this onnxruntime package has no libonnxruntime.so")
    return found[0]


def headers() -> Path:
    folder = os.environ.get("TEXTRNN_ORT_HEADERS", "")
    if not (Path(folder) / "onnxruntime_c_api.h").is_file():
        pytest.skip("TEXTRNN_ORT_HEADERS names no folder with onnxruntime_c_api.h")
    return Path(folder)


class Driver:
    """A process that answers requests with the C++ runtime."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")

    def __call__(self, **request: Any) -> Any:
        reply = self.reply(**request)
        assert "answer" in reply, reply
        return reply["answer"]

    def error(self, **request: Any) -> str:
        reply = self.reply(**request)
        assert "error" in reply, reply
        return str(reply["error"])

    def reply(self, **request: Any) -> Any:
        if "seed" in request:
            request["seed"] = str(request["seed"])  # may have 64 bits
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the driver ended with {self._process.wait()}"
        return json.loads(line)

    def close(self) -> int:
        """Return the exit code, which is not 0 if a sanitizer found something, memory that was not freed too."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        return self._process.wait()


@pytest.fixture(scope="module")
def cpp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    folder = tmp_path_factory.mktemp("cpp")
    (folder / "libonnxruntime.so.1").symlink_to(library())
    subprocess.run(
        [
            *("g++", "-std=c++17", "-pthread", "-O0", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror"),
            *("-fsanitize=address,undefined", "-fno-sanitize-recover=all", f"-I{SOURCES}", f"-I{headers()}"),
            *(str(HERE / "cpp" / "driver.cpp"), str(folder / "libonnxruntime.so.1"), f"-Wl,-rpath,{folder}"),
            *("-o", str(folder / "driver")),
        ],
        check=True,
    )
    driver = Driver(folder / "driver")
    yield driver
    assert driver.close() == 0


# Language models


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.7, "seed": 2**64 - 1},
        {"temperature": 0},
        {"top_k": 5, "temperature": 1.3},
        {"top_p": 0.8, "min_p": 0.05},
        {"repetition_penalty": 1.3, "top_k": 9, "top_p": 0.9},
        {"temperature": 0, "repetition_penalty": 1.2},
        {"stop": ["at", "on the"]},
        {"beams": 3, "length": 20},
        {"beams": 2, "length": 20, "stop": ["th"]},
    ],
    ids=str,
)
def test_text_is_that_of_python(cpp: Driver, name: str, options: dict[str, Any]) -> None:
    model = textrnn.load(GOLDEN / name)
    for prompt in PROMPTS:
        asked = {"length": 75, "seed": 1, **options}
        expected = model.generate(prompt, **asked)
        found = cpp(do="generate", bundle=str(GOLDEN / name), prompt=prompt, **asked)
        assert found["text"] == expected
        assert "".join(found["pieces"]) == expected


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_scores_and_probabilities_are_those_of_python(cpp: Driver, name: str) -> None:
    model, bundle = textrnn.load(GOLDEN / name), str(GOLDEN / name)
    for text in PROMPTS:
        expected = model.score(text).to_dict()
        found = cpp(do="score", bundle=bundle, text=text)
        assert {key: expected[key] for key in found} == pytest.approx(found, rel=TOLERANCE, abs=TOLERANCE)
        assert dict(cpp(do="next_probs", bundle=bundle, text=text, top=7)) == pytest.approx(
            model.next_probs(text, 7), abs=TOLERANCE
        )


def test_a_finished_model_writes_what_it_writes_in_python(cpp: Driver) -> None:
    for name in ("shakespeare", "tang"):
        bundle = str(FINISHED / name)
        for options in ({"temperature": 0.8}, {"top_p": 0.9, "top_k": 20}):
            expected = textrnn.load(name).generate("ROMEO:", length=300, seed=7, **options)
            assert cpp(do="generate", bundle=bundle, prompt="ROMEO:", length=300, seed=7, **options)["text"] == expected


def test_a_callback_ends_the_text(cpp: Driver) -> None:
    asked = {"do": "generate", "bundle": str(GOLDEN / LANGUAGE_MODELS[0]), "prompt": "the", "length": 500, "seed": 1}
    whole, cut = cpp(**asked), cpp(**asked, pieces=2)
    assert len(whole["pieces"]) > 2
    assert cut["pieces"] == whole["pieces"][:2]
    assert cut["text"] == "".join(cut["pieces"])


def test_threads_may_share_a_model(cpp: Driver) -> None:
    bundle = str(GOLDEN / "language-model-char-int8")
    texts = cpp(do="threads", bundle=bundle, prompt="the", seeds=8)
    assert texts == [textrnn.load(bundle).generate("the", seed=seed) for seed in range(8)]


def test_without_a_seed_texts_differ(cpp: Driver) -> None:
    asked = {"do": "generate", "bundle": str(GOLDEN / LANGUAGE_MODELS[0]), "prompt": ""}
    assert cpp(**asked)["text"] != cpp(**asked)["text"]


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"temperature": -1}, "temperature must be 0 or above, was: -1"),
        ({"top_p": 0}, "top_p must be above 0"),
        ({"min_p": 2}, "min_p must be between 0 and 1, was: 2"),
        ({"top_k": -3}, "top_k must be 0 or above, was: -3"),
        ({"length": -1}, "length must be 0 or above, was: -1"),
        ({"repetition_penalty": 0}, "repetition_penalty must be above 0, was: 0"),
        ({"stop": [""]}, "stop must be strings of at least one character"),
        ({"beams": 2, "top_k": 3}, "beam search does not sample"),
    ],
    ids=str,
)
def test_options_out_of_range_are_refused_as_in_python(cpp: Driver, options: dict[str, Any], rule: str) -> None:
    bundle = GOLDEN / LANGUAGE_MODELS[0]
    assert rule in cpp.error(do="generate", bundle=str(bundle), prompt="", **options)
    with pytest.raises(UserError):
        textrnn.load(bundle).generate("", **options)


# Classifiers, regressors, forecasters


@pytest.mark.parametrize("name", sorted(folder.name for folder in GOLDEN.glob("*classifier-*")))
def test_predictions_are_those_of_python(cpp: Driver, name: str) -> None:
    model, bundle = textrnn.load(GOLDEN / name), str(GOLDEN / name)
    if "audio" in name:  # frames, in place of recordings
        records = np.random.default_rng(0).uniform(-10, 0, (2, 30, 20)).astype(np.float32).tolist()
        expected = model.classify(records, arranged=True)
        found = cpp(do="classify_vectors", bundle=bundle, records=records)
    elif "vector" in name:
        records = [[-4.0, -3, 2, 5], [1.0], [0.5 * value for value in range(40)]]
        expected = model.classify(records)
        found = cpp(do="classify_vectors", bundle=bundle, records=records)
    else:
        texts = [
            "the film was good",
            "",
            "的 电影 好 FILM " * 40,
            "ΑΣ İ\u0301",
            "bad\r\n\0",
            *("a b " * n for n in range(9)),
        ]
        expected = model.classify(texts)
        found = cpp(do="classify", bundle=bundle, texts=texts)
        assert [each["tokens"] for each in found] == [each.tokens for each in expected]
        assert [each["tokens_read"] for each in found] == [each.tokens_read for each in expected]
    for mine, theirs in zip(found, expected, strict=True):
        assert mine["probabilities"] == pytest.approx(list(theirs.probs.values()), abs=TOLERANCE)
        assert mine["labels"] == (list(theirs.labels) if "multilabel" in name else [theirs.label])
        if mine["labels"]:
            assert mine["label"] == mine["labels"][0]
            assert mine["probability"] == pytest.approx(theirs.probs[mine["label"]], abs=TOLERANCE)


def test_finished_classifiers_predict_what_they_predict_in_python(cpp: Driver) -> None:
    texts = ["What a wonderful film!", "Never again; it's boring & long.", "房间很干净，服务也好。", "太差了" * 200]
    for name in ("reviews-en", "reviews-zh"):
        bundle = str(FINISHED / name)
        found = cpp(do="classify", bundle=bundle, texts=texts)
        for mine, theirs in zip(found, textrnn.load(name).classify(texts), strict=True):
            assert mine["label"] == theirs.label
            assert mine["probabilities"] == pytest.approx(list(theirs.probs.values()), abs=TOLERANCE)


@pytest.mark.parametrize("name", sorted(folder.name for folder in GOLDEN.glob("regressor-*")))
def test_values_are_those_of_python(cpp: Driver, name: str) -> None:
    records = [[-4.0, -3, 2, 5], [1.0], [0.5 * value for value in range(40)]]
    found = cpp(do="predict", bundle=str(GOLDEN / name), records=records)
    assert np.array(found) == pytest.approx(textrnn.load(GOLDEN / name).predict(records), rel=TOLERANCE, abs=TOLERANCE)


def test_forecasts_are_those_of_python(cpp: Driver) -> None:
    model, bundle = textrnn.load(GOLDEN / "forecaster-float32"), str(GOLDEN / "forecaster-float32")
    history = (100 + 10 * np.sin(np.arange(60) / 4)).tolist()
    for steps in (0, 1, 8):
        found = cpp(do="forecast", bundle=bundle, history=history, steps=steps)
        assert found == pytest.approx(model.forecast(history, steps or None)[:, 0].tolist(), rel=TOLERANCE)
    assert "whole steps of 1 numbers, at least one" in cpp.error(do="forecast", bundle=bundle, history=[])


def test_a_model_of_another_kind_says_so(cpp: Driver) -> None:
    bundle = str(GOLDEN / "classifier-float32")
    message = cpp.error(do="generate", bundle=bundle, prompt="")
    assert message == "generate needs a language_model, the bundle is a classifier; load another"
    assert "needs a classifier" in cpp.error(do="classify", bundle=str(GOLDEN / LANGUAGE_MODELS[0]), texts=[""])
    assert "needs a text_to_text" in cpp.error(do="transform", bundle=bundle, texts=["42"])


def test_sources_that_cannot_be_read_are_refused(cpp: Driver) -> None:
    bundle = str(GOLDEN / "text-to-text-int8")
    assert "text 2 has none; leave it out" in cpp.error(do="transform", bundle=bundle, texts=["42", " \n"])
    assert "beams must be 1 or above, was: 0" in cpp.error(do="transform", bundle=bundle, texts=["42"], beams=0)
    assert "needs a classifier" in cpp.error(do="classify", bundle=bundle, texts=["42"])


# Tokenizers

CORPUS = [
    "The quick brown fox jumps over the lazy dog.\nThe dog, being lazy, sleeps on; the fox does not!\n",
    "白日依山盡，黃河入海流。\n欲窮千里目，更上一層樓。\n",
    "Où est le café? Là-bas, près de l'église.\nשלום עולם\n",
]
TOKENIZERS: dict[str, Tokenizer] = {
    "char": train_tokenizer("char", CORPUS),
    "word": train_tokenizer("word", CORPUS),
    "word by punctuation": train_tokenizer("word", CORPUS, split="punctuation", lowercase=True),
    "unigram": train_tokenizer("sentencepiece", CORPUS, vocabulary_size=334),
    "bpe": train_tokenizer("sentencepiece", CORPUS, vocabulary_size=360, model_type="bpe"),
}
AWKWARD = [
    "",
    "👍🏽 👩🏿‍🚀 ☀️ 🏳️‍🌈 🇫🇮",
    "e\u0301a\u0300\u0323 \u0301 हिन्दी ตัวอย่าง",
    "שלום \u202eعالم\u202c العربية",
    "ｔｈｅ　ｆｏｘ，Ｔｈｅ １２３ ＡΣ",
    "黃河遠上白雲間，一片孤城萬仞山。\n羌笛何須怨楊柳，春風不度玉門關。𠮷",
    "".join(map(chr, range(32))) + "\x7f\x80\x85\x9f\x1c",
    "the fox\r\nthe dog\r\n\r\n\rdog\n\r",
    "\0the\0\0dog\0",
    "\ufeffthe\ufeff fox",
    "  the   fox \t\t dog\u00a0\u3000\u2028 \u2029  ",
    "<pad><unk><s></s> <unk>, <UNK> <0x0A> <hex a> a<unk>b",
    "\u2581the\u2581\u2581 fox \u2581 \u2585 \u2047",
    "\uffff\U0001ffff\U0010ffff\ufffe\ufffd",
    "ΟΔΟΣ ΣΑΣ Σ ΑΣ. Α\u0301Σ\u0301 ΣΑ'Σ İSTANBUL ẞ ǅ",
    "the lazy dog " * 6_000,
    "白日依山" * 17_000,
]
PIECES = [
    *(
        "the",
        "fox",
        "ΑΣ",
        "Σ",
        "İ",
        "<unk>",
        "<",
        "unk",
        ">",
        "(",
        ")",
        ".",
        ",",
        "'",
        "-",
        "_",
        "中",
        "黃",
        "，",
        "（",
    ),
    *("）", "“", "…", "\u0301", "\u200d", "\ufe0f", "👍", "é", " ", "  ", "\t", "\n", "\r\n", "\0", "\u2581", "\u3000"),
    *("あ", "한", "lazy dog", " the ", "白日依山盡"),
]
# Every version of Unicode has these characters; the header and this Python may differ in later ones.
OLD = st.characters(exclude_categories=["Cs"]).filter(
    lambda c: unicodedata.ucd_3_2_0.category(c) != "Cn" and unicodedata.category(c) != "Cn"
)
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(OLD, max_size=3), max_size=30).map("".join)


def assert_tokenized_alike(cpp: Driver, name: str, texts: list[str]) -> None:
    tokenizer = TOKENIZERS[name]
    file = tokenizer._to_bytes().hex()
    encoded = [tokenizer.encode(text).tolist() for text in texts]
    mixed = [ids[::-1] + list(range(len(ids) % 30)) for ids in encoded]  # what is no text of a tokenizer too
    decode = [{"ids": ids, "after": text} for ids, text in zip(encoded + mixed, texts + texts[::-1], strict=True)]
    whole = [tokenizer.encode_whole(text) for text in texts]
    expected = list[Any]()
    for ids, (whole_ids, pieces) in zip(encoded, whole, strict=True):
        expected += [ids, whole_ids.tolist(), pieces]
    expected += [tokenizer.decode(each["ids"], each["after"]) for each in decode]
    found = cpp(do="tokenize", kind=tokenizer.kind, file=file, texts=texts, decode=decode, whole=True)
    assert found == expected


@pytest.mark.parametrize("name", list(TOKENIZERS))
def test_awkward_text_is_tokenized_as_in_python(cpp: Driver, name: str) -> None:
    assert_tokenized_alike(cpp, name, AWKWARD)


@pytest.mark.parametrize("name", list(TOKENIZERS))
@given(texts=st.lists(TEXTS, max_size=10))
@settings(max_examples=60)
def test_any_text_is_tokenized_as_in_python(cpp: Driver, name: str, texts: list[str]) -> None:
    assert_tokenized_alike(cpp, name, texts)


@pytest.mark.parametrize("lowercase", [False, True])
def test_every_character_is_split_and_lowered_as_in_python(cpp: Driver, lowercase: bool) -> None:
    same = f"// Unicode {unicodedata.unidata_version}." in (SOURCES / "textrnn.hpp").read_text(encoding="utf-8")
    alike = [(0x3400, 0x9FFF), (0xAC00, 0xD7A3), (0xD800, 0xF8FF), (0x17000, 0x18AFF), (0x20000, 0xE00FF), (0xF0000, 0)]
    codes = np.setdiff1d(np.arange(0xF0000), [code for first, last in alike for code in range(first + 1, last)])
    known = (chr(code) for code in codes if code != 0xD800)
    of = unicodedata if same else unicodedata.ucd_3_2_0
    text = " ".join(f"a{c}b Α{c}Σ {c}Σ" for c in known if of.category(c) != "Cn")
    probe = train_tokenizer("word", ["x"], split="punctuation", lowercase=lowercase)
    words = sorted(set(probe._read(text)) - {"<unk>", "\n"})  # type: ignore[attr-defined]
    tokenizer = type(probe)(words, split="punctuation", lowercase=lowercase)  # type: ignore[call-arg]
    file = tokenizer._to_bytes().hex()
    (found,) = cpp(do="tokenize", kind="word", file=file, texts=[text], decode=[])
    assert found == tokenizer.encode(text).tolist()


@given(
    blob=st.binary(max_size=40)
    | st.lists(st.sampled_from([b"\xe4\xb8\xad", b"\xf0\x9f", b"\xed\xa0\x80", b"\xc0", b"a"])).map(b"".join)
)
@settings(max_examples=150)
def test_bytes_that_are_no_text_are_refused_or_replaced_as_in_python(cpp: Driver, blob: bytes) -> None:
    assert cpp(do="replace_invalid", hex=blob.hex()) == blob.decode("utf-8", "replace")
    reply = cpp.reply(do="encode", bundle=str(GOLDEN / LANGUAGE_MODELS[0]), hex=blob.hex())
    try:
        blob.decode("utf-8")
    except UnicodeDecodeError as error:
        assert f"at byte {error.start};" in reply["error"]
    else:
        assert "answer" in reply


# Sampling


@pytest.mark.parametrize(("seed", "stream"), [(0, 0), (1, 0), (2**32 - 1, 3), (2**32, 1), (2**64 - 1, 0)])
def test_random_numbers_are_those_of_numpy(cpp: Driver, seed: int, stream: int) -> None:
    expected = random_streams(seed, stream + 1)[stream].random(1000).tolist()
    assert cpp(do="random", seed=seed, stream=stream, count=1000) == expected


@given(
    logits=st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=30),
    uniform=st.floats(0, 1, exclude_max=True),
    seen=st.sets(st.integers(0, 29)),
    temperature=st.sampled_from([0.0, 0.3, 1.0, 1.7]),
    top_k=st.integers(0, 8),
    top_p=st.sampled_from([0.1, 0.5, 0.95, 1.0]),
    min_p=st.sampled_from([0.0, 0.1, 1.0]),
    repetition_penalty=st.sampled_from([1.0, 1.4]),
)
@settings(max_examples=200)
def test_tokens_are_drawn_as_in_python(
    cpp: Driver, logits: list[float], uniform: float, seen: set[int], **options: Any
) -> None:
    seen = {id for id in seen if id < len(logits)}
    mask = np.zeros((1, len(logits)), bool)
    mask[0, list(seen)] = True
    array = np.array([logits], np.float64)
    expected = sample(array, SamplingOptions(**options), np.array([uniform]), mask)[0]
    found = cpp(do="sample", logits=logits, uniform=uniform, seen=sorted(seen), **options)
    if found != expected:  # only where the uniform lies within a rounding error of a border
        nearby = {
            int(sample(array, SamplingOptions(**options), np.array([moved]), mask)[0])
            for moved in (max(uniform - 1e-12, 0.0), min(uniform + 1e-12, 1 - 2**-53))
        }
        assert found in nearby


# Bundles


def edited(folder: Path, source: Path = GOLDEN / "language-model-char-float32", **entries: Any) -> Path:
    shutil.copytree(source, folder)
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    manifest.update(entries)
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def sign(folder: Path, file: str, name: str | None = None) -> None:
    """Make the manifest list a file as it is now."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    entry = {"sha256": sha256(folder / file), "bytes": (folder / file).stat().st_size}
    manifest["files"][file if name is None else name] = entry
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def refusal(cpp: Driver, folder: Path) -> str:
    """Return the message of C++ for a bundle that Python refuses too."""
    with pytest.raises(UserError):
        textrnn.load(folder)
    message = cpp.error(do="kind", bundle=str(folder))
    assert "\n" not in message
    return message


def test_a_changed_or_missing_file_is_refused(cpp: Driver, tmp_path: Path) -> None:
    folder = edited(tmp_path / "changed", FINISHED / "digits")
    weights = folder / "weights.bin"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "must have the SHA-256 that the manifest says" in refusal(cpp, folder)
    weights.write_bytes(content[:-1])
    assert f"must have {len(content)} bytes as the manifest says, has {len(content) - 1}" in refusal(cpp, folder)
    weights.unlink()
    assert "weights.bin is missing" in refusal(cpp, folder)


def test_a_file_outside_the_folder_is_refused(cpp: Driver, tmp_path: Path) -> None:
    outside = tmp_path / "weights.bin"
    folder = edited(tmp_path / "linked")
    (folder / "weights.bin").rename(outside)
    (folder / "weights.bin").symlink_to(outside)
    assert "must lie in the bundle, it is a link" in refusal(cpp, folder)
    for name in ("../weights.bin", "/etc/hostname", "a/b", ".hidden", "manifest.json", ""):
        folder = edited(tmp_path / f"named{name.count('/')}{len(name)}")
        sign(folder, "weights.bin", name)
        assert "must have a plain name" in refusal(cpp, folder)


def test_weights_outside_the_bundle_are_refused(cpp: Driver, tmp_path: Path) -> None:
    folder = edited(tmp_path / "weights", FINISHED / "digits")
    graph = folder / "model.onnx"
    content = graph.read_bytes().replace(b"\x12\x0bweights.bin", b"\x12\x0b../../x.bin")
    assert b"../../x.bin" in content
    graph.write_bytes(content)
    sign(folder, graph.name)
    assert "must take its weights from the bundle, refers to: '../../x.bin'" in refusal(cpp, folder)


@pytest.mark.parametrize(
    ("entries", "rule"),
    [
        ({"format": "zip"}, 'must have "format": "textrnn-bundle"'),
        ({"format_version": 2}, "must have format version 1, has: 2; update textrnn.hpp"),
        ({"format_version": True}, "format_version must be a whole number"),
        ({"kind": "painter"}, "kind must be one that this version knows, was: painter"),
        ({"precision": "int2"}, "precision must be one of float32, int8, was: int2"),
        ({"start_id": 10**6}, "start_id must be below"),
        ({"start_id": None}, "start_id must be a whole number"),
        ({"files": {}}, "files must list every file in use"),
        ({"graphs": {}}, "graphs.step.inputs must have a number"),
        ({"graphs": []}, "graphs must be an object"),
        ({"runtime": {}}, "runtime"),
        ({"tokenizer": {"kind": "bytes", "file": "tokenizer.json"}}, "kind must be one of char, word, sentencepiece"),
        ({"tokenizer": {"kind": "char", "file": "weights.bin"}}, "tokenizer must be in tokenizer.json"),
    ],
    ids=str,
)
def test_a_wrong_manifest_is_refused(cpp: Driver, tmp_path: Path, entries: dict[str, Any], rule: str) -> None:
    folder = edited(tmp_path / "bundle", **entries)
    message = cpp.error(do="kind", bundle=str(folder))
    assert rule in message or (entries == {"runtime": {}} and "never_drawn must be a list" in message)
    with pytest.raises(UserError):
        textrnn.load(folder)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 100_000,
        "nul",
        '{"format": "textrnn-bundle"} x',
        '{"a": 1e}',
        '"\\ud800"',
        "\ufeff{}",
        '{"a": "\n"}',
    ],
    ids=lambda text: str(text)[:20],
)
def test_a_manifest_that_is_no_json_object_is_refused(cpp: Driver, tmp_path: Path, text: str) -> None:
    folder = edited(tmp_path / "bundle")
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    assert "manifest.json must" in refusal(cpp, folder)


def test_graphs_of_another_model_are_refused(cpp: Driver, tmp_path: Path) -> None:
    folder = edited(tmp_path / "bundle")
    shutil.copyfile(folder / "sequence.onnx", folder / "model.onnx")
    sign(folder, "model.onnx")
    assert "model.onnx must have the inputs of its manifest" in cpp.error(do="kind", bundle=str(folder))
    (folder / "model.onnx").write_bytes(b"no graph")
    sign(folder, "model.onnx")
    assert "model.onnx must be loaded, onnxruntime" in cpp.error(do="kind", bundle=str(folder))


@given(data=st.data())
@settings(max_examples=40)
def test_a_damaged_tokenizer_is_refused_or_read(cpp: Driver, data: st.DataObject) -> None:
    """No damage crashes the process; the sanitizers look on."""
    tokenizer = TOKENIZERS[data.draw(st.sampled_from(list(TOKENIZERS)))]
    content = bytearray(tokenizer._to_bytes())
    if tokenizer.kind == "sentencepiece":  # with a hash that fits, so that the damage is read
        import hashlib

        model = content[content.index(b"\n") + 1 :]
        for _ in range(data.draw(st.integers(1, 4))):
            model[data.draw(st.integers(0, len(model) - 1))] = data.draw(st.integers(0, 255))
        content = bytearray(f"textrnn-sentencepiece 1 {hashlib.sha256(model).hexdigest()}\n".encode() + model)
    else:
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    reply = cpp.reply(do="tokenize", kind=tokenizer.kind, file=content.hex(), texts=["the fox 白日"], decode=[])
    assert set(reply) in ({"answer"}, {"error"})


@given(edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), st.binary(max_size=3)), min_size=1, max_size=3))
@settings(max_examples=40)
def test_a_damaged_manifest_is_refused_or_read(
    cpp: Driver, tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[float, int, bytes]]
) -> None:
    folder = edited(tmp_path_factory.mktemp("damaged") / "bundle", GOLDEN / "regressor-int8")
    content = (folder / MANIFEST).read_bytes()
    for place, gone, new in edits:
        at = int(place * len(content))
        content = content[:at] + new + content[at + gone :]
    (folder / MANIFEST).write_bytes(content)
    reply = cpp.reply(do="kind", bundle=str(folder))
    assert set(reply) in ({"answer"}, {"error"})


# All runtimes


def test_the_cases_of_all_runtimes_hold(cpp: Driver, tmp_path: Path) -> None:
    golden_runtimes = pytest.importorskip("golden_runtimes", reason="tests/golden_runtimes.py is not there")
    cases = json.loads(golden_runtimes.write_cases(tmp_path).read_text(encoding="utf-8"))
    for case in cases["uniforms"]:
        assert cpp(do="random", seed=case["seed"], stream=case["stream"], count=20) == case["values"]
    for case in cases["tokenizers"]:
        (file,) = Path(case["folder"]).iterdir()
        decode, expected = list[Any](), list[Any]()
        for each in case["cases"]:
            expected += [each["ids"], each["whole"]["ids"], each["whole"]["pieces"]]
        for each in case["cases"]:
            decode += [{"ids": each["ids"], "after": ""}, {"ids": each["ids"], "after": each["after"]}]
            expected += [each["decoded"], each["continued"]]
        decode += [{"ids": each["ids"], "after": ""} for each in case["broken"]]
        expected += [each["decoded"] for each in case["broken"]]
        texts = [each["text"] for each in case["cases"]]
        content = file.read_bytes().hex()
        found = cpp(do="tokenize", kind=case["kind"], file=content, texts=texts, decode=decode, whole=True)
        assert found == expected
    for model in cases["models"]:
        assert_model_holds(cpp, model)


def assert_model_holds(cpp: Driver, model: dict[str, Any]) -> None:
    bundle = model["folder"]
    for case in model.get("generate", []):
        options = {name: value for name, value in case["options"].items() if name != "count"}
        # In 8 bits, texts that Python writes as one batch share the scale of their activations.
        count = len(case["texts"]) if model["precision"] == "float32" or len(case["texts"]) == 1 else 0
        for stream, text in enumerate(case["texts"][:count]):
            found = cpp(do="generate", bundle=bundle, prompt=case["prompt"], stream=stream, **options)
            assert found["text"] == text
    for case in model.get("next", []):
        found = dict(cpp(do="next_probs", bundle=bundle, text=case["text"], top=len(case["probs"])))
        assert found == pytest.approx(case["probs"], abs=TOLERANCE)
    for case in model.get("score", []):
        found = cpp(do="score", bundle=bundle, text=case["text"])
        assert found["tokens"] == case["tokens"]
        assert found["nats"] == pytest.approx(case["nats"], rel=TOLERANCE, abs=TOLERANCE)
    for case in model.get("classify", []):
        found = cpp(do="classify", bundle=bundle, texts=case["texts"])
        for mine, theirs in zip(found, case["predictions"], strict=True):
            assert mine["probabilities"] == pytest.approx(list(theirs["probs"].values()), abs=TOLERANCE)
            assert (mine["tokens"], mine["tokens_read"]) == (theirs["tokens"], theirs["tokens_read"])
    for case in model.get("transform", []):
        options = {name: value for name, value in case["options"].items() if value is not False}
        found = cpp(do="transform", bundle=bundle, texts=case["texts"], **options)
        for mine, theirs in zip(found, case["outputs"], strict=True):
            candidates = theirs["candidates"]
            assert mine == {name: theirs[name] for name in mine} | {"candidates": mine["candidates"]}
            assert [each["text"] for each in mine["candidates"]] == [each["text"] for each in candidates]
            for name in ("score", "log_prob"):
                values = [each[name] for each in candidates]
                assert [each[name] for each in mine["candidates"]] == pytest.approx(values, rel=TOLERANCE)
            for one, other in zip(mine["candidates"], candidates, strict=True):
                empty = {"source": [], "output": [], "weights": []}
                aligned, expected = one["alignment"], other.get("alignment", empty)
                assert (aligned["source"], aligned["output"]) == (expected["source"], expected["output"])
                for row, weights in zip(aligned["weights"], expected["weights"], strict=True):
                    assert row == pytest.approx(weights, abs=TOLERANCE)
    for case in model.get("forecast", []):
        found = cpp(do="forecast", bundle=bundle, history=case["values"], steps=case["steps"])
        assert found == pytest.approx(np.ravel(case["forecast"]).tolist(), rel=TOLERANCE)
    if "predict" in model:
        records = [np.ravel(record).tolist() for record in model["predict"]["records"]]
        if model["kind"] == "regressor":
            found = cpp(do="predict", bundle=bundle, records=records)
        else:
            found = [each["probabilities"] for each in cpp(do="classify_vectors", bundle=bundle, records=records)]
        assert np.array(found) == pytest.approx(np.array(model["predict"]["values"]), rel=TOLERANCE, abs=TOLERANCE)


# Build


def test_the_example_builds_with_cmake_and_continues_a_prompt(tmp_path: Path) -> None:
    if shutil.which("cmake") is None or shutil.which("g++") is None:
        pytest.skip("cmake or g++ is not installed")
    places = [f"-DTEXTRNN_ORT_HEADERS={headers()}", f"-DTEXTRNN_ORT_LIBRARY={library()}"]
    strict = {**os.environ, "CXXFLAGS": "-Wall -Wextra -Wpedantic -Wshadow -Werror"}
    subprocess.run(["cmake", "-S", SOURCES, "-B", tmp_path, *places], check=True, stdout=subprocess.DEVNULL, env=strict)
    subprocess.run(["cmake", "--build", tmp_path], check=True, stdout=subprocess.DEVNULL)
    bundle = GOLDEN / LANGUAGE_MODELS[0]
    result = subprocess.run([tmp_path / "textrnn_example", bundle, "the cat", "3"], capture_output=True, check=True)
    expected = "the cat" + textrnn.load(bundle).generate("the cat", temperature=0.8, seed=3)
    assert result.stdout.decode("utf-8") == expected + "\n"
    failed = subprocess.run([tmp_path / "textrnn_example", tmp_path / "nothing"], capture_output=True, check=False)
    assert failed.returncode == 1
    assert failed.stderr.startswith(b"error: a model must be a folder with manifest.json")
