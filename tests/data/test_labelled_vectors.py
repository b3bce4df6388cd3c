"""Sources of vectors to datasets, and those to batches: nothing is lost, mixed up or taken for what it is not."""

from __future__ import annotations

import gzip
import json
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import error_of
from full_disk import files_limited_to
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from textrnn.data import labelled_vectors as vectors
from textrnn.data import vector_sources
from textrnn.data.labelled import Batch
from textrnn.data.labelled_vectors import VectorBatches, VectorDataset, prepare_vectors
from textrnn.data.labels import Labels
from textrnn.data.vector_sources import VectorOptions, read_vectors, vectors_fingerprint

IMAGES = np.arange(60 * 4 * 3, dtype=np.int64).reshape(60, 4, 3)
LABELS = np.arange(60) % 3


def read(*sources: object, task: str = "classification", **options: Any) -> list[tuple[Any, Any]]:
    """Sequences and labels of sources that have nothing to leave out."""
    skipped: Counter[str] = Counter()
    found = read_vectors(
        [str(source) for source in sources], VectorOptions(**options), skipped, is_valued=task == "regression"
    )
    records = [(sequence.tolist(), target) for sequence, target in found]
    assert not skipped
    return records


def refused(*sources: object, **options: Any) -> str:
    return error_of(lambda: read(*sources, **options))


def write(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def write_lines(path: Path, records: Sequence[object]) -> Path:
    return write(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))


def write_npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def idx(array: NDArray[Any], kind: int = 0x08, kind_of_values: str = "u1") -> bytes:
    """An array as the files of MNIST hold it."""
    header = bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(kind_of_values).tobytes()


def write_idx(folder: Path, images: bytes, labels: bytes | None, end: str = "") -> Path:
    packed: Callable[[bytes], bytes] = gzip.compress if end == ".gz" else bytes
    if labels is not None:
        (folder / f"t-labels-idx1-ubyte{end}").write_bytes(packed(labels))
    path = folder / f"t-images-idx3-ubyte{end}"
    path.write_bytes(packed(images))
    return path


def write_parquet(path: Path, columns: dict[str, Any]) -> Path:
    import pyarrow  # type: ignore[import-untyped]
    import pyarrow.parquet  # type: ignore[import-untyped]

    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / ".cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)


# .npz


def test_npz_of_values_over_time(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "a.npz", x=[[1, 2], [3, 4]], y=["no", "yes"], other=np.zeros(9))
    assert read(path) == [([[1], [2]], "no"), ([[3], [4]], "yes")]


@pytest.mark.parametrize("y", [[1, 0], [1.0, 0.0], [[1], [0]], ["1", "0"], [b"1", b"0"]])
def test_npz_of_vectors_over_time_with_any_kind_of_label(tmp_path: Path, y: Any) -> None:
    path = write_npz(tmp_path / "a.npz", x=[[[1, 2], [3, 4]], [[5, 6], [7, 8]]], y=np.array(y))
    assert read(path) == [([[1, 2], [3, 4]], "1"), ([[5, 6], [7, 8]], "0")]
    assert read(path, steps="values")[0] == ([[1], [2], [3], [4]], "1")


def test_npz_of_images_in_colour_and_its_own_names(tmp_path: Path) -> None:
    images = np.arange(12, dtype=np.uint8).reshape(1, 2, 3, 2)
    path = write_npz(tmp_path / "a.npz", images=images, label=[7])
    assert read(path, values=("images",)) == [([[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]], "7")]
    assert read(path, values=("images",), steps="values")[0][0][1] == [2, 3]
    message = refused(path)
    assert "has 'images, label', wanted: 'x' and 'label'" in message
    assert "data.values and data.label" in message


@pytest.mark.parametrize("compress", [np.savez, np.savez_compressed])
def test_npz_column_after_column(tmp_path: Path, compress: Callable[..., None]) -> None:
    array = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    compress(tmp_path / "a.npz", x=array, y=np.asfortranarray([[1, 2], [3, 4]]))
    assert read(tmp_path / "a.npz", task="regression") == [([[0], [1], [2]], (1, 2)), ([[3], [4], [5]], (3, 4))]


