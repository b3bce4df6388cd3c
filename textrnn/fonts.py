"""Fonts for pictures of texts in any language."""

from __future__ import annotations

# Matplotlib's own fonts come first if the caller chooses, and last. Older versions of matplotlib see only the Japanese
# face of a collection of Noto fonts.
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
    """Return the installed fonts of `first` and `FONTS`, in this order, and all code points that they can draw."""
    from matplotlib.font_manager import FontProperties, fontManager, get_font

    installed = set(fontManager.get_font_names())
    families = [name for name in (*first, *FONTS) if name in installed]
    faces = [get_font(fontManager.findfont(FontProperties(family=name))) for name in families]
    return families, frozenset().union(*(face.get_charmap() for face in faces))
