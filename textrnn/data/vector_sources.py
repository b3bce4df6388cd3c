"""Sources of labelled vector sequences, read one record at a time in bounded memory.

A source is a string, as in `textrnn.data.sources`. These files are read:

* ``.npz``: arrays ``x`` (records, time), (records, time, features) or (records, rows, columns, channels), and ``y``
  (records,) or (records, outputs). `VectorOptions` may give other names. Nothing is unpickled;
* IDX, the format of MNIST: ``train-images-idx3-ubyte`` with ``train-labels-idx1-ubyte`` in the same folder, with or
  without ``.gz``;
* ``.csv`` and ``.tsv``: one sequence per record, one column per time step. If a sequence is shorter than the others,
  its last fields are empty. If there is no header line, columns are named by number, from 1;
* ``.json``, ``.jsonl`` and ``.parquet``, and Hugging Face datasets: a column has nested lists of numbers, or images in
  the format of Hugging Face. Several columns of lists become features of the same time steps. Several columns of single
  numbers become consecutive time steps.

``builtin`` names the handwritten digits of scikit-learn, if it is installed: 8 rows of 8 values, ten classes.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from itertools import chain, repeat
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from textrnn.config import DataConfig
from textrnn.data.hugging_face import RECORDS_AT_ONCE, HubDataset, reading_parquet, record_batches
from textrnn.data.records import first_line, label_value, whole_characters
from textrnn.data.sources import Files, find
from textrnn.data.tables import delimited_rows, header, json_objects
from textrnn.data.text_files import opened, text_suffix
from textrnn.data.vectors import STEPS, require_width, to_numbers, to_sequence
from textrnn.errors import UserError

BLOCK_BYTES = 1 << 20
LARGEST_RECORD = 256 << 20  # bytes; a file whose header gives a larger size is treated as damaged

Target = str | tuple[float, ...]


class Recordings(Protocol):
    """How sources of recordings are read; `textrnn.data.audio.sources` has it."""

    def records(
        self, source: str, label: str, skipped: Counter[str]
    ) -> Iterator[tuple[str, NDArray[np.float32], str, str]]:
        """Yield the place of each recording, its frames ``(time, features)``, its label and its group.

        Args:
            source: the source.
            label: the label column; empty where labels are not read. Silent recordings are an error then.
            skipped: counter of skipped items by kind, updated in place.
        """

    def identity(self, source: str, label: str) -> list[Any]:
        """Return JSON values that identify the recordings of a source, with their labels and groups."""


@dataclass(frozen=True)
class VectorOptions:
    """Options of reading sequences from a source.

    Args:
        values: names of the columns of numbers; if empty, they are detected.
        label: name of the label column. In an ``.npz`` without an array ``label``, the default means ``y``.
        steps: unit of a time step: ``rows`` of an array, or single ``values``.
        errors: handling of bytes that are not UTF-8: ``strict`` raises an error, ``replace`` substitutes U+FFFD.
        needs_label: whether a source must have the label column. If false, the column is optional and is not used.
        audio: how recordings are read; None if the sources hold numbers.
    """

    values: tuple[str, ...] = ()
    label: str = "label"
    steps: str = "rows"
    errors: str = "strict"
    needs_label: bool = True
    audio: Recordings | None = None

    def __post_init__(self) -> None:
        if self.steps not in STEPS:
            raise UserError(f"steps must be rows or values, was: {self.steps}")
        if self.errors not in ("strict", "replace"):
            raise UserError(f"errors must be strict or replace, was: {self.errors}")
        if self.label in self.values:
            raise UserError(f"the label must not be among the values, was in both: {self.label!r}; leave out one")


class _Raw(NamedTuple):
    """A raw record of a source: its place for messages, its array and its label; None for a missing value or label."""

    place: str
    value: Any
    label: Any
    group: str = ""


def read_vectors(
    sources: Sequence[str],
    options: VectorOptions,
    skipped: Counter[str],
    features: int = 0,
    is_valued: bool = False,
) -> Iterator[tuple[NDArray[Any], Target]]:
    """Yield sequences ``(time, features)``, uint8 or float32, each with its class label or its regression targets.

    Arguments and errors as in `read_grouped`.
    """
    return ((sequence, target) for sequence, target, _ in read_grouped(sources, options, skipped, features, is_valued))


def read_grouped(
    sources: Sequence[str],
    options: VectorOptions,
    skipped: Counter[str],
    features: int = 0,
    is_valued: bool = False,
) -> Iterator[tuple[NDArray[Any], Target, str]]:
    """Yield sequences as `read_vectors`, each with its target and the name of its group, empty where none is read.

    Records without values or label, and files of a folder without records, are skipped and counted.

    Args:
        sources: files, folders, Hugging Face ids or ``builtin``.
        options: options of reading.
        skipped: counter of skipped items by kind, updated in place.
        features: required number of features, that of the training data; 0 means that of the first sequence.
        is_valued: whether labels are the numbers of a regression.

    Raises:
        UserError: a source is missing, cannot be read as the type of its suffix, lacks a column, has a value that is
            not a finite number, or has no labelled record; or sequences have different numbers of features.
    """
    like, outputs = "those trained on had" if features else "the first had", 0
    for source in sources:
        found = False
        for place, value, label, group in _records(source, options, skipped):
            sequence = to_sequence([] if value is None else value, options.steps, place)
            target = _outputs(place, label) if is_valued else _label(place, label, options)
            if not sequence.size:
                skipped["records without values"] += 1
                continue
            if not target:
                skipped["records without a label"] += 1
                continue
            features = features or sequence.shape[1]
            require_width(sequence, features, place, like)
            if isinstance(target, tuple):
                outputs = outputs or len(target)
                if len(target) != outputs:
                    raise UserError(
                        f"every record must have as many numbers for a label, {place} has {len(target)}, the first had "
                        f"{outputs}; mend it, or leave it out"
                    )
            found = True
            yield sequence, target, group
        if not found:
            if options.audio:
                raise UserError(
                    f"a source must hold some labelled recordings, found none in: {source}; give a folder with a "
                    f"folder for each class, or a table of paths and the column {options.label}"
                )
            raise UserError(
                f"a source must hold some labelled vectors, found none in: {source}; give a file of records "
                f"({', '.join(_READERS)}, or IDX) with numbers and label"
            )


def read_unlabelled(
    source: str, options: VectorOptions, skipped: Counter[str], features: int
) -> Iterator[tuple[NDArray[Any], int]]:
    """Yield sequences as `read_vectors`, each with its record number, from 1. Labels are optional and not read.

    Raises:
        UserError: an error of `read_vectors`, except one about labels.
    """
    found = False
    records = _records(source, replace(options, needs_label=False), skipped)
    for number, (place, value, _, _) in enumerate(records, 1):
        sequence = to_sequence([] if value is None else value, options.steps, place)
        if not sequence.size:
            skipped["records without values"] += 1
            continue
        require_width(sequence, features, place, "those trained on had")
        found = True
        yield sequence, number
    if not found:
        raise UserError(
            f"a source must hold some vectors, found none in: {source}; give a file of records "
            f"({', '.join(_READERS)}, or IDX) with numbers"
        )


def vectors_fingerprint(sources: Sequence[str], options: VectorOptions) -> str:
    """Return the SHA-256, in hexadecimal digits, that identifies the data `read_vectors` would read.

    Files count as in `source_fingerprint`.
    """
    audio = options.audio
    if audio:
        parts = [audio.identity(source, options.label) for source in sources]
    else:
        parts = [_identity(source) for source in sources]
    decides = asdict(options)
    if not audio:
        del decides["audio"]
    del decides["needs_label"]  # `read_vectors` always reads the label
    return hashlib.sha256(json.dumps([parts, decides]).encode()).hexdigest()


def _identity(source: str) -> list[Any]:
    if source == "builtin":
        images, labels = _digits()
        return ["builtin", hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()]
    located = find(source)
    if isinstance(located, Files):
        labels_beside = [beside for path in located.paths if (beside := _idx_labels(path))]
        located = replace(located, paths=tuple(dict.fromkeys([*located.paths, *labels_beside])))
    return located.identity()


def _records(source: str, options: VectorOptions, skipped: Counter[str]) -> Iterator[_Raw]:
    if options.audio:
        label = options.label if options.needs_label else ""
        yield from (_Raw(*each) for each in options.audio.records(source, label, skipped))
        return
    if source == "builtin":
        images, labels = _digits()
        yield from (_Raw(f"digit {n}", *pair) for n, pair in enumerate(zip(images, labels.tolist(), strict=True), 1))
        return
    located = find(source)
    if isinstance(located, HubDataset):
        yield from _read_hub(located, options)
        return
    for path in located.paths:
        if _IDX_IMAGES.search(path.name):
            yield from _read_idx(path, options)
        elif text_suffix(path) in _READERS:
            yield from _READERS[text_suffix(path)](path, options)
        elif not _IDX_LABELS.search(path.name):
            skipped["files without records"] += 1


def _digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    try:
        digits = import_module("sklearn.datasets").load_digits()
    except ImportError as error:
        raise UserError(
            "builtin vectors need scikit-learn, it is not installed; pip install scikit-learn, or name a source"
        ) from error
    return digits.images, digits.target


# Labels


def _label(place: str, value: Any, options: VectorOptions) -> str:
    """Return the class of a record; empty if it has none."""
    if isinstance(value, list) and len(value) == 1:
        (value,) = value
    return whole_characters(place, label_value(place, value), options.errors)


def _outputs(place: str, value: Any) -> tuple[float, ...]:
    """Return the regression targets of a record; empty if it has none."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return ()
    try:
        numbers = np.atleast_1d(np.asarray(float(value) if isinstance(value, str) else value, np.float64))
    except (TypeError, ValueError):
        numbers = np.zeros((0, 0))
    if numbers.shape == (1,) and np.isnan(numbers[0]):  # pandas writes a missing value as NaN
        return ()
    with np.errstate(over="ignore"):
        is_finite = np.isfinite(numbers.astype(np.float32)).all()
    if numbers.ndim != 1 or not is_finite:
        raise UserError(
            f"a label of a regression must be a finite number or a list of them, {place} has: {value!r:.60}; name "
            "another column, or set task=classification"
        )
    return tuple(numbers.tolist())


