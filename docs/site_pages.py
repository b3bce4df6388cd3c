"""Sphinx extension of the site: pages that show a file of the repository, and a check of the translations."""

from __future__ import annotations

import os
import re
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import toctree
from sphinx.application import Sphinx
from sphinx.util import logging

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
SHOWN = {
    "benchmarks": "benchmarks/README.md",
    "changelog": "CHANGELOG.md",
    "contributing": "CONTRIBUTING.md",
    "reference/bundle": "export/README.md",
    "reference/cpp": "export/cpp/README.md",
    "reference/node": "export/node/README.md",
    "reference/other_runtimes": "export/other_runtimes.md",
    "security": "SECURITY.md",
    "reference/equations": "textrnn/training/network/README.md",
}
"""Pages, and the file of the repository that each of them shows."""

LINK = re.compile(r"(\]\()([^)#\s:]+)(#[^)\s]*)?(\))")


def relink(text: str, place: Path, page: Path) -> str:
    """Return Markdown of a file at `place` with the relative links that its page needs.

    A link to a file that a page shows leads to that page.
    """
    pages = {ROOT / file: DOCS / f"{name}.md" for name, file in SHOWN.items()}

    def relative(match: re.Match[str]) -> str:
        target = Path(os.path.normpath(place.parent / match[2]))
        target = pages.get(target, target)
        return f"{match[1]}{Path(os.path.relpath(target, page.parent)).as_posix()}{match[3] or ''}{match[4]}"

    return LINK.sub(relative, text)


def read_page(app: Sphinx, name: str, source: list[str]) -> None:
    """Replace the source of a page by the file that it shows, and mend its links."""
    page = place = DOCS / f"{name}.md"
    text = source[0]
    if name in SHOWN:
        place = ROOT / SHOWN[name]
        text = place.read_text(encoding="utf-8")
        app.env.note_dependency(str(place))
    source[0] = relink(text, place, page)


def require_whole_translation(app: Sphinx, document: nodes.document) -> None:
    """Warn of text without a translation on a page that has a catalogue, one in TRANSLATED."""
    name = app.env.current_document.docname
    if app.config.language == "en" or name not in app.config.TRANSLATED:
        return
    for node in document.findall(nodes.Element):
        if node.get("translated", True) is False and not isinstance(node, toctree):
            logging.getLogger(__name__).warning(
                "not translated into %s: %r; run make docs-gettext, then translate what is empty or fuzzy",
                app.config.language,
                node.astext()[:60],
                location=node,
            )


def draw_dashes(app: Sphinx, document: nodes.document) -> None:
    """Put a dash between a parameter and its meaning; Sphinx writes two hyphens where smart quotes are off."""
    for text in list(document.findall(nodes.Text)):
        if text == " -- ":
            text.parent.replace(text, nodes.Text(" – "))


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the extension."""
    app.add_config_value("TRANSLATED", (), "env")
    app.connect("source-read", read_page)
    app.connect("doctree-read", draw_dashes)
    app.connect("doctree-read", require_whole_translation)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