def test_npz_is_read_a_block_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_npz(tmp_path / "a.npz", x=IMAGES, y=LABELS)
    whole = read(path)
    assert [sequence for sequence, _ in whole] == IMAGES.tolist()
    for size in (1, 100, 250):
        monkeypatch.setattr(vector_sources, "BLOCK_BYTES", size)
        assert read(path) == whole


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": np.array([[1, "a"]], object), "y": [1]}, "never unpickled"),
        ({"x": [[1, 2]], "y": np.array([{"a": 1}])}, "never unpickled"),
        ({"x": np.zeros((2, 3), [("a", "f4")]), "y": [1, 2]}, "holds Python objects or fields"),
        ({"x": [1, 2], "y": [1, 2]}, "x of shape (2,)"),
        ({"x": [[1, 2]], "y": [1, 2]}, "y of shape (2,)"),
        ({"x": [[1, 2]], "y": 1}, "y of shape ()"),
        ({"x": [[1, 2]]}, "has 'x', wanted: 'x' and 'y'"),
        ({"x": np.zeros((2, 0)), "y": [1, 2]}, "take 0 bytes"),
        ({"x": np.zeros((1, 1, 1, 1, 1)), "y": [1]}, "has 4"),
        ({"x": [["a"]], "y": [1]}, "must hold numbers alone"),
        ({"x": [[1], [np.nan]], "y": [1, 2]}, "record 2 has: nan"),
        ({"x": [[1j]], "y": [1]}, "complex128"),
    ],
)
def test_a_wrong_npz(tmp_path: Path, arrays: dict[str, Any], says: str) -> None:
    path = write_npz(tmp_path / "a.npz", **arrays)
    message = refused(path)
    assert str(path) in message
    assert says in message


def test_a_damaged_npz(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "a.npz", x=IMAGES, y=LABELS)
    content = path.read_bytes()
    middle = len(content) // 4
    for damaged in (b"", b"PK", content[:-40], content[:middle] + b"?????" + content[middle + 5 :]):
        path.write_bytes(damaged)
        assert f"{path} must be an .npz of numpy" in refused(path)


# IDX


@pytest.mark.parametrize("end", ["", ".gz"])
def test_idx(tmp_path: Path, end: str) -> None:
    path = write_idx(tmp_path, idx(np.array([[[1, 2], [3, 255]], [[5, 6], [7, 8]]])), idx(np.array([9, 4])), end)
    assert read(path) == [([[1, 2], [3, 255]], "9"), ([[5, 6], [7, 8]], "4")]
    assert read(tmp_path) == read(path), "the labels are no file without records"


def test_idx_of_other_numbers_and_names_with_dots(tmp_path: Path) -> None:
    (tmp_path / "train-images.idx3-ubyte").write_bytes(idx(np.array([[[-1.5, 2]]]), 0x0D, ">f4"))
    (tmp_path / "train-labels.idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.array([300]), 0x0B, ">i2")))
    assert read(tmp_path / "train-images.idx3-ubyte") == [([[-1.5, 2]], "300")]


WHOLE, TWO = idx(IMAGES % 256), idx(np.array([1, 2]))


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize(
    ("images", "labels", "says"),
    [
        (WHOLE, None, "labels must lie beside the images"),
        (WHOLE[:-13], idx(LABELS), "must hold 60 records, as its first bytes say, it ends inside record 59"),
        (WHOLE + b"1", idx(LABELS), "must end after 60 records"),
        (WHOLE, TWO, "says it holds 60, t-labels-idx1-ubyte"),
        (WHOLE, idx(LABELS)[:-1], "must hold 60 records, as its first bytes say, it ends inside record 60"),
        (WHOLE, idx(LABELS)[:6], "must be an IDX file"),
        (b"", TWO, "must be an IDX file"),
        (b"\0\0", TWO, "must be an IDX file"),
        (b"\x89PNG" + bytes(90), TWO, "must be an IDX file, its first bytes are: 89 50 4e 47"),
        (b"\0\0\x08\x07" + bytes(90), TWO, "must be an IDX file"),
        (b"\0\0\x08\x03" + b"\xff" * 12, idx(LABELS), "each image must have one label"),
        (b"\0\0\x08\x03\0\0\0\2" + b"\xff" * 8, TWO, "a record must take 1 byte to 256 MiB"),
        (b"\0\0\x08\x03\0\0\0\2" + bytes(8), TWO, "take 0 bytes"),
    ],
)
def test_a_wrong_idx(tmp_path: Path, images: bytes, labels: bytes | None, says: str, end: str) -> None:
    path = write_idx(tmp_path, images, labels, end)
    message = refused(path)
    assert says in message
    assert str(tmp_path) in message


def test_a_gzip_that_breaks_off(tmp_path: Path) -> None:
    path = write_idx(tmp_path, WHOLE, idx(LABELS), ".gz")
    path.write_bytes(path.read_bytes()[:-20])
    assert f"a .gz must be one whole gzip file, {path} is not" in refused(path)


# Tables


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz"])
def test_a_table_holds_a_sequence_a_record(tmp_path: Path, name: str) -> None:
    text = "a,label,b,c\n1,yes,2.5,3\n-4,no,5e2, 6\n"
    content = (text.replace(",", "\t") if name == "a.tsv" else text).encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name == "a.csv.gz" else content)
    assert read(tmp_path / name) == [([[1], [2.5], [3]], "yes"), ([[-4], [500], [6]], "no")]
    assert read(tmp_path / name, values=("c", "a"))[0] == ([[3], [1]], "yes")
    assert read(tmp_path / name, values=("b",), label="a")[1] == ([[500]], "-4")
    assert read(tmp_path / name, values=("b",), label="a", task="regression")[1] == ([[500]], (-4,))