# Part of messages: the options of the command line that name columns.
_BY_COMMAND = " (or --values, --label)"

# Arrays in files


def _each(path: Path, file: BinaryIO, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[Any]:
    """Yield the records of an array ``(records, ...)`` from the rest of a file, as arrays or Python scalars.

    Raises:
        UserError: the size of a record is out of range, or the file is shorter or longer than the array.
    """
    size = math.prod(shape[1:]) * dtype.itemsize
    if not 0 < size <= LARGEST_RECORD:
        raise UserError(
            f"a record must take 1 byte to {LARGEST_RECORD >> 20} MiB, those of {path} take {size:,} bytes; "
            "cut the sequences, or get the file again"
        )
    at_once = max(1, BLOCK_BYTES // size)
    for begin in range(0, shape[0], at_once):
        count = min(at_once, shape[0] - begin)
        data = file.read(count * size)
        if len(data) < count * size:
            raise UserError(
                f"{path} must hold {shape[0]:,} records, as its first bytes say, it ends inside record "
                f"{begin + len(data) // size + 1:,}; get it again"
            )
        block = np.frombuffer(data, dtype).reshape(count, *shape[1:])
        yield from block if len(shape) > 1 else block.tolist()
    if file.read(1):
        raise UserError(f"{path} must end after {shape[0]:,} records, as its first bytes say, it goes on; get it again")


_IDX_IMAGES = re.compile(r"images([-.])idx3-ubyte(\.gz)?$")
_IDX_LABELS = re.compile(r"labels([-.])idx1-ubyte(\.gz)?$")
_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def _idx_labels(path: Path) -> Path | None:
    """Return the label file of an image file; None if there is none."""
    name = _IDX_IMAGES.sub(r"labels\1idx1-ubyte", path.name)
    if name == path.name:
        return None
    beside = [path.with_name(name + end) for end in (".gz", "")]
    return next((labels for labels in beside if labels.is_file()), None)


def _read_idx(path: Path, options: VectorOptions) -> Iterator[_Raw]:
    if not options.needs_label:
        yield from (_Raw(f"{path} record {number}", value, None) for number, value in enumerate(_idx_array(path), 1))
        return
    labels = _idx_labels(path)
    if labels is None:
        name = _IDX_IMAGES.sub(r"labels\1idx1-ubyte\2", path.name)
        raise UserError(f"labels must lie beside the images, there is no {path.with_name(name)}; get it too")
    shape, label_shape = _idx_shape(path), _idx_shape(labels)
    if len(label_shape) != 1 or label_shape[0] != shape[0]:
        raise UserError(
            f"each image must have one label, {path} says it holds {shape[0]:,}, {labels.name} has labels of shape "
            f"{label_shape}; get both again"
        )
    pairs = zip(_idx_array(path), _idx_array(labels), strict=True)
    yield from (_Raw(f"{path} record {number}", *pair) for number, pair in enumerate(pairs, 1))


def _idx_shape(path: Path) -> tuple[int, ...]:
    with opened(path) as file:
        return _idx_header(path, file)[0]


def _idx_array(path: Path) -> Iterator[Any]:
    with opened(path) as file:
        yield from _each(path, file, *_idx_header(path, file))


def _idx_header(path: Path, file: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    magic = file.read(4)
    dimensions = magic[3] if len(magic) == 4 else 0
    sizes = file.read(4 * dimensions)
    is_whole = 1 <= dimensions <= 4 and len(sizes) == 4 * dimensions
    if not is_whole or magic[:2] != b"\0\0" or magic[2] not in _IDX_TYPES:
        raise UserError(
            f"{path} must be an IDX file, its first bytes are: {(magic + sizes).hex(' '):.60}; get it again"
        )
    return tuple(np.frombuffer(sizes, ">u4").tolist()), np.dtype(_IDX_TYPES[magic[2]])


def _read_npz(path: Path, options: VectorOptions) -> Iterator[_Raw]:
    try:
        with zipfile.ZipFile(path) as archive:
            values, label = _names_in_npz(
                path, [name[:-4] for name in archive.namelist() if name[-4:] == ".npy"], options
            )
            with ExitStack() as stack:
                shape, records = _npy(path, values, stack.enter_context(archive.open(f"{values}.npy")))
                labels: Iterator[Any] = repeat(None, *shape[:1])
                label_shape = shape[:1]
                if options.needs_label:
                    label_shape, labels = _npy(path, label, stack.enter_context(archive.open(f"{label}.npy")))
                if len(shape) < 2 or len(label_shape) < 1 or shape[0] != label_shape[0]:
                    raise UserError(
                        f"arrays must be (records, time, ...) with a label for each, {path} has {values} of shape "
                        f"{shape} and {label} of shape {label_shape}; reshape them"
                    )
                for number, (value, target) in enumerate(zip(records, labels, strict=True), 1):
                    yield _Raw(f"{path} record {number}", value, _plain(target))
    except UserError:
        raise
    except Exception as error:  # damaged bytes raise various errors in zipfile, zlib and numpy
        raise UserError(f"{path} must be an .npz of numpy: {first_line(error)}; save it again") from error


def _names_in_npz(path: Path, names: Sequence[str], options: VectorOptions) -> tuple[str, str]:
    label = "y" if options.label == VectorOptions.label and VectorOptions.label not in names else options.label
    values = options.values or ("x",)
    if len(values) != 1 or not {*values, *([label] if options.needs_label else [])} <= set(names):
        raise UserError(
            f"an .npz must have one array of values and one of labels, {path} has {', '.join(names)!r:.200}, wanted: "
            f"{', '.join(values)!r:.60} and {label!r}; name them with data.values and data.label{_BY_COMMAND}"
        )
    return values[0], label


def _npy(path: Path, name: str, file: Any) -> tuple[tuple[int, ...], Iterator[Any]]:
    """Return the shape of an array in an ``.npz``, and an iterator over its records.

    Raises:
        UserError: the array does not hold plain numbers.
    """
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise UserError(f"an array must hold plain numbers, {name} of {path} holds fields; save its columns apart")
    shape, is_fortran, dtype = readers[version](file)
    if dtype.kind not in "biufUS":
        raise UserError(
            f"an array must hold plain numbers, {name} of {path} holds Python objects or fields ({dtype}), which are "
            "never unpickled; save it with a number type"
        )
    if not is_fortran:
        return shape, _each(path, file, shape, dtype)
    # In column-major order no record is complete before the end, so the whole array is read.
    data = file.read()
    return shape, iter(np.frombuffer(data, dtype).reshape(shape, order="F"))


def _plain(value: Any) -> Any:
    """Return a NumPy label as a Python value."""
    value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    return value.decode() if isinstance(value, bytes) else value


# Tables


def _read_delimited(path: Path, options: VectorOptions) -> Iterator[_Raw]:
    rows: Iterator[tuple[int, list[str]]] = delimited_rows(path, options.errors)
    first = next(rows, None)
    if first is None:
        return
    names = header(first[1])
    numbered = [[str(number) for number in range(start, start + len(names))] for start in (0, 1)]
    # Columns are named by number, unless the header has these numbers, as pandas writes unnamed columns.
    if names not in numbered and all(name.isdecimal() for name in (*options.values, options.label)):
        names, rows = numbered[1], chain([first], rows)
    columns = _value_columns(path, dict.fromkeys(names, "number"), options)
    if options.values:
        places = [names.index(name) for name in columns]
    else:  # all columns but the label, even if two have the same name
        places = [place for place in range(len(names)) if names[place] != options.label]
    label = names.index(options.label) if options.needs_label else None
    for line, row in rows:
        fields = [row[place] for place in places]
        while fields and not fields[-1].strip():
            fields.pop()
        try:
            value = np.array([float(field) for field in fields])
        except ValueError as error:
            pairs = zip(fields, places, strict=False)  # without the empty fields at the end
            wrong, name = next((field, names[place]) for field, place in pairs if not _is_number(field))
            raise UserError(
                f"a column of values must hold numbers, {path} line {line} has {wrong!r:.60} in the column {name!r}; "
                "name the columns that do: data.values, or if there are no names the label by number: data.label=1; "
                "texts are read by --task classification, amounts as classes of their ranges"
            ) from error
        yield _Raw(f"{path} line {line}", value, None if label is None else row[label])


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _read_json(path: Path, options: VectorOptions) -> Iterator[_Raw]:
    columns: list[str] = []
    label = {options.label} if options.needs_label else set()
    for place, record in json_objects(path, options.errors):
        if not columns or not {*label, *columns} <= record.keys():
            kinds = {name: _kind_of_value(value) for name, value in record.items()}
            columns = _value_columns(place, kinds, replace(options, values=tuple(columns or options.values)))
        yield _Raw(place, _joined(place, [record[name] for name in columns]), record.get(options.label))


def _kind_of_value(value: object) -> str:
    if isinstance(value, list):
        return "array"
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else "other"


def _read_parquet(path: Path, options: VectorOptions) -> Iterator[_Raw]:
    with reading_parquet(path) as load:
        features = load().features
        values, label = _table_columns(path, features, options)
        records = load(columns=[*values, *label], batch_size=RECORDS_AT_ONCE)
        yield from _read_table(str(path), records, features, values, label)


def _read_hub(source: HubDataset, options: VectorOptions) -> Iterator[_Raw]:
    records = source.load()
    values, label = _table_columns(source.name, records.features, options)
    yield from _read_table(source.name, records.select_columns([*values, *label]), records.features, values, label)


def _table_columns(source: object, features: Mapping[str, Any], options: VectorOptions) -> tuple[list[str], list[str]]:
    """Return the value columns of a table, and its label column if it is needed."""
    kinds = {name: _kind_of_feature(feature) for name, feature in features.items()}
    return _value_columns(source, kinds, options), [options.label] if options.needs_label else []


def _kind_of_feature(feature: Any) -> str:
    if _is_image(feature):
        return "array"
    dtype = _dtype(feature)
    if not dtype.startswith(("int", "uint", "float", "double")):
        return "other"
    return "number" if hasattr(feature, "dtype") and not hasattr(feature, "shape") else "array"


def _is_image(feature: Any) -> bool:
    return type(feature).__name__ == "Image" or (isinstance(feature, dict) and set(feature) == {"bytes", "path"})


def _dtype(feature: Any) -> str:
    """Return the dtype, as named by `datasets`, of the numbers in nested lists; empty if the feature has no dtype."""
    while not isinstance(getattr(feature, "dtype", None), str):
        feature = feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)
        if feature is None:
            return ""
    return str(feature.dtype)


def _read_table(
    source: str, records: Any, features: Mapping[str, Any], values: Sequence[str], label: Sequence[str]
) -> Iterator[_Raw]:
    names = next((getattr(features[name], "names", None) for name in label), None)
    images = [name for name in values if _is_image(features[name])]
    for name in images:
        if not isinstance(features[name], dict):
            from datasets import Image

            records = records.cast_column(name, Image(decode=False))
    is_uint8 = all(_dtype(features[name]) == "uint8" for name in values)
    number = 0
    for batch in record_batches(records):
        targets = batch[label[0]] if label else [None] * len(batch[values[0]])
        for *found, target in zip(*(batch[name] for name in values), targets, strict=True):
            number += 1
            place = f"{source} record {number}"
            pairs = zip(values, found, strict=True)
            value = _joined(place, [_decoded(place, one) if name in images else one for name, one in pairs])
            if is_uint8 and value is not None:
                value = to_numbers(value, place).astype(np.uint8)
            yield _Raw(place, value, label_value(place, target, names) if names else _plain(target))


def _decoded(place: str, image: Mapping[str, Any] | None) -> NDArray[Any] | None:
    """Decode an image to an array ``(rows, columns)`` or ``(rows, columns, channels)``; None if there is no image."""
    if image is None:
        return None
    try:
        pillow = import_module("PIL.Image")
    except ImportError as error:
        raise UserError(
            f"images are read by Pillow, {place} holds one and it is not installed; pip install pillow"
        ) from error
    try:
        data = Path(image["path"]).read_bytes() if image["bytes"] is None else image["bytes"]
        with pillow.open(io.BytesIO(data)) as picture:
            modes = {"1": "L", "P": "RGB", "CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB", "HSV": "RGB"}
            mode = modes.get(picture.mode, picture.mode)
            array: NDArray[Any] = np.array(picture.convert(mode) if mode != picture.mode else picture)
            return array
    except Exception as error:  # damaged bytes raise various errors in Pillow
        raise UserError(
            f"an image must be one that Pillow can read, {place} is not: {first_line(error)}; mend it, or leave it out"
        ) from error


def _value_columns(source: object, kinds: Mapping[str, str], options: VectorOptions) -> list[str]:
    """Return the value columns of a table: the named columns, else the only array column, else all number columns.

    Args:
        source: name of the source, for messages.
        kinds: kind of each column by name: ``array``, ``number`` or ``other``.
        options: options that name columns.

    Raises:
        UserError: a named column is missing, or no column is named and the choice is ambiguous.
    """
    label = [("label", options.label)] if options.needs_label else []
    for what, name in (*(("values", name) for name in options.values), *label):
        if name not in kinds:
            raise UserError(
                f"the {what} column must be one of {', '.join(kinds)!r:.200} in {source}, was: {name!r}; "
                f"name the column that holds the {what}: data.{what}=NAME{_BY_COMMAND}"
            )
    if options.values:
        return list(options.values)
    others = [name for name in kinds if name != options.label]
    arrays = [name for name in others if kinds[name] == "array"]
    if len(arrays) == 1:
        return arrays
    if others and all(kinds[name] == "number" for name in others):
        return others
    raise UserError(
        f"one column must hold arrays, or all but the label numbers, {source} has beside the label: "
        f"{', '.join(others)!r:.200}; name the columns of values: data.values=NAME{_BY_COMMAND}"
    )


def _joined(place: str, values: Sequence[Any]) -> Any:
    """Return the values of several columns of a record as one array; None if one is missing.

    Numbers become consecutive steps. Arrays are stacked along a new last axis.
    """
    if len(values) == 1:
        return values[0]
    if any(value is None for value in values):
        return None
    if not any(isinstance(value, list | np.ndarray) for value in values):
        return values
    arrays = [to_numbers(value, place) for value in values]
    shapes = [array.shape for array in arrays]
    if len(set(shapes)) > 1:
        raise UserError(
            f"columns of values must be of one shape in a record, those of {place} are: "
            f"{', '.join(map(str, shapes)):.200}; mend it, or name fewer in data.values"
        )
    return np.stack(arrays, axis=-1)


_READERS: dict[str, Callable[[Path, VectorOptions], Iterator[_Raw]]] = {
    ".npz": _read_npz,
    ".csv": _read_delimited,
    ".tsv": _read_delimited,
    ".json": _read_json,
    ".jsonl": _read_json,
    ".parquet": _read_parquet,
}


def vector_options(data: DataConfig, audio: Recordings | None = None) -> VectorOptions:
    """Return the options of reading the vector sources of a run; `audio` where they are recordings."""
    return VectorOptions(data.values, data.label, data.steps, data.errors, audio=audio)
