"""The walls of the house: imports point down, and each heavy package has one home."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

import pytest
from tiny_bundle import write_tiny_bundle, write_tiny_classifier, write_tiny_regressor, write_tiny_vector_classifier

ROOT = Path(__file__).resolve().parent.parent

# From the bottom up. A module belongs to the longest name here that begins its own; it may import its own room and
# those below. `textrnn` itself is `__init__.py`, the public names.
ROOMS = [
    {"textrnn.errors", "textrnn.files", "textrnn.fonts", "textrnn.hardware", "textrnn.platforms"},
    {
        "textrnn.config",
        "textrnn.tokenizers",
        "textrnn.sampling",
        "textrnn.scoring",
        "textrnn.spelling",
        "textrnn.generation",
        "textrnn.decoding",
        "textrnn.classification",
        "textrnn.explanation",
    },
    {"textrnn.bundle"},
    {"textrnn.models"},
    {"textrnn.web"},
    {"textrnn.data"},
    {"textrnn.metrics"},
    {"textrnn.runtime"},
    {"textrnn.training"},
    {"textrnn.training.network", "textrnn.training.direct"},
    {"textrnn.training.distributed"},
    {"textrnn.training.export"},
    {"textrnn.training.loop"},
    {"textrnn.training.adaptation"},
    {"textrnn.training.tasks"},
    {"textrnn.training.search"},
    {"textrnn.actions"},
    {"textrnn", "textrnn.estimator"},
    {"textrnn.serve"},
    {"textrnn.commands"},
    {"textrnn.cli", "textrnn.__main__"},
]
# The one way up: the methods `evaluate` and `export` of a model import the actions when they are called.
WAY_UP = ("textrnn.runtime.sessions", "textrnn.actions")
MOST_MODULES = 15  # in a room, so that one look finds the one

# Where a package from outside may be imported; what is not listed may be imported nowhere.
HOMES = {
    "numpy": {"textrnn"},
    "tomllib": {"textrnn.training.tasks.configuration"},  # of the standard library from Python 3.11
    "tomli": {"textrnn.training.tasks.configuration"},
    "tqdm": {"textrnn.runtime", "textrnn.data", "textrnn.training", "textrnn.commands"},
    "sentencepiece": {"textrnn.tokenizers.sentence_piece"},
    # The exporters quantise with onnxruntime and run every graph they write before they give it a name.
    "onnxruntime": {"textrnn.runtime", "textrnn.training.export"},
    "tensorflow": {"textrnn.training"},
    "keras": {"textrnn.training"},
    "datasets": {"textrnn.data"},
    "kaldi_native_fbank": {"textrnn.data.audio.recordings"},
    "soundfile": {"textrnn.data.audio.recordings"},
    "soxr": {"textrnn.data.audio.recordings"},
    "huggingface_hub": {"textrnn.models.hub"},
    "onnx": {"textrnn.training.export", "textrnn.training.tasks.bundle_weights"},
    "sacrebleu": {"textrnn.metrics.text_to_text"},
    # No dependencies: used where they happen to be installed, and asked for where they are not.
    "sklearn": {"textrnn.data.vector_sources", "textrnn.estimator"},
    "PIL": {"textrnn.data.vector_sources"},
    "shtab": {"textrnn.commands.completion"},
    "prometheus_client": {"textrnn.serve.metrics"},
    "starlette": {"textrnn.serve.app"},
    "uvicorn": {"textrnn.serve.http"},
    "matplotlib": {"textrnn.metrics", "textrnn.training.loop.history", "textrnn.explanation.picture", "textrnn.fonts"},
}
TRAINING_ONLY = {"tensorflow", "keras", "datasets", "huggingface_hub", "onnx", "matplotlib"}


def is_within(module: str, home: str) -> bool:
    return module == home or module.startswith(f"{home}.")


def room(module: str) -> int | None:
    homes = [(len(home), level) for level, names in enumerate(ROOMS) for home in names if is_within(module, home)]
    name_length, level = max(homes)
    # A module that nobody placed must not hide behind the package's own name.
    return None if name_length == len("textrnn") and module != "textrnn" else level


def imports(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of every import in a file, also those inside functions and given to `import_module`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = "." * node.level + (node.module or "")
            for alias in node.names:
                submodule = root.joinpath(*package.split("."), alias.name)
                is_module = submodule.is_dir() or submodule.with_suffix(".py").is_file()
                yield node.lineno, f"{package}.{alias.name}" if is_module else package
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = ast.unparse(node.func)
            if function in {"__import__", "import_module", "importlib.import_module"}:
                yield node.lineno, str(node.args[0].value)


def violation(module: str, imported: str) -> str | None:
    """What is wrong with one import, or None."""
    package = imported.split(".")[0]
    if imported.startswith("."):
        return "imports are absolute"
    if package in sys.stdlib_module_names:
        return None
    if package != "textrnn":
        homes = HOMES.get(package)
        if homes is None:
            return f"{package} is not a dependency"
        return None if any(is_within(module, home) for home in homes) else f"{package} belongs in {sorted(homes)}"
    own, other = room(module), room(imported)
    if own is None or other is None:
        return f"{module if own is None else imported} has no room; give it one in {Path(__file__).name}"
    # What is exported is tried in the sessions that run it.
    is_trial = is_within(module, "textrnn.training.export") and imported == "textrnn.runtime.sessions"
    if is_within(module, "textrnn.training") and is_within(imported, "textrnn.runtime") and not is_trial:
        return "training and runtime meet only in the bundle folder"
    if is_way_up(module, imported):
        return None
    return None if other <= own else "imports point down"


def is_way_up(module: str, imported: str) -> bool:
    return module == WAY_UP[0] and is_within(imported, WAY_UP[1])


def violations(root: Path) -> list[str]:
    found = []
    for path in sorted((root / "textrnn").rglob("*.py")):
        module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        if room(module) is None:
            found.append(f"{module} has no room; give it one in {Path(__file__).name}")
            continue
        for line, imported in imports(path, root):
            if wrong := violation(module, imported):
                found.append(f"{path.relative_to(root).as_posix()}:{line} imports {imported}: {wrong}")
    return found


def test_imports_point_down_and_heavy_packages_stay_at_home() -> None:
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ("path", "code", "rule"),
    [
        ("errors.py", "import textrnn.config", "imports point down"),
        ("files.py", "from textrnn import sampling", "imports point down"),
        ("config.py", "from textrnn.bundle import load", "imports point down"),
        ("sampling.py", "def f():\n    import textrnn.runtime.load", "imports point down"),
        ("data/sources.py", "from textrnn.metrics import report", "imports point down"),
        ("data/sources.py", "import textrnn.runtime.load", "imports point down"),
        ("metrics/report.py", "import textrnn.training.loop.trainer", "imports point down"),
        ("runtime/load.py", "import textrnn.training.loop.trainer", "imports point down"),
        ("runtime/load.py", "from textrnn import training", "imports point down"),
        ("runtime/load.py", "def f():\n    from textrnn.actions.exporting import export_run", "imports point down"),
        ("bundle.py", "import importlib\nimportlib.import_module('textrnn.training')", "imports point down"),
        ("generation.py", "from textrnn import load", "imports point down"),
        ("training/network/layers.py", "from textrnn.training.loop.trainer import Trainer", "imports point down"),
        ("training/loop/trainer.py", "import textrnn.training.tasks.table", "imports point down"),
        ("training/export/classifier.py", "from textrnn.training.tasks import table", "imports point down"),
        ("training/loop/trainer.py", "import textrnn.cli", "imports point down"),
        ("training/export/classifier.py", "from textrnn.runtime.load import load", "meet only in the bundle"),
        ("training/loop/trainer.py", "import textrnn.runtime.load as model", "meet only in the bundle"),
        ("tokenizers/char.py", "from .base import Tokenizer", "imports are absolute"),
        ("cli.py", "def train():\n    import tensorflow as tf", "tensorflow belongs in"),
        ("data/sources.py", "import tensorflow as tf", "tensorflow belongs in"),
        ("generation.py", "from keras import ops", "keras belongs in"),
        ("tokenizers/word.py", "import datasets.features", "datasets belongs in"),
        ("training/loop/trainer.py", "import datasets", "datasets belongs in"),
        ("runtime/load.py", "import onnx", "onnx belongs in"),
        ("training/loop/trainer.py", "import onnx", "onnx belongs in"),
        ("bundle.py", "import matplotlib.pyplot as plt", "matplotlib belongs in"),
        ("bundle.py", "import onnxruntime", "onnxruntime belongs in"),
        ("training/loop/trainer.py", "import onnxruntime", "onnxruntime belongs in"),
        ("tokenizers/char.py", "import sentencepiece", "sentencepiece belongs in"),
        ("data/sources.py", "import sentencepiece", "sentencepiece belongs in"),
        ("config.py", "import torch", "torch is not a dependency"),
        ("server.py", "", "textrnn.server has no room"),
    ],
)
def test_a_breach_is_found(tmp_path: Path, path: str, code: str, rule: str) -> None:
    rooms = ("data", "metrics", "runtime", "training", "training/loop", "training/tasks", "actions")
    for module in ("config", "sampling", "bundle", "cli", *(f"{name}/__init__" for name in (".", *rooms))):
        file = tmp_path / "textrnn" / f"{module}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("import json\nimport numpy as np\nfrom textrnn import errors\n", encoding="utf-8")
    (tmp_path / "textrnn" / "errors.py").touch()
    assert violations(tmp_path) == []

    file = tmp_path / "textrnn" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(code, encoding="utf-8")
    (found,) = violations(tmp_path)
    assert rule in found


def cycle_in(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a ring, or none."""
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str]:
        if module in path:
            return path[path.index(module) :]
        if module in done:
            return []
        for imported in sorted(graph.get(module, ())):
            if found := visit(imported, [*path, module]):
                return found
        done.add(module)
        return []

    return next((found for module in sorted(graph) if (found := visit(module, []))), [])


