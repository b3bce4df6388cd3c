"""Checks what a user gets who only runs models: the wheel alone, without the extra `train`, in a new environment.

    python tests/minimal_install.py        (or: make minimal)

Builds the wheel, installs it with the pinned versions, removes the installer again, imports every module outside
`textrnn.training`, runs every command that needs no extra on the golden bundles, and measures the environment.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
GOLDEN = PROJECT / "tests" / "golden"
MOST_MEGABYTES = 175  # without the installer, on Linux
NEED_AN_EXTRA = {"train", "export", "serve", "push", "transcribe"}

IMPORT_ALL = """
import importlib, pkgutil, sys, textrnn
names = [module.name for module in pkgutil.walk_packages(textrnn.__path__, "textrnn.", onerror=print)]
others = ("textrnn.training", "textrnn.serve", "textrnn.estimator", "textrnn.__main__")  # which need an extra, or run
names = [name for name in names if not name.startswith(others)]
for name in names:
    importlib.import_module(name)
print(len(names), "modules imported from", textrnn.__path__[0])
"""
CHARACTERS, WORDS, PIECES = (f"language-model-{kind}-float32" for kind in ("char", "word", "sentencepiece"))
COMMANDS = [
    ["--version"],
    ["info", CHARACTERS],
    ["info", "classifier-int8", "--json"],
    *(["generate", model, "--length", "20", "--seed", "1"] for model in (CHARACTERS, WORDS, PIECES)),
    ["generate", "language-model-sentencepiece-int8", "--length", "20", "--beams", "2", "--json"],
    ["evaluate", CHARACTERS, "text.txt"],
    ["evaluate", "classifier-float32", "labelled.csv"],
    ["evaluate", "vector-classifier-float32", "vectors.jsonl"],
    ["evaluate", "regressor-float32", "values.jsonl"],
    ["evaluate", "forecaster-float32", "series.csv", "--json"],
    ["predict", "classifier-float32", "good", "bad"],
    ["predict", "classifier-int8", "--input", "labelled.csv", "--output", "out.csv"],
    ["classify", "classifier-float32", "good", "--why"],
    ["predict", "multilabel-classifier-float32", "good"],
    ["predict", "vector-classifier-int8", "--input", "vectors.jsonl"],
    ["predict", "regressor-int8", "--input", "vectors.jsonl"],
    ["forecast", "forecaster-float32", "series.csv", "--steps", "3"],
    ["predict", "text-to-text-float32", "42", "--json"],
    ["predict", "text-to-text-int8", "42", "--why"],
    ["evaluate", "text-to-text-float32", "pairs.tsv"],
    ["models"],
    ["card", "shakespeare"],
    *(["generate", name, "--length", "20"] for name in ("shakespeare", "tang")),
    *(["predict", name, "good", "不错"] for name in ("reviews-en", "reviews-zh")),
    ["export", "digits", "--out", "digits-onnx"],
]


def install(environment: Path) -> Path:
    """Make an environment with the wheel and the packages it needs, no installer, and return its folder of programs."""
    venv.create(environment, with_pip=True)
    programs = environment / ("Scripts" if os.name == "nt" else "bin")
    pip = [programs / "python", "-m", "pip", "--disable-pip-version-check"]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*pip, "wheel", "-q", "--no-deps", "-w", folder, PROJECT], check=True)
        (wheel,) = Path(folder).glob("textrnn-*.whl")
        print(f"wheel {wheel.stat().st_size / 1e6:.2f} MB")
        page = {
            file.relative_to(PROJECT).as_posix()
            for file in (PROJECT / "textrnn/serve/page").rglob("*")
            if file.is_file()
        }
        if missing := page - set(zipfile.ZipFile(wheel).namelist()):
            raise SystemExit(f"the wheel must have the page of the server, lacks: {missing}")
        subprocess.run([*pip, "install", "-q", "-c", PROJECT / "constraints.txt", wheel], check=True)
    subprocess.run([*pip, "uninstall", "-q", "-y", "setuptools", "pip"], check=True)
    return programs


def megabytes(path: Path) -> float:
    """Return the size of a file, or of all files below a folder."""
    return sum(file.lstat().st_size for file in (path, *path.rglob("*")) if not file.is_dir()) / 1e6


def report_sizes(environment: Path) -> float:
    """Print the largest packages and the total in megabytes; return the total."""
    (packages,) = environment.rglob("site-packages")
    sizes = {path.name: megabytes(path) for path in packages.iterdir()}
    total = megabytes(environment)
    for name, size in sorted(sizes.items(), key=lambda item: -item[1])[:8]:
        print(f"{size:8.2f} MB  {name}")
    bytecode = sum(megabytes(file) for file in packages.rglob("*.pyc"))
    print(f"{total:8.2f} MB  in all, {bytecode:.2f} of them bytecode that Python wrote")
    return total


def run(program: Path, *arguments: object, folder: Path, code: int = 0) -> str:
    """Run an installed program away from the project and return its standard output.

    Raises:
        SystemExit: its exit code is another one, or it printed nothing.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"PYTHONUTF8": "1", "PYTHONWARNINGS": "error"}
    command = [str(program), *map(str, arguments)]
    result = subprocess.run(command, cwd=folder, env=environment, encoding="utf-8", capture_output=True)
    if result.returncode != code or not (result.stdout or code):
        raise SystemExit(f"{' '.join(command)}: exit code {result.returncode}\n{result.stdout}{result.stderr}")
    return result.stdout + result.stderr


