"""On-disk format of a finished model: a folder with a manifest that lists every file and its hash.

manifest.json holds the format version, the kind of model, the tokenizer, the graphs with their inputs and outputs, the
parameters of the runtime, the metrics on held-out data, the whole config, and size and SHA-256 of every other file.
Nothing is ever unpickled, and nothing outside the folder is read. README.md, the model card, is for people: no program
reads it, the manifest does not list it, and it may be edited.

The config is information for people. No program parses it, so that a bundle remains valid after a setting is renamed.
Programs read `runtime`; `RUNTIME` and `SOURCES` define its entries and their ranges. Their names belong to this format,
not to the settings. Every entry of a kind must exist and be in its range. Unknown entries are ignored: a later version
may add entries that an older version does not need. A change that an older version would misread increments
`FORMAT_VERSION`.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from textrnn.errors import UserError
from textrnn.files import new_folder, sha256

FORMAT = "textrnn-bundle"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"
CARD = "README.md"
MAX_MANIFEST_BYTES = 16_000_000
_LOCATION = b"location"
PRECISIONS = ("float32", "int8")

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_T = TypeVar("_T")

_Rule = tuple[str, Callable[[Any], bool]]
"""Requirement on a value: its description, and a function that checks it."""


def _whole(low: int, high: int) -> _Rule:
    return f"a whole number from {low} to {high}", lambda value: type(value) is int and low <= value <= high


def _number(low: float, high: float) -> _Rule:
    return f"a number from {low} to {high}", lambda value: type(value) in (int, float) and low <= value <= high


def _one_of(*choices: str) -> _Rule:
    return f"one of {', '.join(choices)}", lambda value: type(value) is str and value in choices


def _list_of(what: str, of: type) -> _Rule:
    return f"a list of {what}", lambda value: type(value) is list and all(type(item) is of for item in value)


_TEXT: _Rule = ("a string", lambda value: type(value) is str)
_FLAG: _Rule = ("true or false", lambda value: type(value) is bool)
_SECTION: _Rule = ("an object", lambda value: type(value) is dict)
_MOST = 2**31 - 1

SOURCES: Mapping[str, _Rule] = {
    "text": _TEXT,
    "label": _TEXT,
    "label_names": _list_of("strings", str),
    "values": _list_of("strings", str),
    "document": _one_of("file", "line"),
    "separate_documents": _FLAG,
    "season": _whole(0, _MOST),
    "errors": _one_of("strict", "replace"),
}
"""Entries of `runtime.sources`: how the training files were read. Commands read other files in the same way.

``text``, ``label`` and ``values`` name columns. ``label_names`` are names of labels as in ``0=negative``. ``document``
says whether a document of plain text is a file or a line. ``season`` is the season of a series.
"""

_SHARED: Mapping[str, _Rule] = {"sources": _SECTION, "architecture": _SECTION, "tokenizer_settings": _SECTION}
_OF_VECTORS: Mapping[str, _Rule] = {
    "steps": _one_of("rows", "values"),
    "stride": _whole(1, _MOST),
    "hidden_dim": _whole(1, _MOST),
}
RUNTIME: Mapping[str, Mapping[str, _Rule]] = {
    "language_model": {**_SHARED, "never_drawn": _list_of("whole numbers", int)},
    "classifier": {**_SHARED, "max_length": _whole(2, _MOST), "segment_length": _whole(0, _MOST)},
    "multilabel_classifier": {
        **_SHARED,
        "max_length": _whole(2, _MOST),
        "segment_length": _whole(0, _MOST),
        "label_separator": _TEXT,
        "thresholds": _list_of("numbers", float),
    },
    "vector_classifier": {**_SHARED, **_OF_VECTORS},
    "regressor": {**_SHARED, **_OF_VECTORS},
    "forecaster": _SHARED,
    "text_to_text": {
        **_SHARED,
        "target": _TEXT,
        "target_tokenizer": _SECTION,
        "longest_source": _whole(1, _MOST),
        "longest_target": _whole(1, _MOST),
        "length_penalty": _number(0, 10),
    },
    "recognizer": {
        **_SHARED,
        "audio": _SECTION,
        "frame_stack": _whole(1, 1000),
        "hidden_dim": _whole(1, _MOST),
    },
}
"""Entries of `Manifest.runtime` by kind of model."""

OPTIONAL: Mapping[str, Mapping[str, _Rule]] = {
    "language_model": {"prompt": _TEXT},
    "forecaster": {"columns": _list_of("strings", str)},
    "vector_classifier": {"audio": _SECTION},
}
"""Entries that not every bundle of a kind has."""

AUDIO: Mapping[str, _Rule] = {"sample_rate": _whole(1000, _MOST), "mel_bins": _whole(1, 1024), "recording": _TEXT}
"""Entries of `runtime.audio`, of a classifier or recognizer that reads log-mel frames of recordings.