def test_a_table_without_names(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "5,10,20,30\n0,40,50,60\n")
    assert read(path, label="1") == [([[10], [20], [30]], "5"), ([[40], [50], [60]], "0")]
    assert read(path, label="4", values=("1", "2"))[0] == ([[5], [10]], "30")
    assert "the label column must be one of '5, 10, 20, 30'" in refused(path)
    assert "the label column must be one of '1, 2, 3, 4'" in refused(path, label="5")


@pytest.mark.parametrize("start", [0, 1])
def test_a_table_whose_names_are_numbers(tmp_path: Path, start: int) -> None:
    path = write(tmp_path / "a.csv", f"{start},{start + 1},{start + 2}\n1.5,2.5,yes\n")
    assert read(path, label=f"{start + 2}") == [([[1.5], [2.5]], "yes")]


def test_a_sequence_ends_where_its_fields_are_empty(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "label,1,2,3\na,1,2,3\nb,4,,\nc,5,6, \n")
    assert [sequence for sequence, _ in read(path)] == [[[1], [2], [3]], [[4]], [[5], [6]]]
    message = refused(write(tmp_path / "b.csv", "label,1,2,3\na,1,,3\n"))
    assert "line 2 has '' in the column '2'" in message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("label,a,id\nx,1,first\n", "line 2 has 'first' in the column 'id'"),
        ("label,a\nx,nan\n", "line 2 has: nan"),
        ("label,a\nx,1\ny,-inf\n", "line 3 has: -inf"),
        ("label,a\nx,1,2\n", "line 2 has 3"),
        ("a,b\n1,2\n", "the label column must be one of 'a, b'"),
        ("label\nx\n", "one column must hold arrays"),
        ("label,a\nx,\n", "found none in: "),
        ("label,a\n,1\n", "found none in: "),
        ("", "found none in: "),
    ],
)
def test_a_wrong_table(tmp_path: Path, content: str, says: str) -> None:
    message = refused(write(tmp_path / "a.csv", content))
    assert says in message
    assert str(tmp_path / "a.csv") in message


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_json_finds_its_column_of_lists(tmp_path: Path, name: str) -> None:
    records = [
        {"id": "p", "frames": [[1, 2], [3, 4]], "label": True},
        {"label": "好", "frames": [[5, 6.5]], "id": "q"},
    ]
    content = json.dumps(records) if name == "a.json" else "\n".join(map(json.dumps, records))
    path = write(tmp_path / name, content)
    assert read(path) == [([[1, 2], [3, 4]], "true"), ([[5, 6.5]], "好")]


def test_columns_of_json_side_by_side_or_one_after_the_other(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{"x": [1, 2, 3], "y": [4, 5, 6], "label": 1}])
    assert read(path, values=("x", "y")) == [([[1, 4], [2, 5], [3, 6]], "1")]
    assert read(path, values=("y",)) == [([[4], [5], [6]], "1")]
    assert "one column must hold arrays" in refused(path)
    path = write_lines(tmp_path / "b.jsonl", [{"monday": 1, "label": 3.5, "tuesday": 2.5}])
    assert read(path) == [([[1], [2.5]], "3.5")]


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({"x": [[1, 2], [3]], "label": 1}, "line 2 differ"),
        ({"x": [1, "a"], "label": 1}, "line 2 has: [1, 'a']"),
        ({"x": [1, float("nan")], "label": 1}, "line 2 has: nan"),
        ({"x": [[1, 2]], "label": 1}, "line 2 has 2 values a step, the first had 1"),
        ({"x": 5, "label": 1}, "line 2 has 0"),
        ({"x": [1], "label": {"a": 1}}, "a label must be text or a number"),
        ({"x": [1]}, "the label column must be one of 'x'"),
        ({"label": 1}, "the values column must be one of 'label'"),
        (5, "a JSON record must be an object"),
    ],
)
def test_a_wrong_record_is_refused_by_its_number(tmp_path: Path, record: object, says: str) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{"x": [1, 2], "label": 0}, record])
    message = refused(path)
    assert says in message
    assert f"{path} line 2" in message


def test_columns_of_different_shapes(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{"x": [1, 2], "y": [1], "label": 0}])
    assert f"of {path} line 1 are: (2,), (1,)" in refused(path, values=("x", "y"))


def test_what_lacks_values_or_label_is_left_out_and_counted(tmp_path: Path) -> None:
    records = [
        {"x": [1, 2], "label": "a"},
        {"x": [], "label": "a"},
        {"x": None, "label": "a"},
        {"x": [3], "label": " "},
        {"x": [3], "label": None},
        {"x": [4], "label": "b"},
    ]
    write_lines(tmp_path / "a.jsonl", records)
    write(tmp_path / "README.md", "how it was made")
    skipped: Counter[str] = Counter()
    found = read_vectors([str(tmp_path)], VectorOptions(), skipped)
    assert [(sequence.tolist(), target) for sequence, target in found] == [([[1], [2]], "a"), ([[4]], "b")]
    assert skipped == {"records without values": 2, "records without a label": 2, "files without records": 1}


