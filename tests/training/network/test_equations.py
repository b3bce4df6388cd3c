"""The page of the equations quotes the code: each excerpt stands in the function that it names."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "textrnn" / "training" / "network" / "README.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"`([\w/]+\.py)`(?:, `([\w.]+)`)?[^\n]*:\n\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def excerpts(page: str) -> list[tuple[str, str, str]]:
    """File, function or nothing, and the lines of every excerpt."""
    return NAMED.findall(page)


def source_of(path: Path, name: str) -> str:
    """The lines of a function or method of a file, or the whole of it where no name is given."""
    text = path.read_text(encoding="utf-8")
    if not name:
        return text
    node: ast.AST = ast.parse(text)
    for part in name.split("."):
        inside = (n for n in ast.iter_child_nodes(node) if isinstance(n, ast.FunctionDef | ast.ClassDef))
        node = next((n for n in inside if n.name == part), node)
        if getattr(node, "name", "") != part:
            return ""
    return "\n".join(text.splitlines()[node.lineno - 1 : node.end_lineno])


def stands_in(excerpt: str, source: str) -> bool:
    """Whether the lines of the excerpt follow each other in the source, at whatever indentation."""
    wanted = textwrap.dedent(excerpt).rstrip().splitlines()
    lines = source.splitlines()
    return any(
        textwrap.dedent("\n".join(lines[begin : begin + len(wanted)])).splitlines() == wanted
        for begin in range(len(lines) - len(wanted) + 1)
    )


@pytest.mark.parametrize(("file", "name", "excerpt"), excerpts(PAGE.read_text(encoding="utf-8")))
def test_what_is_quoted_stands_there(file: str, name: str, excerpt: str) -> None:
    assert (ROOT / file).exists(), file
    source = source_of(ROOT / file, name)
    assert source, f"{file} has no {name}"
    assert stands_in(excerpt, source), f"{file}, {name} has no longer:\n{excerpt}"


def test_every_block_of_code_names_its_place() -> None:
    page = PAGE.read_text(encoding="utf-8")
    code = [text for kind, text in BLOCK.findall(page) if kind == "python"]
    assert len(code) > 25
    assert code == [text for _, _, text in excerpts(page)]


def test_an_excerpt_that_is_not_there_is_noticed() -> None:
    source = "def f():\n    a = 1\n    b = 2\n"
    assert stands_in("        a = 1\n        b = 2\n", source)
    assert not stands_in("a = 1\nc = 2\n", source)
    assert not stands_in("a = 1\n    b = 2\n", source)
    assert source_of(PAGE.with_name("scan_loop.py"), "nowhere") == ""


def test_lines_fit() -> None:
    assert max(map(len, PAGE.read_text(encoding="utf-8").splitlines())) <= 120
