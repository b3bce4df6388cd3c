"""Node for tests: a copy of the JavaScript modules beside the npm packages that the machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "export" / "node"
RUNTIME = ROOT / "textrnn" / "web" / "runtime"


def npm_package(name: str) -> Path:
    """Return the folder of an npm package, or skip the test.

    It is looked for in the folder that the environment variable TEXTRNN_NODE_MODULES names, and in
    export/node/node_modules.
    """
    for folder in (os.environ.get("TEXTRNN_NODE_MODULES"), PACKAGE / "node_modules"):
        if folder and (Path(folder) / name / "package.json").is_file():
            return Path(folder) / name
    pytest.skip(f"{name} is needed: npm install it in export/node, or set TEXTRNN_NODE_MODULES to its node_modules")


def node() -> str:
    """Return the path of node, or skip the test."""
    found = shutil.which("node")
    if not found:
        pytest.skip("node is needed")
    return found


def checkout(folder: Path) -> Path:
    """Copy what the JavaScript runtime needs of the project to a folder, with onnxruntime-node, and return it."""
    modules = npm_package("onnxruntime-node").parent
    shutil.copytree(
        PACKAGE, folder / "export" / "node", ignore=shutil.ignore_patterns("node_modules", "runtime", "*.tgz")
    )
    shutil.copytree(RUNTIME, folder / "textrnn" / "web" / "runtime")
    (folder / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "golden_runtimes.mjs", folder / "tests")
    (folder / "node_modules").symlink_to(modules.resolve(), target_is_directory=True)
    return folder


def run_node(folder: Path, *arguments: object, code: int = 0) -> str:
    """Run node in a folder and return its standard output; the exit code must be `code`."""
    command = [node(), *map(str, arguments)]
    run = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", timeout=300)
    assert run.returncode == code, run.stdout + run.stderr
    return run.stdout