def test_images_of_different_sizes_have_one_width(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{"x": [[1, 2]], "label": 0}, {"x": [[3, 4], [5, 6]], "label": 1}])
    assert [len(sequence) for sequence, _ in read(path)] == [1, 2]
    path = write_lines(tmp_path / "b.jsonl", [{"x": [[1, 2]], "label": 0}, {"x": [[3, 4, 5]], "label": 1}])
    assert [len(sequence) for sequence, _ in read(path, steps="values")] == [2, 3]
    assert f"{path} line 2 has 3 values a step, the first had 2" in refused(path)


@pytest.mark.usefixtures("hub_cache")
def test_parquet_of_lists(tmp_path: Path) -> None:
    columns = {"id": ["p", "q"], "x": [[[1, 2], [3, 4]], [[5, 6]]], "label": [1, 0], "words": [["a"], ["b"]]}
    path = write_parquet(tmp_path / "a.parquet", columns)
    assert read(path) == [([[1, 2], [3, 4]], "1"), ([[5, 6]], "0")]
    path = write_parquet(tmp_path / "b.parquet", {"a": [1, 2], "b": [3.5, 4.5], "label": ["x", "y"]})
    assert read(path) == [([[1], [3.5]], "x"), ([[2], [4.5]], "y")]
    path = write_parquet(tmp_path / "c.parquet", {"x": [[1.0, None]], "label": ["x"]})
    assert f"{path} record 1 has: [1.0, None]" in refused(path)
    assert "must be a parquet file" in refused(write(tmp_path / "d.parquet", "PAR1"))


@pytest.mark.usefixtures("hub_cache")
def test_parquet_of_bytes_and_named_labels(tmp_path: Path) -> None:
    import datasets

    kinds = {"array": datasets.Array2D((2, 2), "uint8"), "label": datasets.ClassLabel(names=["差", "好"])}
    rows = {"array": [[[1, 2], [3, 4]], [[5, 6], [7, 8]]], "label": [1, 0]}
    datasets.Dataset.from_dict(rows, datasets.Features(kinds)).to_parquet(str(tmp_path / "a.parquet"))
    assert read(tmp_path / "a.parquet") == [([[1, 2], [3, 4]], "好"), ([[5, 6], [7, 8]], "差")]
    found = read_vectors([str(tmp_path / "a.parquet")], VectorOptions(), Counter())
    assert {sequence.dtype for sequence, _ in found} == {np.dtype(np.uint8)}
    assert "a label of a regression must be" in refused(tmp_path / "a.parquet", task="regression")


def png(array: NDArray[Any]) -> bytes:
    image = pytest.importorskip("PIL.Image")
    import io

    file = io.BytesIO()
    image.fromarray(array).save(file, "PNG")
    return file.getvalue()


@pytest.mark.usefixtures("hub_cache")
def test_parquet_of_images(tmp_path: Path) -> None:
    grey, colours = np.array([[1, 2], [3, 4]], np.uint8), np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    deep = np.array([[1, 60_000], [3, 4]], np.uint16)
    images = [{"bytes": png(array), "path": None} for array in (grey, deep)]
    path = write_parquet(tmp_path / "a.parquet", {"image": images, "label": [0, 1]})
    assert read(path) == [(grey.tolist(), "0"), (deep.tolist(), "1")]
    path = write_parquet(tmp_path / "b.parquet", {"image": [{"bytes": png(colours), "path": "b.png"}], "label": [0]})
    assert read(path) == [(colours.reshape(2, 6).tolist(), "0")]
    assert read(path, steps="values") == [(colours.reshape(4, 3).tolist(), "0")]
    path = write_parquet(tmp_path / "c.parquet", {"image": [{"bytes": b"no image", "path": None}], "label": [0]})
    assert f"an image must be one that Pillow can read, {path} record 1 is not" in refused(path)


@pytest.mark.usefixtures("hub_cache")
def test_images_without_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"image": [{"bytes": b"any", "path": None}], "label": [0]})
    without(monkeypatch, "PIL.Image")
    assert "pip install pillow" in refused(path)


# The Hub


@pytest.mark.usefixtures("hub_cache")
def test_a_hub_dataset_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    kinds = {
        "picture": datasets.Image(),
        "label": datasets.ClassLabel(names=["zero", "one"]),
        "id": datasets.Value("int8"),
    }
    array = np.array([[1, 2], [3, 4]], np.uint8)
    rows = {"picture": [{"bytes": png(array), "path": None}] * 2, "label": [1, -1], "id": [1, 2]}
    loaded = []

    def load_dataset(name: str, config: str | None, *, split: str) -> datasets.Dataset:
        loaded.append((name, config, split))
        return datasets.Dataset.from_dict(rows, datasets.Features(kinds))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    skipped: Counter[str] = Counter()
    found = read_vectors(["owner/digits:small@test"], VectorOptions(), skipped)
    assert [(sequence.tolist(), target) for sequence, target in found] == [(array.tolist(), "one")]
    assert skipped == {"records without a label": 1}
    assert loaded == [("owner/digits", "small", "test")]


