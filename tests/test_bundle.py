"""A bundle comes back as it was written, and whatever is wrong with one is refused by the name of the file."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_bundle import tiny_manifest, tiny_network, write_tiny_bundle

from textrnn.bundle import MANIFEST, MAX_MANIFEST_BYTES, RUNTIME, SOURCES, find_bundle, read_bundle, write_bundle
from textrnn.errors import UserError
from textrnn.files import sha256

FILES = ["filtered.onnx", "generate.onnx", "model.onnx", "sequence.onnx", "tokenizer.json"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("finished") / "bundle").folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A bundle that may be damaged."""
    return Path(shutil.copytree(finished, tmp_path / "bundle"))


def edit_manifest(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "manifest.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    edit(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def setting(value: object, *keys: str) -> Callable[[dict[str, Any]], None]:
    """Return an edit of a manifest that gives the entry at these keys a value."""

    def edit(document: dict[str, Any]) -> None:
        *sections, name = keys
        for section in sections:
            document = document[section]
        document[name] = value

    return edit


def link(path: Path, target: Path) -> None:
    """Make a symbolic link, or skip the test where a user may not."""
    try:
        path.symlink_to(target, target_is_directory=target.is_dir())
    except OSError:
        pytest.skip("needs the right to make symbolic links")


def refusal(folder: Path) -> str:
    """The message with which a bundle is refused: one line that names where."""
    with pytest.raises(UserError) as caught:
        read_bundle(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


class TestWriting:
    def test_what_is_written_is_read(self, finished: Path) -> None:
        bundle = read_bundle(finished)
        assert dataclasses.replace(bundle.manifest, files={}) == tiny_manifest(tiny_network())
        assert sorted(bundle.manifest.files) == FILES
        for name, entry in bundle.manifest.files.items():
            assert (entry.sha256, entry.bytes) == (sha256(bundle.path(name)), bundle.path(name).stat().st_size)

    def test_the_manifest_says_what_it_is(self, finished: Path) -> None:
        document = json.loads((finished / "manifest.json").read_bytes())
        assert (document["format"], document["format_version"]) == ("textrnn-bundle", 1)
        assert document["tokenizer"] == {"kind": "char", "file": "tokenizer.json"}
        temperature = {"name": "temperature", "dtype": "float64", "shape": ["batch"]}
        assert document["graphs"]["generate"]["inputs"][-1] == temperature
        assert document["graphs"]["step"]["inputs"][1] == {
            "name": "state",
            "dtype": "float32",
            "shape": [2, "batch", 5],
        }

    def test_files_may_come_from_several_places(self, finished: Path, tmp_path: Path) -> None:
        (tmp_path / "anywhere.bin").write_bytes((finished / "model.onnx").read_bytes())
        source = {path.name: path for path in finished.iterdir() if path.name != MANIFEST}
        source["model.onnx"] = tmp_path / "anywhere.bin"
        write_bundle(tmp_path / "bundle", tiny_manifest(tiny_network()), source)
        assert read_bundle(tmp_path / "bundle").manifest.files == read_bundle(finished).manifest.files

    def test_an_existing_folder_is_left_alone(self, finished: Path, tmp_path: Path) -> None:
        (tmp_path / "bundle").mkdir()
        (tmp_path / "bundle" / "mine.txt").write_text("mine")
        with pytest.raises(UserError, match="must not exist yet"):
            write_bundle(tmp_path / "bundle", tiny_manifest(tiny_network()), finished)
        assert [path.name for path in (tmp_path / "bundle").iterdir()] == ["mine.txt"]

    def test_nothing_is_left_of_a_bundle_that_could_not_be_written(self, finished: Path, tmp_path: Path) -> None:
        incomplete = {"tokenizer.json": finished / "tokenizer.json"}
        with pytest.raises(UserError, match=r"'model\.onnx' is missing"):
            write_bundle(tmp_path / "bundle", tiny_manifest(tiny_network()), incomplete)
        with pytest.raises(UserError, match="could not be written"):
            write_bundle(tmp_path / "bundle", tiny_manifest(tiny_network()), {"model.onnx": tmp_path / "absent"})
        with pytest.raises(UserError, match=r"plain name .* '\.\./model\.onnx'"):
            write_bundle(tmp_path / "bundle", tiny_manifest(tiny_network()), {"../model.onnx": finished / "model.onnx"})
        assert list(tmp_path.iterdir()) == []


class TestFinding:
    def test_a_bundle_or_a_run_with_one(self, folder: Path) -> None:
        assert find_bundle(folder) == folder
        assert find_bundle(folder.parent) == folder

    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"nothing was found at: .*shakespeare; check the name"):
            find_bundle(tmp_path / "shakespeare")

    def test_a_file(self, folder: Path) -> None:
        with pytest.raises(UserError, match=r"a file was found: .*model\.onnx; give its folder"):
            find_bundle(folder / "model.onnx")

    def test_a_folder_of_something_else(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="has: nothing"):
            find_bundle(tmp_path)
        for name in "abcdefgh":
            (tmp_path / name).mkdir()
        with pytest.raises(UserError, match=r"has: a, b, c, d, e, \.\.\.; if it is a training run, .*textrnn export"):
            find_bundle(tmp_path)


class TestFaults:
    @pytest.mark.parametrize(
        "name", ["model.onnx", "sequence.onnx", "generate.onnx", "filtered.onnx", "tokenizer.json"]
    )
    def test_a_missing_file(self, folder: Path, name: str) -> None:
        (folder / name).unlink()
        assert f"{name} is missing" in refusal(folder)

    def test_a_truncated_file(self, folder: Path) -> None:
        content = (folder / "model.onnx").read_bytes()
        (folder / "model.onnx").write_bytes(content[:-1])
        message = refusal(folder)
        assert "model.onnx must have" in message
        assert f"has {len(content) - 1:,}" in message

    def test_an_edited_file(self, folder: Path) -> None:
        content = bytearray((folder / "model.onnx").read_bytes())
        content[len(content) // 2] ^= 1
        (folder / "model.onnx").write_bytes(content)
        assert "model.onnx must have the SHA-256" in refusal(folder)

    def test_swapped_files(self, folder: Path) -> None:
        (folder / "model.onnx").rename(folder / "x")
        (folder / "sequence.onnx").rename(folder / "model.onnx")
        (folder / "x").rename(folder / "sequence.onnx")
        assert "model.onnx must have" in refusal(folder)

    def test_a_folder_in_place_of_a_file(self, folder: Path) -> None:
        (folder / "model.onnx").unlink()
        (folder / "model.onnx").mkdir()
        assert "model.onnx must be a file" in refusal(folder)

    def test_no_manifest(self, folder: Path) -> None:
        (folder / "manifest.json").unlink()
        assert "none was found in" in refusal(folder)
        assert "none was found in" in refusal(folder / "absent")

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            (b"", "must be JSON"),
            (b'{"format": "textrnn-bundle", "format_ver', "must be JSON"),
            (b"\xff\xfe\x00", "must be JSON"),
            (b"[" * 100_000, "must be JSON"),
            (pickle.dumps(RuntimeError("unpickled")), "must be JSON"),
            (b"[1, 2]", "belongs to something else"),
            (b'{"format": "onnx"}', "belongs to something else"),
            (b" " * (MAX_MANIFEST_BYTES + 1), "must have at most 16,000,000 bytes"),
        ],
        ids=["empty", "truncated", "binary", "deep", "pickle", "list", "foreign", "oversized"],
    )
    def test_a_manifest_that_is_none(self, folder: Path, content: bytes, problem: str) -> None:
        (folder / "manifest.json").write_bytes(content)
        message = refusal(folder)
        assert "manifest.json" in message
        assert problem in message

    def test_a_newer_format(self, folder: Path) -> None:
        edit_manifest(folder, lambda document: document.update(format_version=2))
        assert "made by a newer textrnn (format 2, this one reads 1); upgrade" in refusal(folder)

    def test_a_newer_format_need_not_look_like_this_one(self, folder: Path) -> None:
        (folder / "manifest.json").write_text('{"format": "textrnn-bundle", "format_version": 7}')
        assert "format 7, this one reads 1" in refusal(folder)

    @pytest.mark.parametrize("version", [0, -1, "1", 1.0, True, None])
    def test_a_version_that_is_none(self, folder: Path, version: object) -> None:
        edit_manifest(folder, lambda document: document.update(format_version=version))
        assert "format_version must be a whole number" in refusal(folder)

    @pytest.mark.parametrize(
        "name",
        [
            "../outside.bin",
            "/etc/hostname",
            "sub/file",
            "..",
            ".",
            "",
            ".hidden",
            "a\\b",
            "c:d",
            "manifest.json",
            "a\n",
        ],
    )
    def test_a_name_that_could_leave_the_folder(self, folder: Path, name: str) -> None:
        (folder.parent / "outside.bin").write_bytes(b"")
        edit_manifest(folder, lambda document: document["files"].update({name: {"sha256": "0" * 64, "bytes": 0}}))
        assert "must have a plain name" in refusal(folder)

    @pytest.mark.parametrize("name", ["model.onnx", "manifest.json"])
    def test_a_link_that_leaves_the_folder(self, folder: Path, name: str) -> None:
        (folder / name).rename(folder.parent / name)
        link(folder / name, folder.parent / name)
        assert f"{name} must lie in the bundle, it is a link to" in refusal(folder)

    def test_a_link_to_the_bundle_itself_is_fine(self, folder: Path) -> None:
        link(folder.parent / "latest", folder)
        assert read_bundle(folder.parent / "latest").manifest.kind == "language_model"

    def test_a_pipe_is_not_waited_for(self, folder: Path) -> None:
        (folder / "model.onnx").unlink()
        if sys.platform == "win32":
            pytest.skip("needs a system with named pipes")
        os.mkfifo(folder / "model.onnx")
        assert "model.onnx must be a file" in refusal(folder)

    @pytest.mark.parametrize(
        "name", ["model.onnx", "sequence.onnx", "generate.onnx", "filtered.onnx", "tokenizer.json"]
    )
    def test_a_file_in_use_that_is_not_listed(self, folder: Path, name: str) -> None:
        edit_manifest(folder, lambda document: document["files"].pop(name))
        assert f"files must list every file in use, {name!r} is missing" in refusal(folder)

    @pytest.mark.parametrize(
        ("field", "value", "problem"),
        [
            ("kind", 3, "kind must be str, was: 3"),
            ("precision", "float16", "precision must be one of float32, int8, was: 'float16'"),
            ("start_id", True, "start_id must be int, was: True"),
            ("start_id", "2", "start_id must be int, was: '2'"),
            ("graphs", [], "graphs must be dict, was: []"),
            (
                "graphs",
                {"step": {"file": "model.onnx", "inputs": ["ids"], "outputs": []}},
                "inputs must hold dict only",
            ),
            ("tokenizer", {"kind": "char"}, "file must be given, is missing"),
            ("labels", ["good", 1], "labels must hold str only"),
            ("files", {"model.onnx": {"sha256": "0", "bytes": "9"}}, "bytes must be int, was: '9'"),
        ],
    )
    def test_a_field_of_the_wrong_kind(self, folder: Path, field: str, value: object, problem: str) -> None:
        edit_manifest(folder, lambda document: document.update({field: value}))
        assert problem in refusal(folder)

    @pytest.mark.parametrize(
        "field", ["kind", "precision", "tokenizer", "start_id", "graphs", "files", "config", "runtime"]
    )
    def test_a_field_that_is_missing(self, folder: Path, field: str) -> None:
        edit_manifest(folder, lambda document: document.pop(field))
        assert f"{field} must be given, is missing" in refusal(folder)

    @pytest.mark.parametrize(
        ("section", "name", "value", "rule"),
        [
            ("runtime", "never_drawn", [1.0], "a list of whole numbers"),
            ("runtime", "sources", [], "an object"),
            ("runtime", "architecture", None, "an object"),
            ("sources", "text", 1, "a string"),
            ("sources", "label_names", ["a", 1], "a list of strings"),
            ("sources", "document", "page", "one of file, line"),
            ("sources", "document", ["file"], "one of file, line"),
            ("sources", "separate_documents", 1, "true or false"),
            ("sources", "season", -1, "a whole number from 0 to 2147483647"),
            ("sources", "season", True, "a whole number from 0 to 2147483647"),
            ("sources", "season", 2**31, "a whole number from 0 to 2147483647"),
        ],
    )
    def test_a_runtime_entry_out_of_its_range(
        self, folder: Path, section: str, name: str, value: object, rule: str
    ) -> None:
        keys = ("runtime", name) if section == "runtime" else ("runtime", section, name)
        edit_manifest(folder, setting(value, *keys))
        assert f"{name} must be {rule}, was: {value!r}" in refusal(folder)

    @pytest.mark.parametrize("kind", RUNTIME)
    def test_every_runtime_entry_is_needed(self, folder: Path, kind: str) -> None:
        edit_manifest(folder, lambda document: document.update(kind=kind, runtime={}))
        for name in RUNTIME[kind]:
            assert f"runtime.{name} must be given, is missing" in refusal(folder)
            value = {"sources": {}, "stride": 1, "hidden_dim": 1, "max_length": 2, "steps": "rows", "never_drawn": [0]}
            value |= {"label_separator": "|", "thresholds": [0.5], "target": "target", "length_penalty": 1}
            value |= {"longest_source": 1, "longest_target": 1, "frame_stack": 1}
            value |= {"audio": {"sample_rate": 8000, "mel_bins": 20, "recording": "path"}}
            usual: object = value.get(name, 0 if name == "segment_length" else {})
            edit_manifest(folder, setting(usual, "runtime", name))
        for name in SOURCES:
            assert f"runtime.sources.{name} must be given" in refusal(folder)
            known = tiny_manifest(tiny_network()).runtime["sources"][name]
            edit_manifest(folder, setting(known, "runtime", "sources", name))
        assert read_bundle(folder).manifest.kind == kind

    def test_what_a_later_version_adds_is_ignored(self, folder: Path) -> None:
        def edit(document: dict[str, Any]) -> None:
            document["later"] = document["runtime"]["later"] = document["runtime"]["sources"]["later"] = {"a": 1}

        edit_manifest(folder, edit)
        assert read_bundle(folder).manifest.runtime["later"] == {"a": 1}

    json_values = st.recursive(
        st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    )

    @settings(deadline=None)
    @given(st.sampled_from(["tokenizer", "graphs", "labels", "files", "start_id", "runtime"]), json_values)
    def test_no_manifest_breaks_the_reader(self, finished: Path, field: str, value: object) -> None:
        folder = finished.with_name("fuzzed")
        folder.mkdir(exist_ok=True)
        shutil.copy(finished / "manifest.json", folder)
        edit_manifest(folder, lambda document: document.update({field: value}))
        refusal(folder)  # if not for the value, then for the files, which are not there