Recordings are mixed to mono and resampled to ``sample_rate``. Frames are those of Kaldi with ``mel_bins`` values: 25 ms
long, one every 10 ms, without dither. ``recording`` names the column of paths in a table.
"""


@dataclass(frozen=True)
class Tensor:
    """Input or output of a graph. A dimension is a number, or the name of a dynamic dimension such as "batch"."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Graph:
    """ONNX file of the bundle with its inputs and outputs."""

    file: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True)
class TokenizerFile:
    """Kind of a tokenizer and its file in the bundle."""

    kind: str
    file: str


@dataclass(frozen=True)
class FileEntry:
    """Required SHA-256, in hexadecimal digits, and size of a file of the bundle."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """Manifest of a bundle: all metadata of the model and its files.

    Attributes:
        kind: kind of model, a key of `RUNTIME`.
        precision: precision of the weights, "float32" or "int8".
        tokenizer: tokenizer, of source texts if there are two; None for a model that reads vectors.
        start_id: token before every text of a language model, else None.
        graphs: graphs by use: "step" (one step per call), "sequence" (many steps per call), "generate" (generates
            tokens); for a classifier or regressor "classify" or "regress" (whole sequences); for text to text "encode"
            (whole sources) and "decode" (one target token per call); for a recognizer "recognize" (whole recordings).
        labels: labels of a classifier, else None.
        metrics: metrics on held-out data.
        runtime: parameters of the runtime, by kind of model:
            language_model: ``never_drawn``, ids of `textrnn.generation.untrained`; ``prompt``, an example of one;
            classifier: ``max_length`` and ``segment_length``, maximum tokens of a text and tokens of a segment;
            vector_classifier, regressor: ``steps`` of a record (`textrnn.data.vectors.arrange`),
            ``stride`` and ``hidden_dim`` of the network;
            forecaster: ``columns``, names of the values of a step;
            text_to_text: ``target``, the column of targets; ``target_tokenizer``, kind and file; ``longest_source`` and
            ``longest_target``, tokens of the longest training texts; ``length_penalty`` of the beam search;
            recognizer: ``audio`` (`AUDIO`), how recordings become frames; ``frame_stack``, frames of a step, and
            ``hidden_dim`` of the network;
            all: ``sources`` (`SOURCES`); ``architecture`` and ``tokenizer_settings``, for training that starts from
            this model.
        config: the whole resolved config of the training run; information only.
        card: facts of the model card that nothing else in the manifest says (`textrnn.models.card`); information only.
        created_with: versions by package.
        files: all files except the manifest; `write_bundle` fills it in.
    """

    kind: str
    precision: str
    tokenizer: TokenizerFile | None
    start_id: int | None
    graphs: Mapping[str, Graph]
    labels: tuple[str, ...] | None = None
    runtime: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)
    created_with: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, FileEntry] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the text of manifest.json."""
        document = {"format": FORMAT, "format_version": FORMAT_VERSION, **dataclasses.asdict(self)}
        return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


@dataclass(frozen=True)
class Bundle:
    """Bundle folder whose manifest and files were checked."""

    folder: Path
    manifest: Manifest

    @property
    def tokenizer(self) -> TokenizerFile:
        """Tokenizer of a model that reads text.

        Raises:
            UserError: the model reads vectors.
        """
        if self.manifest.tokenizer is None:
            raise UserError(f"a model that reads text is needed, {self.folder} reads vectors; give another")
        return self.manifest.tokenizer

    def path(self, file: str) -> Path:
        """Return the path of a file of the bundle."""
        return self.folder / file


def find_bundle(path: Path) -> Path:
    """Return the bundle folder at `path`: `path` itself, or `path`/bundle of a training run.

    Raises:
        UserError: neither exists; the message says what was found.
    """
    for folder in (path, path / "bundle"):
        if (folder / MANIFEST).is_file():
            return folder
    if not path.exists():
        raise UserError(f"a model must be a bundle or a run folder, nothing was found at: {path}; check the name")
    if not path.is_dir():
        raise UserError(f"a model must be a bundle or a run folder, a file was found: {path}; give its folder")
    names = sorted(entry.name for entry in path.iterdir())
    found = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") if names else "nothing"
    raise UserError(
        f"a model must be a folder with {MANIFEST} or bundle/{MANIFEST} in it, {path} has: {found}; "
        "if it is a training run, let it end or use: textrnn export"
    )