@pytest.mark.usefixtures("hub_cache")
def test_a_hub_dataset_without_a_network_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    assert "owner/digits is not on this disk and cannot be had from the Hub" in refused("owner/digits")


@pytest.mark.parametrize("name", ["mnist.npz", "mnist/train-images-idx3-ubyte.gz"])
def test_a_missing_file_is_no_dataset_of_the_hub(name: str) -> None:
    assert f"a source must be a file or folder that exists, was: '{name}'" in refused(name)


# Built in


def without(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """As if a package were not installed."""
    monkeypatch.setitem(sys.modules, name, None)


def test_the_built_in_digits() -> None:
    pytest.importorskip("sklearn")
    digits = read("builtin")
    assert len(digits) == 1797
    assert {label for _, label in digits} == set("0123456789")
    assert np.shape(digits[0][0]) == (8, 8)
    assert len(vectors_fingerprint(["builtin"], VectorOptions())) == 64


def test_the_built_in_digits_without_scikit_learn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "sklearn.datasets")
    for action in (lambda: read("builtin"), lambda: prepared(tmp_path / "data", "builtin")):
        assert error_of(action) == (
            "builtin vectors need scikit-learn, it is not installed; pip install scikit-learn, or name a source"
        )


# Regression


@pytest.mark.parametrize(
    ("label", "outputs"), [(3, (3,)), ("2.5", (2.5,)), ([1, 2.5], (1, 2.5)), (True, (1,)), (-1, (-1,))]
)
def test_a_label_of_numbers(tmp_path: Path, label: object, outputs: tuple[float, ...]) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{"x": [1], "label": label}])
    assert read(path, task="regression") == [([[1]], outputs)]


@pytest.mark.parametrize("label", ["cat", {"a": 1}, float("inf"), 1e39, [1, float("nan")], [[1]], ["a"]])
def test_a_label_that_is_no_number(tmp_path: Path, label: object) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{"x": [1], "label": label}])
    message = refused(path, task="regression")
    assert f"a label of a regression must be a finite number or a list of them, {path} line 1 has: {label!r}" in message


def test_labels_of_more_and_of_fewer_numbers(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{"x": [1], "label": [1, 2]}, {"x": [1], "label": 3}])
    assert f"{path} line 2 has 1, the first had 2" in refused(path, task="regression")


@pytest.mark.parametrize("label", [None, "", float("nan"), "nan", []])
def test_a_label_that_is_not_there(tmp_path: Path, label: object) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{"x": [1], "label": label}])
    assert "must hold some labelled vectors" in refused(path, task="regression")


@pytest.mark.parametrize("options", [{"steps": "columns"}, {"errors": "ignore"}, {"values": ("a", "label")}])
def test_options_out_of_range(options: dict[str, Any]) -> None:
    assert "must" in error_of(lambda: VectorOptions(**options))


# Prepared


def prepared(
    folder: Path,
    *sources: object,
    steps: str = "rows",
    task: str = "classification",
    names: Sequence[str] = (),
    **given: Any,
) -> Any:
    labels = Labels(names) if task == "classification" else None
    options = VectorOptions(steps=steps)
    return prepare_vectors([str(source) for source in sources], options, folder, labels=labels, quiet=True, **given)


def records_of(dataset: VectorDataset) -> list[tuple[Any, Any]]:
    targets = [dataset.labels[target] for target in dataset.targets] if dataset.labels else dataset.targets.tolist()
    return [(dataset.sequence(index).tolist(), target) for index, target in enumerate(targets)]


def write_images(path: Path, dtype: str = "float32") -> Path:
    return write_npz(path, x=IMAGES.astype(dtype), y=LABELS)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


ALL = [(image.tolist(), str(label)) for image, label in zip(IMAGES, LABELS, strict=True)]


def test_every_sequence_is_kept_exactly_and_in_its_place(tmp_path: Path) -> None:
    (dataset,) = prepared(tmp_path / "data", write_images(tmp_path / "a.npz"))
    assert records_of(dataset) == ALL
    assert dataset.records.tolist() == list(range(60))
    assert dataset.lengths.tolist() == [4] * 60
    assert dataset.sequence(0).dtype == np.float32
    assert (dataset.features, dataset.labels, len(dataset)) == (3, ("0", "1", "2"), 60)
    assert dataset.summary == "60 sequences of 4 steps of 3 values (0 20, 1 20, 2 20)"
    assert len(files(tmp_path / "data")) == 3


def test_a_step_may_be_a_single_value(tmp_path: Path) -> None:
    (dataset,) = prepared(tmp_path / "data", write_images(tmp_path / "a.npz"), steps="values")
    assert np.array_equal(dataset.sequence(1)[:, 0], IMAGES[1].reshape(-1))


