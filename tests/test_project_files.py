"""The files that hosts and tools read say what pyproject.toml, the Makefile and the folder say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml", reason="comes with the extra train")
try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def content(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def jobs(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = content(path)["jobs"]
    return found


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in jobs(path).values() for step in job["steps"]]


def supported() -> list[str]:
    """The Pythons that `requires-python` allows, from the oldest."""
    bounds = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"])
    assert bounds
    return [f"3.{minor}" for minor in range(int(bounds[1]), int(bounds[2]))]


def test_there_are_workflows() -> None:
    assert {"release", "tests"} <= {path.stem for path in WORKFLOWS}


def test_every_supported_python_is_tested_and_named() -> None:
    matrix = jobs(ROOT / ".github" / "workflows" / "tests.yml")["tests"]["strategy"]["matrix"]
    assert matrix["python"] == supported()
    assert {entry["python"] for entry in matrix["include"]} <= set(supported())
    assert {entry["os"] for entry in matrix["include"]} | set(matrix["os"]) == {
        "ubuntu-latest",
        "windows-latest",
        "macos-latest",
    }
    minimal = jobs(ROOT / ".github" / "workflows" / "tests.yml")["minimal"]["strategy"]["matrix"]
    assert minimal["python"] == [supported()[0], supported()[-1]]
    named = [re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line) for line in PROJECT["classifiers"]]
    assert [match[1] for match in named if match] == supported()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_pins_its_actions_and_may_only_read(path: Path) -> None:
    used = [step["uses"] for step in steps(path) if "uses" in step]
    assert used
    assert [action for action in used if not re.fullmatch(r"[\w-]+/[\w-]+@v\d+(\.\d+){0,2}", action)] == []
    assert content(path)["permissions"] == {"contents": "read"}
    more = {name: job["permissions"] for name, job in jobs(path).items() if "permissions" in job}
    assert more == ({"publish": {"id-token": "write"}} if path.stem == "release" else {})
    assert all("timeout-minutes" in job for job in jobs(path).values())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_calls_what_is_there(path: Path) -> None:
    lines = "\n".join(step.get("run", "") for step in steps(path))
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([\w-]+)", lines)) <= targets
    assert [script for script in re.findall(r"python ([\w/]+\.py)", lines) if not (ROOT / script).is_file()] == []
    extras = {extra for group in re.findall(r"\.\[([\w,]+)\]", lines) for extra in group.split(",")}
    assert extras <= PROJECT["optional-dependencies"].keys()


def test_the_hook_before_a_commit_calls_a_target_of_make() -> None:
    (repository,) = content(ROOT / ".pre-commit-config.yaml")["repos"]
    (hook,) = repository["hooks"]
    assert repository["repo"] == "local"
    assert hook["entry"] == "make lint"
    assert re.search(hook["files"], "textrnn/cli.py")


def test_the_citation_names_this_version() -> None:
    citation = content(ROOT / "CITATION.cff")
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in PROJECT["authors"]]


def test_the_image_runs_a_supported_python_and_gets_what_the_wheel_is_built_from() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert set(re.findall(r"^FROM python:(3\.\d+)-slim", text, re.MULTILINE)) <= set(supported())
    given = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[0] == "!"}
    needed = {"pyproject.toml", "constraints.txt", "textrnn", PROJECT["readme"], *PROJECT["license-files"]}
    assert given == needed
    assert all((ROOT / name).exists() for name in given)


def test_git_changes_no_byte_of_a_bundle() -> None:
    rules = (ROOT / ".gitattributes").read_text(encoding="utf-8").splitlines()
    assert rules[-1] == "tests/golden/** -text", "the last rule that fits counts"
