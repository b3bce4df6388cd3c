"""Which fonts pictures are drawn with."""

from __future__ import annotations

import pytest
from matplotlib import font_manager

from textrnn.fonts import FONTS, installed_fonts


def test_fonts_are_those_that_are_installed_chinese_ones_first(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = ["DejaVu Sans", "DejaVu Sans Mono", "a font that nobody asked for"]
    monkeypatch.setattr(font_manager.fontManager, "get_font_names", lambda: installed)
    families, known = installed_fonts("DejaVu Sans Mono")
    assert families == ["DejaVu Sans Mono", "DejaVu Sans"]
    assert {ord("a"), ord("é")} <= known
    assert ord("好") not in known
    assert FONTS.index("Noto Sans CJK SC") < FONTS.index("DejaVu Sans")