def write_bundle(folder: Path, manifest: Manifest, source: Path | Mapping[str, Path]) -> Bundle:
    """Write a new bundle atomically.

    Args:
        folder: bundle folder, which must not exist yet.
        manifest: manifest; its `files` are replaced by those of `source`, without the card.
        source: a folder, from which every file is copied, or a mapping of names in the bundle to paths.

    Raises:
        UserError: the folder exists, the manifest names a file that `source` lacks, or the files cannot be written.
    """
    if isinstance(source, Path):
        source = {path.name: path for path in sorted(source.iterdir()) if path.name != MANIFEST}
    with new_folder(folder) as temporary:
        for name, path in source.items():
            shutil.copyfile(path, temporary / _plain(name))
        listed = [name for name in source if name != CARD]
        files = {name: FileEntry(sha256(temporary / name), (temporary / name).stat().st_size) for name in listed}
        manifest = dataclasses.replace(manifest, files=files)
        (temporary / MANIFEST).write_text(manifest.to_json(), encoding="utf-8", newline="\n")
        read_bundle(temporary)  # fails, and nothing is kept, if the bundle cannot be read back
    return Bundle(folder, manifest)


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle and check all its files.

    Raises:
        UserError: the folder has no manifest, the manifest cannot be read or has a newer format, or a file is missing,
            is a link out of the folder, refers to weights outside the folder, or has another size or hash than in the
            manifest. The message names the file.
    """
    if not (folder / MANIFEST).is_file():
        raise UserError(f"a bundle must have a {MANIFEST}, none was found in: {folder}; check the name")
    try:
        manifest = read_manifest(_inside(folder, MANIFEST))
        for name, entry in manifest.files.items():
            _check_file(folder, name, entry)
        for graph in manifest.graphs.values():
            _check_external_data(folder / graph.file, manifest.files)
    except OSError as error:
        raise UserError(
            f"{error.filename or folder} could not be read: {error.strerror}; check its permissions"
        ) from error
    return Bundle(folder, manifest)


def read_manifest(path: Path) -> Manifest:
    """Read a manifest, without the files that it lists.

    Raises:
        UserError: it is damaged, or of a newer format.
    """
    with path.open("rb") as file:
        data = file.read(MAX_MANIFEST_BYTES + 1)
    if len(data) > MAX_MANIFEST_BYTES:
        raise UserError(f"{path} must have at most {MAX_MANIFEST_BYTES:,} bytes, has more; it is no bundle's manifest")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} must be JSON, it is damaged: {error}; copy or export the bundle again") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise UserError(f'{path} must have "format": "{FORMAT}", it has not; it belongs to something else')
    version = document.get("format_version")
    if type(version) is not int or version < 1:
        raise UserError(f"{path}: format_version must be a whole number above 0, was: {version!r}; export it again")
    if version > FORMAT_VERSION:
        raise UserError(
            f"{path} was made by a newer textrnn (format {version}, this one reads {FORMAT_VERSION}); upgrade textrnn"
        )
    return _Reader(path).manifest(document)


def _check_file(folder: Path, name: str, entry: FileEntry) -> None:
    path = folder / name
    if not path.exists():
        raise UserError(f"{path} is missing, the manifest lists it; copy or export the bundle again")
    _inside(folder, name)
    if not path.is_file():
        raise UserError(f"{path} must be a file, it is not; copy or export the bundle again")
    size = path.stat().st_size
    if size != entry.bytes:
        raise UserError(
            f"{path} must have {entry.bytes:,} bytes as the manifest says, has {size:,}; "
            "it was cut short or replaced, copy or export the bundle again"
        )
    if sha256(path) != entry.sha256:
        raise UserError(
            f"{path} must have the SHA-256 that the manifest says, it has another; "
            "it was changed or swapped, copy or export the bundle again"
        )


def _check_external_data(path: Path, listed: Collection[str]) -> None:
    """Raise a UserError if a graph refers to weights in a file that the manifest does not list.

    Older onnxruntime follows such a reference to any file on the machine. The graph stores the place of a tensor as a
    pair of strings, "location" and a file name, in the form that every protocol buffer writer uses. The key in another
    form is an error too. The message names the file.
    """
    data = path.read_bytes()
    begin = data.find(_LOCATION)
    while begin >= 0:
        name = _string_after(data, begin + len(_LOCATION)) if data[begin - 2 : begin] == b"\x0a\x08" else None
        if name not in listed:
            raise UserError(
                f"{path} refers to weights outside the bundle: {name!r}; get the bundle again from its source"
            )
        begin = data.find(_LOCATION, begin + 1)


def _string_after(data: bytes, begin: int) -> str | None:
    """Return the value (field 2, under 128 bytes) of a protocol buffer's string pair; None if it does not follow."""
    head = data[begin : begin + 2]
    if len(head) < 2 or head[0] != 0x12 or head[1] >= 128:
        return None
    return data[begin + 2 : begin + 2 + head[1]].decode("utf-8", "replace")


