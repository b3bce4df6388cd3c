"""Hugging Face datasets and parquet files. Both are read with `datasets`, which is imported only when needed."""

from __future__ import annotations

import glob
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textrnn.data.records import (
    Record,
    SourceOptions,
    TextBlock,
    as_documents,
    first_line,
    label_value,
    require_columns,
    text_value,
)
from textrnn.data.text_files import nearest_name
from textrnn.errors import UserError

RECORDS_AT_ONCE = 100
HUB_SECONDS = 10


def read_parquet(path: Path, options: SourceOptions, whole: bool = False) -> Iterator[Record]:
    """Yield the records of a ``.parquet`` file; with `whole`, records have all columns of the file."""
    with reading_parquet(path) as load:
        names = load().column_names
        require_columns(path, names, options)
        columns = names if whole else options.columns
        yield from _read_records(path, load(columns=columns, batch_size=RECORDS_AT_ONCE), options)


@contextmanager
def reading_parquet(path: Path) -> Iterator[Callable[..., Any]]:
    """Yield a function that opens a ``.parquet`` file as a streaming dataset; it takes the options of `load_dataset`.

    Raises:
        UserError: the file cannot be read as parquet. The message is one line.
    """
    import datasets

    files = {"data_files": [glob.escape(str(path.absolute()))], "split": "train", "streaming": True}

    def load(**options: Any) -> Any:
        with _quiet_datasets():
            return datasets.load_dataset("parquet", **files, **options)

    try:
        yield load
    except UserError:
        raise
    except Exception as error:  # any library that `datasets` uses can raise
        raise UserError(f"{path} must be a parquet file: {first_line(error)}") from error


@dataclass(frozen=True)
class HubDataset:
    """A dataset of the Hugging Face Hub, or of its local cache."""

    name: str
    config: str | None
    split: str

    def read(self, options: SourceOptions) -> Iterator[TextBlock]:
        yield from as_documents(self.records(options))

    def load(self) -> Any:
        """Load the split.

        Raises:
            UserError: the dataset is not in the local cache and cannot be downloaded from the Hub.
        """
        try:
            with _quiet_datasets(), _offline_without_answer():
                import datasets

                return datasets.load_dataset(self.name, self.config, split=self.split)
        except Exception as error:  # any library that `datasets` uses can raise
            raise UserError(
                f"a source must be a file, a folder, builtin or a Hugging Face dataset; {self.name} is not on this "
                f"disk and cannot be had from the Hub: {first_line(error)}{nearest_name(Path(self.name))}"
            ) from error

    def records(self, options: SourceOptions, skipped: Counter[str] | None = None) -> Iterator[Record]:
        """Yield the records of the split."""
        records = self.load()
        require_columns(self.name, records.column_names, options)
        yield from _read_records(self.name, records.select_columns(options.columns), options)

    def rows(self, options: SourceOptions) -> Iterator[Record]:
        """Yield the records of the split with all their columns."""
        records = self.load()
        require_columns(self.name, records.column_names, options)
        yield from _read_records(self.name, records, options)

    def identity(self) -> list[Any]:
        return ["hub", self.name, self.config, self.split]

    def text_bytes(self) -> None:
        return None


_datasets_lock = threading.RLock()  # without it, two threads that change and restore a setting could leave it changed


@contextmanager
def _quiet_datasets() -> Iterator[None]:
    """Silence the log of `datasets` inside the block. It raises an exception for every error that it logs."""
    import datasets  # takes seconds and about 100 MB of memory

    with _datasets_lock:
        before = datasets.logging.get_verbosity()
        datasets.logging.set_verbosity(datasets.logging.CRITICAL)
        try:
            yield
        finally:
            datasets.logging.set_verbosity(before)


@contextmanager
def _offline_without_answer() -> Iterator[None]:
    """Make `datasets` use only its cache inside the block if the Hub does not respond: its retries take long."""
    from datasets import config

    with _datasets_lock:
        before = config.HF_HUB_OFFLINE
        config.HF_HUB_OFFLINE = before or not _answers(config.HF_ENDPOINT)
        try:
            yield
        finally:
            config.HF_HUB_OFFLINE = before


def record_batches(records: Any) -> Iterator[dict[str, list[Any]]]:
    """Yield batches of at most `RECORDS_AT_ONCE` records of a dataset, as one list of values per column."""
    batches = records.iter(RECORDS_AT_ONCE)
    while True:
        with _quiet_datasets():  # not around the yield: the caller's log level must not change
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def _answers(address: str) -> bool:
    import urllib.error  # here, because few commands need it, and it brings the modules of TLS
    import urllib.request

    try:
        urllib.request.urlopen(address, timeout=HUB_SECONDS).close()
    except urllib.error.HTTPError as error:
        error.close()
    except OSError:
        return False
    return True


def _read_records(source: object, records: Any, options: SourceOptions) -> Iterator[Record]:
    feature = (records.features or {}).get(options.label)
    names = getattr(getattr(feature, "feature", feature), "names", None)  # also of the items of a list
    for batch in record_batches(records):
        columns = tuple(batch)
        for values in zip(*batch.values(), strict=True):
            record = dict(zip(columns, values, strict=True))
            label = (
                ""
                if options.label is None
                else label_value(source, record[options.label], names, options.several_labels)
            )
            yield Record(text_value(source, record[options.text], options), label, columns, values)