def test_no_modules_import_each_other_in_a_ring() -> None:
    graph: dict[str, set[str]] = {}
    for path in (ROOT / "textrnn").rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        graph[module] = {imported for _, imported in imports(path, ROOT) if is_within(imported, "textrnn")} - {module}
    graph[WAY_UP[0]] = {imported for imported in graph[WAY_UP[0]] if not is_way_up(WAY_UP[0], imported)}
    assert cycle_in(graph) == []
    assert set(cycle_in(graph | {"textrnn.errors": {"textrnn.config"}})) == {"textrnn.config", "textrnn.errors"}


def folders_of_code() -> list[Path]:
    return sorted({path.parent for path in (ROOT / "textrnn").rglob("*.py")})


@pytest.mark.parametrize("folder", folders_of_code(), ids=lambda folder: folder.relative_to(ROOT).as_posix())
def test_a_room_is_small_and_says_what_is_in_it(folder: Path) -> None:
    modules = [path.name for path in folder.glob("*.py") if not path.name.startswith("__")]
    assert len(modules) <= MOST_MODULES, modules
    assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))


@pytest.mark.parametrize("folder", ["pipelines", "export"])
def test_scripts_are_no_package_and_shadow_no_module(folder: str) -> None:
    # Running a script puts its folder first on sys.path: export/onnx.py would be what `import onnx` finds.
    installed = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    names = sorted(path.stem for path in (ROOT / folder).glob("*.py"))
    taken = {name for name in names if PathFinder.find_spec(name, installed)}
    assert [name for name in names if name in {"__init__", "textrnn", *HOMES, *sys.stdlib_module_names, *taken}] == []


