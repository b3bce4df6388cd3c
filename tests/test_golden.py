"""Bundles that an earlier version made load and say what they said then."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import textrnn

GOLDEN = Path(__file__).with_name("golden")
EXPECTED: dict[str, Any] = json.loads((GOLDEN / "expected.json").read_text(encoding="utf-8"))
KINDS = {
    "language_model",
    "classifier",
    "multilabel_classifier",
    "vector_classifier",
    "regressor",
    "forecaster",
    "text_to_text",
    "recognizer",
}


def said_by(model: Any) -> Any:
    spec = importlib.util.spec_from_file_location("make_golden", GOLDEN / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.said_by(model)


def assert_like(found: Any, expected: Any, tolerance: float) -> None:
    """Numbers may differ by a tolerance, absolute or relative; all else is the same."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for name, value in expected.items():
            assert_like(found[name], value, tolerance)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_like(one, other, tolerance)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=tolerance, rel=tolerance)
    else:
        assert found == expected


@pytest.mark.parametrize("name", EXPECTED)
def test_a_golden_bundle_says_what_it_said(name: str) -> None:
    found, expected = said_by(textrnn.load(GOLDEN / name)), dict(EXPECTED[name])
    in_8_bits = name.startswith("language-model") and name.endswith("int8")
    if in_8_bits:  # whose products differ between processors, so that a token may be drawn otherwise
        for words in ("text", "beams", "next"):
            assert found.pop(words)
            expected.pop(words)
    assert_like(found, expected, 0.05 if in_8_bits else 1e-4)


def test_there_is_a_golden_bundle_of_every_kind() -> None:
    kinds = {textrnn.load(GOLDEN / name).manifest.kind for name in EXPECTED}
    assert kinds == KINDS
    assert {folder.name for folder in GOLDEN.iterdir() if (folder / "manifest.json").exists()} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_configuration_in_a_bundle_is_not_parsed(name: str, tmp_path: Path) -> None:
    folder = shutil.copytree(GOLDEN / name, tmp_path / name)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest["config"] = {"task": 7, "renamed": {"hidden_dim": "many"}, "data": None, "model": [{}], "train": {"x": {}}}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert said_by(textrnn.load(folder)) == said_by(textrnn.load(GOLDEN / name))


@pytest.mark.parametrize("name", [name for name in EXPECTED if name.endswith("int8")])
def test_a_golden_bundle_in_8_bits_has_weights_in_8_bits(name: str) -> None:
    onnx = pytest.importorskip("onnx")
    graphs = [onnx.load(path, load_external_data=False).graph for path in (GOLDEN / name).glob("*.onnx")]
    weights = {weight.data_type for graph in graphs for weight in graph.initializer}
    assert {onnx.TensorProto.INT8, onnx.TensorProto.UINT8} & weights