def test_held_out_sequences_and_the_others_are_all_and_none_twice(tmp_path: Path) -> None:
    train, held_out = prepared(tmp_path / "data", write_images(tmp_path / "a.npz"), held_out=0.1)
    assert np.bincount(held_out.targets).tolist() == [2, 2, 2]
    assert sorted([*train.records, *held_out.records]) == list(range(60))
    for dataset in (train, held_out):
        assert records_of(dataset) == [ALL[record] for record in dataset.records]


def test_mean_and_scale_are_those_of_what_is_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "VALUES_AT_ONCE", 40)
    array = np.random.default_rng(0).normal(5, 3, (60, 4, 3)).astype(np.float32)
    array[:, :, 1] = 0.1
    array[:, :, 2] = 1e6 + np.arange(4)
    path = write_npz(tmp_path / "a.npz", x=array, y=LABELS)
    train, held_out = prepared(tmp_path / "data", path, held_out=0.2)
    seen = array[train.records].reshape(-1, 3).astype(np.float64)
    assert train.mean == pytest.approx(seen.mean(0), rel=1e-6)
    assert train.scale == pytest.approx([seen[:, 0].std(), 1, np.std(np.arange(4))], rel=1e-6)
    assert train.mean[1] == np.float32(0.1)
    assert np.array_equal(held_out.mean, train.mean)
    assert np.array_equal(held_out.scale, train.scale)
    (other,) = prepared(tmp_path / "data", path, scaling=(train.mean, train.scale), classes=train.labels)
    assert np.array_equal(other.mean, train.mean)
    assert np.array_equal(other.scale, train.scale)
    assert len(other) == 60


def test_bytes_are_kept_as_bytes(tmp_path: Path) -> None:
    train, held_out = prepared(tmp_path / "data", write_images(tmp_path / "a.npz", "uint8"), held_out=0.2)
    for dataset in (train, held_out):
        assert dataset.values.dtype == np.uint8
        assert (dataset.mean.tolist(), dataset.scale.tolist()) == ([0, 0, 0], [255, 255, 255])
    assert train.sequence(3).tolist() == (IMAGES[train.records[3]] % 256).tolist()


def test_bytes_among_other_numbers(tmp_path: Path) -> None:
    bytes_, floats = write_images(tmp_path / "a.npz", "uint8"), write_images(tmp_path / "b.npz")
    (dataset,) = prepared(tmp_path / "data", bytes_, floats)
    assert dataset.values.dtype == np.float32
    assert records_of(dataset)[59:61] == [((IMAGES[59] % 256).tolist(), "2"), ALL[0]]


def test_regression(tmp_path: Path) -> None:
    y = np.arange(20) / 2
    path = write_npz(tmp_path / "a.npz", x=np.arange(40).reshape(20, 2), y=y)
    train, held_out = prepared(tmp_path / "data", path, task="regression", held_out=0.2)
    assert (len(train), len(held_out)) == (16, 4)
    assert train.targets.shape == (16, 1)
    assert train.targets.dtype == np.float32
    assert sorted([*train.targets[:, 0], *held_out.targets[:, 0]]) == y.tolist()
    assert np.array_equal(held_out.targets[:, 0], y[held_out.records])
    assert train.labels == ()
    assert (
        "20 sequences of 2 steps of 1 values (labels 0 to 9.5)"
        in prepared(tmp_path / "data", path, task="regression")[0].summary
    )
    more = prepared(tmp_path / "data", path, task="regression", held_out=0.5)[1]
    assert set(held_out.records) < set(more.records)


def test_of_one_sequence_none_is_held_out(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "a.npz", x=[[1, 2]], y=[1])
    assert "there must be two sequences or more" in error_of(
        lambda: prepared(tmp_path / "data", path, task="regression", held_out=0.2)
    )
    assert "two labels or more, all 1 sequences have: '1'" in error_of(
        lambda: prepared(tmp_path / "data", path, held_out=0.2)
    )
    path = write_npz(tmp_path / "b.npz", x=[[1, 2], [3, 4]], y=[1, 2])
    assert "a class needs two sequences or more" in error_of(lambda: prepared(tmp_path / "data", path, held_out=0.2))
    assert files(tmp_path / "data") == []


def test_labels_are_renamed_and_those_never_seen_left_out(tmp_path: Path) -> None:
    path = write_images(tmp_path / "a.npz")
    (dataset,) = prepared(tmp_path / "data", path, names=["0=zero", "2=two"], classes=("two", "zero"))
    assert dataset.labels == ("two", "zero")
    assert np.bincount(dataset.targets).tolist() == [20, 20]
    assert records_of(dataset)[:2] == [(ALL[0][0], "zero"), (ALL[2][0], "two")]
    assert dataset.records.tolist()[:3] == [0, 2, 3]
    assert dataset.skipped == {"sequences with a label never seen in training": 20}
    assert dataset.summary.endswith("; left out: 20 sequences with a label never seen in training")
    assert "labels must be 'a, b', too few sequences" in error_of(
        lambda: prepared(tmp_path / "data", path, classes=("a", "b"))
    )
    assert "data.label_names must be LABEL=NAME" in error_of(lambda: prepared(tmp_path / "data", path, names=["a"]))


