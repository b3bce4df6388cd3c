"""docs/reference/architecture.md and its picture agree with the code."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "architecture.md"


@pytest.fixture(scope="module")
def rooms() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_rooms", ROOT / "docs" / "draw_rooms.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_is_that_of_the_imports(rooms: ModuleType) -> None:
    assert rooms.PICTURE.read_text(encoding="utf-8") == rooms.draw(), "draw it again: python docs/draw_rooms.py"


def test_the_page_names_every_room(rooms: ModuleType) -> None:
    page = PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w/]+?)/?`", page))
    assert {room for room in rooms.imported_rooms() if (ROOT / "textrnn" / room).is_dir()} - {"training"} <= named


def test_every_module_that_the_page_names_is_there() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("## Where is")[2]
    paths = re.findall(r"`([\w/]+\.py)`", table)
    assert len(paths) >= 8
    folders = (ROOT / "textrnn", ROOT / "textrnn" / "training" / "network")
    assert [path for path in paths if not any((folder / path).is_file() for folder in folders)] == []
