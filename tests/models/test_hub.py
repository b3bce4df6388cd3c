"""Models of the hub: uploaded, downloaded, used without a network, and what is said when something is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import Result, told
from fake_hub import TOKEN, FakeHub, Repository, serving
from tiny_bundle import write_tiny_bundle, write_tiny_classifier

from textrnn.bundle import MANIFEST, read_bundle
from textrnn.errors import UserError
from textrnn.models.hub import download

pytest.importorskip("huggingface_hub")
NAME = "tester/tiny"
NOBODY = "http://127.0.0.1:9"  # nothing listens there


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with serving() as served:
        yield served


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_tiny_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


def published(hub: FakeHub, folder: Path, **options: Any) -> Repository:
    """The model as another machine has uploaded it."""
    repository = hub.repositories[NAME] = Repository(**options)
    repository.commit({path.name: path.read_bytes() for path in folder.iterdir()})
    return repository


class Machine:
    """A machine with a cache of its own. The client of the hub reads its settings once, so each call is a process."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache

    def call(self, address: str, *argv: object, token: str | None = None, offline: bool = False) -> Result:
        root = Path(__file__).resolve().parent.parent.parent
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
            "PYTHONPATH": str(root),
            "HF_ENDPOINT": address,
            "HF_HOME": str(self.cache),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
            **({"HF_TOKEN": token} if token else {}),
            **({"HF_HUB_OFFLINE": "1"} if offline else {}),
        }
        command = [sys.executable, "-m", "textrnn", *map(str, argv)]
        run = subprocess.run(command, capture_output=True, env=environment, timeout=120, cwd=self.cache.parent)
        return Result(run.returncode, run.stdout.decode(), run.stderr.decode())


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "cache")


GENERATE = ("generate", f"hf://{NAME}", "--length", 5, "--seed", 1)


def test_a_pushed_model_is_used_elsewhere_and_then_without_a_network(
    hub: FakeHub, bundle: Path, machine: Machine, tmp_path: Path
) -> None:
    pushed = machine.call(hub.address, "push", bundle, NAME, "--private", "--message", "First", token=TOKEN)
    assert (pushed.code, pushed.out) == (0, f"hf://{NAME}\n"), pushed.err
    repository = hub.repositories[NAME]
    assert repository.private and repository.messages == ["First"]
    (files,) = repository.commits.values()
    assert f"hf://{NAME}" in files["README.md"].decode()
    assert {**files, "README.md": b""}.keys() == {"README.md", MANIFEST, *read_bundle(bundle).manifest.files}

    other = Machine(tmp_path / "other cache")
    first = other.call(hub.address, *GENERATE, token=TOKEN)
    assert first.code == 0, first.err
    assert first.out == machine.call(hub.address, "generate", bundle, *GENERATE[2:]).out
    for address, offline in ((NOBODY, False), (hub.address, True)):
        asked = len(hub.requests)
        again = other.call(address, *GENERATE, offline=offline)
        assert (again.code, again.out) == (0, first.out), again.err
        assert len(hub.requests) == asked


def test_a_new_version_is_used_and_an_old_one_stays_by_its_revision(
    hub: FakeHub, bundle: Path, machine: Machine, tmp_path: Path
) -> None:
    repository = published(hub, bundle)
    (old,) = repository.commits
    assert "language_model" in machine.call(hub.address, "info", f"hf://{NAME}").out
    write_tiny_classifier(tmp_path / "classifier")
    repository.commit({path.name: path.read_bytes() for path in (tmp_path / "classifier").iterdir()})
    assert "kind       classifier" in machine.call(hub.address, "info", f"hf://{NAME}").out
    assert "language_model" in machine.call(hub.address, "info", f"hf://{NAME}@{old}").out
    line = told(machine.call(hub.address, "info", f"hf://{NAME}@v7"))
    assert f"hf://{NAME}@v7 must name a branch, tag or commit" in line


def test_only_what_the_manifest_lists_is_downloaded(hub: FakeHub, bundle: Path, machine: Machine) -> None:
    published(hub, bundle).commit(
        {**{path.name: path.read_bytes() for path in bundle.iterdir()}, "pytorch_model.bin": b"x" * 1000}
    )
    assert machine.call(hub.address, *GENERATE).code == 0
    assert not [request for request in hub.requests if "pytorch_model" in request]


@pytest.mark.parametrize("file", ["model.onnx", MANIFEST])
def test_changed_files_are_refused(hub: FakeHub, bundle: Path, machine: Machine, file: str) -> None:
    data = (bundle / file).read_bytes()
    (bundle / file).write_bytes(data[:-2] + b"  ")
    published(hub, bundle)
    line = told(machine.call(hub.address, *GENERATE))
    assert file in line
    assert not list(machine.cache.glob("textrnn/*/*"))


def test_a_file_that_is_missing_and_a_model_of_another_library_are_said(
    hub: FakeHub, bundle: Path, machine: Machine
) -> None:
    (bundle / "tokenizer.json").unlink()
    repository = published(hub, bundle)
    assert "lacks tokenizer.json" in told(machine.call(hub.address, *GENERATE))
    repository.commit({"config.json": b"{}"})
    assert "it has no manifest.json" in told(machine.call(hub.address, *GENERATE))


def test_what_is_missing_is_said_in_one_line(hub: FakeHub, bundle: Path, machine: Machine) -> None:
    assert f"hf://{NAME} was not found on the hub" in told(machine.call(hub.address, *GENERATE))
    assert "the hub did not respond" in told(machine.call(NOBODY, *GENERATE))
    assert "the hub did not respond" in told(machine.call(hub.address, *GENERATE, offline=True))
    assert "HF_TOKEN" in told(machine.call(hub.address, "push", bundle, NAME))
    assert "HF_TOKEN" in told(machine.call(hub.address, "push", bundle, NAME, token="hf_wrong"))
    assert "could not be reached" in told(machine.call(NOBODY, "push", bundle, NAME, token=TOKEN))
    published(hub, bundle, private=True)
    assert "if it is private" in told(machine.call(hub.address, *GENERATE))
    assert machine.call(hub.address, *GENERATE, token=TOKEN).code == 0


@pytest.mark.parametrize("address", ["hf://tiny", "hf://", "hf://a/b/c", "hf://a/b@"])
def test_an_address_has_a_user_and_a_model(address: str) -> None:
    with pytest.raises(UserError, match="USER/MODEL"):
        download(address)


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"pip install 'textrnn\[hub\]'"):
        download(f"hf://{NAME}")