def test_another_width_than_that_trained_on(tmp_path: Path) -> None:
    (dataset,) = prepared(tmp_path / "data", write_images(tmp_path / "a.npz"))
    path = write_npz(tmp_path / "b.npz", x=np.zeros((2, 5, 4)), y=[0, 1])
    message = error_of(
        lambda: prepared(tmp_path / "data", path, classes=dataset.labels, scaling=(dataset.mean, dataset.scale))
    )
    assert f"{path} record 1 has 4 values a step, those trained on had 3" in message


def test_what_is_prepared_is_opened_without_reading_the_source_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, folder = write_images(tmp_path / "a.npz"), tmp_path / "data"
    first = prepared(folder, path, held_out=0.2)

    def refuse(*_: object, **__: object) -> Iterator[tuple[NDArray[Any], str]]:
        raise AssertionError("the source is read again")

    with monkeypatch.context() as patch:
        patch.setattr(vectors, "read_grouped", refuse)
        again = prepared(folder, path, held_out=0.2)
        for change in (
            {"held_out": 0.3},
            {"held_out": None},
            {"task": "regression"},
            {"steps": "values"},
            {"names": ["0=a"]},
            {"classes": ["2", "1", "0"]},
            {"scaling": (first[0].mean, first[0].scale)},
        ):
            with pytest.raises(AssertionError):
                prepared(folder, path, **{"held_out": 0.2, **change})
    for one, other in zip(first, again, strict=True):
        assert records_of(one) == records_of(other)
        assert (one.path, one.summary, one.source_fingerprint) == (other.path, other.summary, other.source_fingerprint)


def test_a_fingerprint_follows_content_labels_beside_and_options(tmp_path: Path) -> None:
    path = write_idx(tmp_path, WHOLE, idx(LABELS))
    first = vectors_fingerprint([str(path)], VectorOptions())
    assert vectors_fingerprint([str(path)], VectorOptions()) == first
    assert vectors_fingerprint([str(path)], VectorOptions(steps="values")) != first
    write_idx(tmp_path, WHOLE, idx(LABELS[::-1]))
    assert vectors_fingerprint([str(path)], VectorOptions()) != first


@pytest.mark.parametrize("suffix", [".json", ".bin", ".npz"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "empty"])
def test_a_damaged_dataset_is_refused_by_name_and_prepared_anew(tmp_path: Path, damage: str, suffix: str) -> None:
    path = write_images(tmp_path / "a.npz")
    record = prepared(tmp_path / "data", path)[0].path
    file = record.with_suffix(suffix)
    content = file.read_bytes()
    file.unlink() if damage == "missing" else file.write_bytes(b"" if damage == "empty" else content[:-10])
    assert f"{record} must be as it was prepared" in error_of(lambda: VectorDataset.open(record))
    assert records_of(prepared(tmp_path / "data", path)[0]) == ALL


def test_another_format_version_is_prepared_anew(tmp_path: Path) -> None:
    path = write_images(tmp_path / "a.npz")
    record = prepared(tmp_path / "data", path)[0].path
    facts = json.loads(record.read_text(encoding="utf-8"))
    write(record, json.dumps({**facts, "format_version": 1}))
    assert "another format version" in error_of(lambda: VectorDataset.open(record))
    assert records_of(prepared(tmp_path / "data", path)[0]) == ALL


@pytest.mark.parametrize("room", [0, 100, 2000])
def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, room: int) -> None:
    path, folder = write_images(tmp_path / "a.npz"), tmp_path / "data"
    with files_limited_to(room):
        message = error_of(lambda: prepared(folder, path, held_out=0.2))
    assert "could not be written" in message
    assert str(folder) in message
    assert [name for name in files(folder) if name.endswith((".json", ".tmp"))] == []
    assert len(prepared(folder, path, held_out=0.2)) == 2


def test_a_source_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    good = write_lines(tmp_path / "a.jsonl", [{"x": [1], "label": label} for label in "ab"])
    bad = write_lines(tmp_path / "b.jsonl", [{"x": ["?"], "label": "a"}])
    assert str(bad) in error_of(lambda: prepared(tmp_path / "data", good, bad))
    assert files(tmp_path / "data") == []
    assert f"{good / 'data'} could not be made" in error_of(lambda: prepared(good / "data", good))


# Batches


def dataset_of(lengths: Sequence[int], features: int = 2, labels: tuple[str, ...] = ("a", "b")) -> VectorDataset:
    """Sequences whose numbers count on from 1, no two having one in common."""
    offsets = np.cumsum([0, *lengths])
    values = np.arange(1, 1 + offsets[-1] * features, dtype=np.float32).reshape(-1, features)
    numbers = np.arange(len(lengths))
    targets: Any = (numbers % 2).astype(np.int32) if labels else numbers[:, None] / np.float32(2)
    one = np.ones(features, np.float32)
    return VectorDataset(Path("v.json"), values, offsets, targets, numbers, labels, {}, "", one, one)