def loaded_by(code: str, *arguments: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after `code`."""
    code += "\nimport json, sys\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, env=environment, timeout=60)
    assert run.returncode == 0, run.stderr.decode()
    return {name.split(".")[0] for name in json.loads(run.stderr.splitlines()[-1])}


def test_import_textrnn_loads_nothing_heavy() -> None:
    loaded = loaded_by("import textrnn")
    assert "textrnn" in loaded
    assert not loaded & (TRAINING_ONLY | {"onnxruntime", "sentencepiece"})


@pytest.mark.parametrize(
    "command", ["generate", "info", "evaluate", "classify", "classify --why", "classify vectors", "evaluate vectors"]
)
def test_inference_commands_load_no_training_package(tmp_path: Path, command: str) -> None:
    arguments = {
        "generate": ["--prompt", "hello", "--length", "5", "--seed", "1"],
        "info": [],
        "evaluate": [str(tmp_path / "held_out.txt")],
        "classify": ["a good film", ""],
        "classify --why": ["a good film", "--why", "--json"],
        "classify vectors": ["--input", str(tmp_path / "vectors.jsonl")],
        "evaluate vectors": [str(tmp_path / "vectors.jsonl")],
    }[command]
    (tmp_path / "held_out.txt").write_text("hello world", encoding="utf-8")
    (tmp_path / "vectors.jsonl").write_text('{"x": [0.5, 1], "label": [0, 1]}\n', encoding="utf-8")
    name, _, _ = command.partition(" ")
    writers = {
        "classify": write_tiny_classifier,
        "classify --why": write_tiny_classifier,
        "classify vectors": write_tiny_vector_classifier,
        "evaluate vectors": write_tiny_regressor,
    }
    writers.get(command, write_tiny_bundle)(tmp_path / "bundle")
    call = "import sys\nfrom textrnn.cli import main\nif main(sys.argv[1:]): sys.exit('the command failed')"
    loaded = loaded_by(call, name, str(tmp_path / "bundle"), *arguments)
    assert "textrnn" in loaded
    assert not loaded & (TRAINING_ONLY | {"sentencepiece"})


def test_a_loaded_training_package_is_noticed() -> None:
    assert loaded_by("import onnx") & TRAINING_ONLY == {"onnx"}
