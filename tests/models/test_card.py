"""Model cards: what is in them, that their code runs, and that a hostile manifest cannot misuse them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from commands import call, told
from spoken import speech, write_wav
from tiny_bundle import write_tiny_bundle, write_tiny_classifier

import textrnn
from textrnn.bundle import CARD, read_bundle
from textrnn.models.card import KINDS, card_of

GOLDEN = sorted(path for path in (Path(__file__).parent.parent / "golden").iterdir() if path.is_dir())
ROOT = Path(__file__).resolve().parent.parent.parent


def _plain(text: str) -> str:
    return str(json.loads(text)) if text.startswith('"') else text


def metadata(card: str) -> dict[str, str | list[str]]:
    """The YAML block of a card, which has strings and lists of strings only."""
    begin, block, _ = card.split("---\n", 2)
    assert begin == ""
    found: dict[str, str | list[str]] = {}
    for name, value, items in re.findall(r"^(\w+):(.*)\n((?:- .*\n)*)", block, re.MULTILINE):
        found[name] = [_plain(item.removeprefix("- ")) for item in items.splitlines()] or _plain(value.strip())
    return found


@pytest.mark.parametrize("folder", GOLDEN, ids=lambda folder: folder.name)
def test_every_bundle_has_a_card_also_one_that_is_older_than_cards(folder: Path) -> None:
    assert not (folder / CARD).exists()
    printed = call("card", folder).out
    facts = metadata(printed)
    assert facts["library_name"] == "textrnn"
    assert facts["pipeline_tag"] == KINDS[read_bundle(folder).manifest.kind].tag
    for part in ("## Use", "## Training", "## Held-out figures", "## Limits"):
        assert part in printed
    assert ("8-bit" in printed) == folder.name.endswith("int8")


@pytest.mark.parametrize("folder", GOLDEN, ids=lambda folder: folder.name)
def test_the_code_of_a_card_runs(folder: Path, tmp_path: Path) -> None:
    if folder.name.startswith(("audio", "recognizer")):
        pytest.importorskip("kaldi_native_fbank", reason="comes with the extra audio")
    shutil.copytree(folder, tmp_path / "model")
    write_wav(tmp_path / "model" / "recording.wav", speech(["acb"], pause=0.2))
    card = card_of(read_bundle(folder).manifest, str(tmp_path / "model"))
    for code in re.findall(r"```python\n(.*?)```", card, re.DOTALL):
        run = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path / "model",
            env={"PYTHONPATH": str(ROOT)},
            capture_output=True,
            timeout=60,
        )
        assert run.returncode == 0, run.stderr.decode()
        assert run.stdout


def test_figures_are_those_of_the_manifest_and_facts_are_kept(tmp_path: Path) -> None:
    golden = next(folder for folder in GOLDEN if folder.name == "language-model-char-int8")
    shutil.copytree(golden, tmp_path / "model")
    before = textrnn.load(tmp_path / "model").generate("the", length=9, seed=1)
    options = ("--language", "en", "--language", "no", "--license", "mit", "--title", "Mine: a model", "--save")
    printed = call("card", tmp_path / "model", *options).out
    assert printed == (tmp_path / "model" / CARD).read_text(encoding="utf-8")
    assert printed == call("card", tmp_path / "model").out
    assert metadata(printed)["language"] == ["en", "no"]
    assert '- "no"' in printed  # which is false in YAML without the quotes
    assert metadata(printed)["license"] == "mit"
    assert "# Mine: a model" in printed
    assert "| held-out part | nats a token | 1.685 |" in printed
    assert "8-bit weights cost -0.0007 nats a token" in printed
    assert textrnn.load(tmp_path / "model").generate("the", length=9, seed=1) == before


def test_an_edited_or_removed_card_is_no_damage(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "model")
    textrnn.load(tmp_path / "model")
    (tmp_path / "model" / CARD).write_text("edited by hand", encoding="utf-8")
    assert textrnn.load(tmp_path / "model").generate("h", length=3, seed=1)
    assert call("export", tmp_path / "model", "--out", tmp_path / "copy").code == 0
    assert (tmp_path / "copy" / CARD).read_text(encoding="utf-8") == "edited by hand"
    assert CARD not in read_bundle(tmp_path / "copy").manifest.files


def test_what_a_manifest_says_cannot_break_out_of_its_line(tmp_path: Path) -> None:
    bundle = write_tiny_classifier(tmp_path / "model")
    hostile = {
        "title": "a\n---\n\x1b[2Jb",
        "summary": 7,
        "language": ["e\nn: x", 3, None],
        "license": {"a": 1},
        "limits": "text",
        "tests": [{"data": "x\n|", "accuracy": True}, {"data": "y\ny", "accuracy": 0.5}, 5],
    }
    card = card_of(replace(bundle.manifest, card=hostile, metrics={"held_out": [], "int8": 3}))
    assert "\x1b" not in card
    assert "# a --- [2Jb\n" in card
    assert metadata(card)["language"] == ["e n: x"]
    assert "| y y | accuracy | 0.5 |" in card
    assert "summary" not in card and "7" not in metadata(card)


def test_a_manifest_whose_card_is_no_object_is_refused(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "model")
    path = tmp_path / "model" / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**manifest, "card": "text"}), encoding="utf-8")
    assert "card must be dict" in told(call("card", tmp_path / "model"))


def test_a_model_of_a_later_kind_has_a_card_too(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "model")
    card = card_of(replace(bundle.manifest, kind="translator", runtime={}))
    assert "a recurrent network" in card and "pipeline_tag" not in card