def epoch_of(batches: VectorBatches, epoch: int = 0) -> list[Batch]:
    return [batches.batch(epoch * batches.steps_per_epoch + step) for step in range(batches.steps_per_epoch)]


def assert_holds_its_sequences(batch: Batch, dataset: VectorDataset, batch_size: int) -> None:
    values, lengths = batch.inputs
    assert (values.dtype, lengths.dtype) == (np.float32, np.int32)
    assert len(values) == len(lengths) == len(batch.targets) == batch_size
    for row, index in enumerate(batch.indices):
        sequence = dataset.sequence(index)
        assert lengths[row] == len(sequence)
        assert np.array_equal(values[row, : len(sequence)], sequence)
        assert not values[row, len(sequence) :].any()
        assert np.array_equal(batch.targets[row], dataset.targets[index])
    assert not values[len(batch.indices) :].any()
    assert not lengths[len(batch.indices) :].any()


lengths_of = st.one_of(
    st.lists(st.integers(1, 60), min_size=1, max_size=30),
    st.builds(lambda length, count: [length] * count, st.integers(1, 60), st.integers(1, 30)),
)


@given(lengths=lengths_of, batch_size=st.integers(1, 30), seed=st.integers(0, 3), epoch=st.integers(0, 2))
def test_batches_hold_every_sequence_once(lengths: list[int], batch_size: int, seed: int, epoch: int) -> None:
    batch_size = min(batch_size, len(lengths))
    for labels in (("a", "b"), ()):
        batches = VectorBatches(dataset_of(lengths, labels=labels), batch_size, seed)
        read = epoch_of(batches, epoch)
        everything = list(batches.all())
        for batch in (*read, *everything):
            assert_holds_its_sequences(batch, batches.dataset, batch_size)
        order = [index for batch in read for index in batch.indices]
        assert len(set(order)) == len(order) == len(lengths) // batch_size * batch_size
        order = [index for batch in everything for index in batch.indices]
        assert sorted(order) == list(range(len(lengths)))
        assert [lengths[index] for index in order] == sorted(lengths)


@pytest.mark.parametrize("lengths", [[5] * 50, list(range(1, 51))], ids=["one length", "many lengths"])
def test_a_batch_depends_on_seed_and_step_alone(lengths: list[int]) -> None:
    batches = VectorBatches(dataset_of(lengths), 4, 1)
    for step in (30, 0, 13, 12, 100):
        one, other = batches.batch(step), VectorBatches(dataset_of(lengths), 4, 1).batch(step)
        for left, right in zip((*one.inputs, *one[1:]), (*other.inputs, *other[1:]), strict=True):
            assert np.array_equal(left, right)
    orders = {
        tuple(np.concatenate([batch.indices for batch in epoch_of(VectorBatches(dataset_of(lengths), 4, seed), epoch)]))
        for seed in (1, 2)
        for epoch in (0, 1, 2)
    }
    assert len(orders) == 6


def test_sequences_of_one_length_are_not_padded() -> None:
    batches = VectorBatches(dataset_of([28] * 9), 4, 0)
    assert {batch.inputs[0].shape for batch in (*epoch_of(batches), *batches.all())} == {(4, 28, 2)}


def test_sequences_of_about_the_same_length_are_read_together() -> None:
    lengths = np.random.default_rng(0).integers(1, 2000, 1000).tolist()
    read = epoch_of(VectorBatches(dataset_of(lengths, 1), 8, 0))
    assert sum(batch.inputs[0].size for batch in read) < 1.25 * sum(lengths)
    assert len({batch.inputs[0].shape[1] for batch in read}) <= 30


def test_fewer_sequences_than_a_batch() -> None:
    message = error_of(lambda: VectorBatches(dataset_of([5] * 3), 4, 0))
    assert "batch size 4 is larger than the training set (3 sequences); lower train.batch_size" in message


# Real images


def test_mnist(data_folder: Path, tmp_path: Path) -> None:
    path = data_folder / "mnist" / "t10k-images-idx3-ubyte.gz"
    if not path.is_file():
        pytest.skip("no MNIST there")
    train, held_out = prepared(tmp_path / "data", path, held_out=0.1)
    assert train.summary == (
        "9,000 sequences of 28 steps of 28 values "
        "(0 882, 1 1,021, 2 929, 3 909, 4 884, 5 803, 6 862, 7 925, 8 877, 9 908)"
    )
    assert len(held_out) == 1000
    assert train.values.dtype == np.uint8
    first = train if 0 in train.records else held_out
    place = first.records.tolist().index(0)
    assert first.labels[first.targets[place]] == "7"  # the first test image, as everyone knows
    assert first.sequence(place).sum() == 18_454