def _inside(folder: Path, name: str) -> Path:
    """Return the path of a file; raise a UserError if it is a link out of the folder."""
    path = folder / name
    if path.resolve().parent != folder.resolve():
        raise UserError(f"{path} must lie in the bundle, it is a link to: {path.resolve()}; put the file itself there")
    return path


def _plain(name: str) -> str:
    if not _PLAIN_NAME.fullmatch(name) or name == MANIFEST:
        raise UserError(
            f"a file of a bundle must have a plain name of letters, digits, '.', '_' and '-', was: {name!r}; "
            "export the bundle again"
        )
    return name


class _Reader:
    """Parser of a manifest from JSON. Its errors name the file and the invalid entry."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def manifest(self, document: dict[str, Any]) -> Manifest:
        graphs = self._get(document, "graphs", dict)
        labels = document.get("labels")
        manifest = Manifest(
            kind=self._get(document, "kind", str),
            precision=self._get(document, "precision", str),
            tokenizer=(
                None
                if document.get("tokenizer", 0) is None
                else self._tokenizer(self._get(document, "tokenizer", dict))
            ),
            start_id=None if document.get("start_id", 0) is None else self._get(document, "start_id", int),
            graphs={use: self._graph(self._get(graphs, use, dict)) for use in graphs},
            labels=None if labels is None else tuple(self._list(document, "labels", str)),
            runtime=self._get(document, "runtime", dict),
            metrics=self._get(document, "metrics", dict),
            config=self._get(document, "config", dict),
            card=self._get(document, "card", dict) if "card" in document else {},
            created_with=self._get(document, "created_with", dict),
            files=self._files(self._get(document, "files", dict)),
        )
        if manifest.kind in RUNTIME:  # else the kind is of a later version, and `textrnn.load` raises an error
            optional = OPTIONAL.get(manifest.kind, {})
            given = {name: rule for name, rule in optional.items() if name in manifest.runtime}
            rules = {**RUNTIME[manifest.kind], **given}
            self._check_entries("runtime", manifest.runtime, rules)
            self._check_entries("runtime.sources", manifest.runtime["sources"], SOURCES)
            if "audio" in rules:
                self._check_entries("runtime.audio", manifest.runtime["audio"], AUDIO)
        if manifest.precision not in PRECISIONS:
            raise self._error(f"precision must be one of {', '.join(PRECISIONS)}, was: {manifest.precision!r}")
        in_use = [graph.file for graph in manifest.graphs.values()]
        for name in in_use if manifest.tokenizer is None else [manifest.tokenizer.file, *in_use]:
            if name not in manifest.files:
                raise self._error(f"files must list every file in use, {name!r} is missing")
        return manifest

    def _check_entries(self, section: str, values: Mapping[str, Any], rules: Mapping[str, _Rule]) -> None:
        for name, (rule, holds) in rules.items():
            if name not in values:
                raise self._error(f"{section}.{name} must be given, is missing")
            if not holds(values[name]):
                raise self._error(f"{section}.{name} must be {rule}, was: {values[name]!r:.60}")

    def _tokenizer(self, values: dict[str, Any]) -> TokenizerFile:
        return TokenizerFile(kind=self._get(values, "kind", str), file=self._get(values, "file", str))

    def _graph(self, values: dict[str, Any]) -> Graph:
        return Graph(
            file=self._get(values, "file", str),
            inputs=tuple(self._tensor(tensor) for tensor in self._list(values, "inputs", dict)),
            outputs=tuple(self._tensor(tensor) for tensor in self._list(values, "outputs", dict)),
        )

    def _tensor(self, values: dict[str, Any]) -> Tensor:
        shape = self._get(values, "shape", list)
        if not all(type(dimension) in (int, str) for dimension in shape):
            raise self._error(f"shape must hold numbers and names, was: {shape!r}")
        return Tensor(self._get(values, "name", str), self._get(values, "dtype", str), tuple(shape))

    def _files(self, values: dict[str, Any]) -> dict[str, FileEntry]:
        entries = {_plain(name): self._get(values, name, dict) for name in values}
        return {
            name: FileEntry(self._get(entry, "sha256", str), self._get(entry, "bytes", int))
            for name, entry in entries.items()
        }

    def _list(self, values: dict[str, Any], name: str, of: type[_T]) -> list[_T]:
        items = self._get(values, name, list)
        if not all(type(item) is of for item in items):
            raise self._error(f"{name} must hold {of.__name__} only, was: {items!r}")
        return items

    def _get(self, values: dict[str, Any], name: str, of: type[_T]) -> _T:
        if name not in values:
            raise self._error(f"{name} must be given, is missing")
        value = values[name]
        if type(value) is not of:  # not isinstance: bool is a subclass of int
            raise self._error(f"{name} must be {of.__name__}, was: {value!r}")
        return value

    def _error(self, problem: str) -> UserError:
        return UserError(f"{self._path}: {problem[:300]}; export the bundle again")