def write_inputs(folder: Path) -> None:
    """Write the files that the commands read."""
    vectors = [{"x": [[0.5, 1.0], [0.1, 0.2], [1.0, 0.0]], "label": label} for label in ("up", "down")]
    texts = {
        "text.txt": "the cat sat on the map. a dog slept.\n" * 4,
        "labelled.csv": "text,label\nthe film was good,positive\nbad,negative\n",
        "pairs.tsv": "42\tforty two\n7\tseven\n",
        "series.csv": "".join(f"{step % 7}\n" for step in range(60)),
        "vectors.jsonl": "".join(json.dumps(record) + "\n" for record in vectors),
        "values.jsonl": "".join(json.dumps({"x": record["x"], "label": 0.5}) + "\n" for record in vectors),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def run_commands(programs: Path, folder: Path) -> None:
    """Run every command, and see that none that a user has was forgotten."""
    write_inputs(folder)
    for command in COMMANDS:
        run(
            programs / "textrnn",
            *(GOLDEN / word if (GOLDEN / word).is_dir() else word for word in command),
            folder=folder,
        )
    line = run(programs / "textrnn", "train", "text.txt", folder=folder, code=1)
    if "pip install 'textrnn[train]'" not in line:
        raise SystemExit(f"train must say what to install, said: {line}")
    code = "from textrnn.cli import make_parser; print(*make_parser()._subparsers._group_actions[0].choices)"
    commands = set(run(programs / "python", "-c", code, folder=folder).split())
    if missing := commands - NEED_AN_EXTRA - {command[0] for command in COMMANDS}:
        raise SystemExit(f"{Path(__file__).name} must run every command that needs no extra, lacks: {missing}")
    print(f"{len(COMMANDS)} commands run")


def main(argv: Sequence[str] | None = None) -> None:
    """Make the environment, check it and print its size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.parse_args(argv)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        environment = Path(name).resolve() / "environment"
        programs = install(environment)
        print(run(programs / "python", "-c", IMPORT_ALL, folder=Path(name)), end="")
        run_commands(programs, Path(name))
        total = report_sizes(environment)
    if sys.platform == "linux" and total > MOST_MEGABYTES:
        raise SystemExit(f"an environment must have at most {MOST_MEGABYTES} MB, has {total:.2f}")


if __name__ == "__main__":
    main()
