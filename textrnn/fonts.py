"""Fonts for pictures of texts in any language."""

from __future__ import annotations

# Those that matplotlib brings stand first, by the caller's choice, and last. Of a collection of Noto fonts, older
# versions of matplotlib see only the Japanese face.
FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "SimHei",
    "PingFang SC",
    "Hiragino Sans GB",
    "Microsoft YaHei",
    "DejaVu Sans",
)


def installed_fonts(*first: str) -> tuple[list[str], frozenset[int]]:
    """Those of `first` and `FONTS` that are installed, in this order, and the code points they can draw together."""
    from matplotlib.font_manager import FontProperties, fontManager, get_font

    installed = set(fontManager.get_font_names())
    families = [name for name in (*first, *FONTS) if name in installed]
    faces = [get_font(fontManager.findfont(FontProperties(family=name))) for name in families]
    return families, frozenset().union(*(face.get_charmap() for face in faces))
