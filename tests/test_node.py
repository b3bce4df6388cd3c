"""Node runs bundles as Python does: the same text for the same seed, the same probabilities."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from golden_recordings import samples_of
from golden_runtimes import GOLDEN, write_cases
from node import PACKAGE, RUNTIME, checkout, npm_package, run_node
from spoken import write_wav

import textrnn


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkout(tmp_path_factory.mktemp("node"))


def test_node_computes_what_python_computes(folder: Path, tmp_path: Path) -> None:
    printed = run_node(folder, "tests/golden_runtimes.mjs", write_cases(tmp_path))
    assert int(printed.split()[0]) > 3000


def test_a_difference_is_found(folder: Path, tmp_path: Path) -> None:
    path = write_cases(tmp_path)
    cases = json.loads(path.read_text(encoding="utf-8"))
    names = ("language-model-word-float32", "classifier-float32")
    cases["models"] = [model for model in cases["models"] if model["name"] in names]
    classifier, generator = cases["models"]
    generator["generate"][0]["texts"][0] += " "
    generator["score"][0]["nats"] *= 1.0001
    classifier["classify"][0]["predictions"][0]["probs"]["positive"] += 1e-4
    cases["tokenizers"][0]["cases"][1]["ids"][0] += 1
    path.write_text(json.dumps(cases), encoding="utf-8")
    printed = run_node(folder, "tests/golden_runtimes.mjs", path, code=1).splitlines()
    found = [re.search(r"(generate|score|classify|encoded)", line) for line in printed[:-1]]
    assert sorted(match[1] for match in found if match) == ["classify", "encoded", "generate", "score"]


def test_the_code_of_the_readme_runs(folder: Path) -> None:
    pytest.importorskip("kaldi_native_fbank", reason="comes with the extra audio")
    readme = (PACKAGE / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```js\n(.*?)```", readme, flags=re.DOTALL)
    model, classifier = GOLDEN / "language-model-char-float32", GOLDEN / "classifier-float32"
    code = code.replace('"textrnn"', '"./export/node/index.js"')
    translator = GOLDEN / "text-to-text-float32"
    commands, digits = GOLDEN / "audio-classifier-float32", GOLDEN / "recognizer-float32"
    places = {"my": model, "reviews": classifier, "words": translator, "commands": commands, "digits": digits}
    for name, place in places.items():
        code = code.replace(f'"runs/{name}"', json.dumps(str(place)))
    write_wav(folder / "a.wav", samples_of("cab", 8000, 1), 8000)
    (folder / "readme.mjs").write_text(code, encoding="utf-8")
    printed = run_node(folder, "readme.mjs")
    python = textrnn.load(model)
    text = python.generate("the cat", length=100, temperature=0.7, seed=1)
    assert printed.startswith(text + "\n" + python.generate("the cat", seed=1))
    first, _ = textrnn.load(classifier).classify(["a good film", "bad"])
    label, probability = re.findall(r"(\w+) (0\.\d+)\n", printed)[-2]
    assert printed.endswith(f"\n{textrnn.load(commands).classify([str(folder / 'a.wav')])[0].label}\ncab\n")
    assert (label, float(probability)) == (first.label, pytest.approx(first.probability, abs=1e-5))
    assert "\nforty two [" in printed


def test_what_npm_packs_runs_alone(folder: Path, tmp_path: Path) -> None:
    npm = shutil.which("npm")
    if not npm:
        pytest.skip("npm is needed")
    pack = [npm, "pack", "--offline", "--pack-destination", str(tmp_path)]
    subprocess.run(pack, cwd=folder / "export" / "node", check=True, capture_output=True, timeout=300)
    (archive,) = tmp_path.glob("textrnn-*.tgz")
    shutil.unpack_archive(archive, tmp_path / "unpacked")
    package = tmp_path / "unpacked" / "package"
    packed, here = package / "runtime", RUNTIME
    assert {path.relative_to(packed) for path in packed.rglob("*")} == {
        path.relative_to(here) for path in here.rglob("*")
    }
    (tmp_path / "node_modules").symlink_to(npm_package("onnxruntime-node").parent.resolve())
    bundle = json.dumps(str(GOLDEN / "language-model-word-int8"))
    code = f'const {{ load }} = await import("./unpacked/package/index.js"); const model = await load({bundle});'
    code += 'process.stdout.write(await model.generate("the cat", { seed: 3, length: 20 }));'
    (tmp_path / "run.mjs").write_text(code, encoding="utf-8")
    expected = textrnn.load(GOLDEN / "language-model-word-int8").generate("the cat", seed=3, length=20)
    assert run_node(tmp_path, "run.mjs") == expected


BUNDLES = {
    "model": "language-model-char-float32",
    "classifier": "classifier-float32",
    "forecaster": "forecaster-float32",
    "vectors": "vector-classifier-float32",
    "translator": "text-to-text-float32",
    "audio": "audio-classifier-float32",
    "recognizer": "recognizer-float32",
}
BAD_CALLS = {
    'load("nowhere")': "nothing was found at: nowhere",
    "load(damaged)": "must have the size and SHA-256 of the manifest",
    'model.generate("a", { temperature: -1 })': "temperature must be 0 or above, was: -1",
    'model.generate("a", { topk: 1 })': "an option must be one of",
    'model.generate("a", { seed: 1.5 })': "seed must be a whole number",
    'model.generate("a", { stop: [""] })': "stop must be strings of at least one character",
    'model.generate("a", { beams: 2, topK: 5 })': "beam search does not sample, topK was: 5",
    'model.generate("\\ud800")': "lone surrogates, was: U+D800 at character 0",
    "model.generate(7)": "a text must be a string, was: 7",
    'model.generate("a", { signal: AbortSignal.abort(new Error("stopped")) })': "stopped",
    'classifier.classify("one")': "texts must be several strings",
    "forecaster.forecast([])": "values must be (time, features)",
    "forecaster.forecast([1, NaN])": "values must be finite numbers",
    "vectors.classify([[[1, 2], [3]]])": "as many numbers in each row",
    'translator.transform("42")': "texts must be several strings",
    'translator.transform(["42", " "])': 'a source must have text, was: " "',
    'translator.transform(["42"], { beams: 0 })': "beams must be a whole number of at least 1, was: 0",
    'translator.transform(["42"], { nbest: 2 })': "an option must be one of beams, lengthPenalty, align, signal",
    'audio.classify("a.wav")': "a model of recordings reads several, was given",
    'audio.classify(["nowhere.wav"])': "nowhere.wav is not: ENOENT",
    'audio.classify(["a.flac"])': 'a recording must be a .wav file here, was: "a.flac"',
    "audio.classify([new Uint8Array(100)])": "recording 1 is not: it has no RIFF header",
    "audio.classify([{ samples: new Float32Array(9), rate: 8000 }])": "recording 1 is silent",
    "audio.classify([{ samples: [], rate: 8000 }])": "recording 1 is empty",
    "audio.classify([{ samples: [0, NaN], rate: 8000 }])": "samples must be finite numbers from -1 to 1",
    "audio.classify([{ samples: [0, 1] }])": "samples need their rate of 1,000 Hz or more",
    "audio.classify([{ samples: new Float32Array(601e3), rate: 1000 }])": "must take 600 seconds at most",
    "recognizer.transcribe([7])": "samples need their rate",
    "recognizer.transcribe([], { beams: 1.5 })": "beams must be a whole number of at least 1, was: 1.5",
    "recognizer.transcribe([], { alpha: NaN })": "alpha must be a number",
    "recognizer.transcribe([], { lm: classifier })": "lm must be a language model",
    "recognizer.transcribe([], { gamma: 1 })": "an option must be one of beams, lm, alpha, beta",
    'translator.align("42", { signal: AbortSignal.abort(new Error("stopped")) })': "stopped",
}


def test_bad_input_gets_one_line(folder: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(GOLDEN / "classifier-float32", tmp_path / "damaged")
    (damaged / "weights.bin").write_bytes((damaged / "weights.bin").read_bytes()[:-1] + b"?")
    code = f'import {{ load }} from "./export/node/index.js"; const damaged = {json.dumps(str(damaged))};\n'
    for name, bundle in BUNDLES.items():
        code += f"const {name} = await load({json.dumps(str(GOLDEN / bundle))});\n"
    for call in BAD_CALLS:
        code += f"try {{ await {call}; console.log('no error'); }} catch (error) {{ console.log(error.message); }}\n"
    (folder / "bad_calls.mjs").write_text(code, encoding="utf-8")
    lines = run_node(folder, "bad_calls.mjs").splitlines()
    assert len(lines) == len(BAD_CALLS)
    assert [rule for rule, line in zip(BAD_CALLS.values(), lines, strict=True) if rule not in line] == []
