"""The pages of docs/ agree with the code, their links lead somewhere, and their translations belong to them."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from textrnn.config import settings

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
SITE = sorted(path for path in DOCS.rglob("*.md") if path.relative_to(DOCS).parts[0] != "build")
FOLDERS = ("configs", "export", "benchmarks", "textrnn/training/network", ".")
PAGES = SITE + sorted(path for folder in FOLDERS for path in (ROOT / folder).glob("*.md"))
PAGES = [path for path in PAGES if path.parent != ROOT or not path.name.startswith("README")]  # test_readme.py
TRANSLATIONS = DOCS / "locale" / "zh_CN" / "LC_MESSAGES"
CATALOGUES = sorted(TRANSLATIONS.rglob("*.po"))
FENCED = re.compile(r"^(`{3,}).*?^\1\s*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_reference", DOCS / "write_reference.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["command_line", "settings"])
def test_the_reference_is_that_of_the_code(name: str, reference: ModuleType) -> None:
    page = (DOCS / "reference" / f"{name}.md").read_text(encoding="utf-8")
    assert page == reference.PAGES[name](), "write it again: python docs/write_reference.py"


def test_the_reference_has_every_setting_with_its_meaning() -> None:
    page = (DOCS / "reference" / "settings.md").read_text(encoding="utf-8")
    entries = dict(re.findall(r"^### `([\w.]+)`\n\n(.*)\n\n- Default: .+\n- (?:Range|Values): ", page, re.MULTILINE))
    assert list(entries) == list(settings())
    assert [key for key, meaning in entries.items() if len(meaning) < 15] == []


def test_the_reference_has_the_options_of_a_command() -> None:
    page = (DOCS / "reference" / "command_line.md").read_text(encoding="utf-8")
    train = page.partition("## textrnn train\n")[2].partition("\n## ")[0]
    for option in ("`SOURCE`", "`--task TASK`", "`--set KEY.PATH=VALUE`", "`--resume`", "`--errors strict\\|replace`"):
        assert f"| {option} |" in train


def slugs(page: str) -> set[str]:
    """The anchors of the headings, as hosts of repositories make them."""
    headings = re.findall(r"^#+ +(.+)$", FENCED.sub("", page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def text_without_code(path: Path) -> str:
    return re.sub(r"`[^`\n]+`", "", FENCED.sub("", path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_to_a_file_and_a_heading(path: Path) -> None:
    broken = []
    for link in LINK.findall(text_without_code(path)):
        if re.match(r"\w+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = path.parent / place if place else path
        if not target.exists() or (anchor and anchor not in slugs(target.read_text(encoding="utf-8"))):
            broken.append(link)
    assert broken == []


def test_every_page_is_in_a_table_of_contents() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"<([\w/]+)>$", index, re.MULTILINE))
    assert listed == {path.relative_to(DOCS).with_suffix("").as_posix() for path in SITE} - {"index"}


def messages(catalogue: Path) -> list[tuple[str, str]]:
    """Texts and translations of a catalogue, without its header."""
    found = []
    for block in catalogue.read_text(encoding="utf-8").split("\n\n"):
        text, _, translation = block.partition("\nmsgstr ")
        lines = [re.findall(r'^(?:msgid )?(".*")$', part, re.MULTILINE) for part in (text, translation)]
        pair = ["".join(ast.literal_eval(line) for line in part) for part in lines]
        if pair[0]:
            found.append((pair[0], pair[1]))
    return found


def flat(text: str) -> str:
    """Text without line breaks and the marks at the beginning of lines."""
    return " ".join(re.sub(r"^\s*(?:[-*] |#+ )?", "", line) for line in text.splitlines())


def catalogue_name(catalogue: Path) -> str:
    return catalogue.relative_to(TRANSLATIONS).with_suffix("").as_posix()


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=catalogue_name)
def test_every_translated_text_stands_in_its_page(catalogue: Path) -> None:
    page = DOCS / f"{catalogue_name(catalogue)}.md"
    text, pairs = flat(page.read_text(encoding="utf-8")), messages(catalogue)
    assert 0 < len(pairs) == catalogue.read_text(encoding="utf-8").count("\nmsgid ") - 1  # all but the header
    assert [message for message, _ in pairs if flat(message) not in text] == [], "run make docs-gettext"
    assert [message for message, translation in pairs if not translation] == []
    assert re.findall(r"^#, .*fuzzy.*", catalogue.read_text(encoding="utf-8"), re.MULTILINE) == []


def code_and_links(text: str) -> list[str]:
    return sorted(re.findall(r"`[^`]+`|\]\([^)]+\)", text))


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=catalogue_name)
def test_translations_keep_code_and_links(catalogue: Path) -> None:
    pairs = [tuple(map(code_and_links, pair)) for pair in messages(catalogue)]
    assert any(code for code, _ in pairs)
    assert [pair for pair in pairs if pair[0] != pair[1]] == []
