"""A run folder: the files of one training run, and the stages that fill them.

::

    RUN/config.json         every setting
        fitted.json         those that are smaller because the data are few
        stdin.*             the data, where they came from standard input
        tokenizer.*         trained on the training part of the text
        init.npz            of a classifier that starts from another model: what it took over
        data/               token ids on disk; sources.json: what the sources were, by their content
        checkpoint.npz      exact resume
        best.npz            the weights with the lowest held-out loss
        history.jsonl       one line a measurement      curves.png  the same as a picture
        report.*            of a classifier: what it gets right and wrong on held-out texts
        forecast.png        of a forecaster: held-out values, and what was told of them
        bundle/             the finished model
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn.config import (
    ARCHITECTURE,
    Config,
    DataConfig,
    TokenizerConfig,
    defaults_of,
    read_config,
    require_applicable,
    require_fitting,
    settings,
    value_of,
)
from textrnn.data.labelled_texts import (
    LabelledDataset,
    class_names,
    held_out_records,
    prepare_labelled,
    scan,
    training_records,
)
from textrnn.data.labelled_vectors import VectorDataset, VectorOptions, prepare_vectors
from textrnn.data.places import absolute_sources, keep_input, with_kept_input, with_sources_of
from textrnn.data.records import SourceOptions
from textrnn.data.series import Series, prepare_series
from textrnn.data.sources import count_bytes, source_fingerprint
from textrnn.data.tokens.datasets import TokenDataset, is_unfinished, prepare
from textrnn.data.tokens.stretches import Corpus
from textrnn.data.tokens.vocabulary import learn_tokenizer
from textrnn.data.vector_sources import vectors_fingerprint
from textrnn.errors import UserError
from textrnn.files import new_folder, write_atomically
from textrnn.tokenizers import KINDS, load_tokenizer, train_tokenizer
from textrnn.tokenizers.base import END_ID, Tokenizer
from textrnn.training.loop.checkpoints import BEST, Progress, save_checkpoint
from textrnn.training.loop.small_data import read_fitted, with_fitted_values
from textrnn.training.loop.warm_start import take_over

MOST_DIFFERENCES = 3  # that a message names
LEAST_HELD_OUT = 8  # bytes of text: two characters of any script


@dataclass(frozen=True)
class Run:
    """The folder of one run and its configuration."""

    folder: Path
    config: Config
    quiet: bool = False

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.npz"

    @property
    def best(self) -> Path:
        return self.folder / BEST

    @property
    def history(self) -> Path:
        return self.folder / "history.jsonl"

    @property
    def curves(self) -> Path:
        return self.folder / "curves.png"

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    @property
    def initial(self) -> Path:
        return self.folder / "init.npz"

    @property
    def sources(self) -> Path:
        return self.folder / "data" / "sources.json"

    @property
    def classifies(self) -> bool:
        """Whether the task is classification."""
        return self.config.task == "classification"

    @property
    def forecasts(self) -> bool:
        """Whether the task is to tell how a series goes on."""
        return self.config.task == "forecast"

    @property
    def reads_vectors(self) -> bool:
        """Whether what is read are vectors, not text."""
        return self.config.data.reads == "vectors"

    def tokenizer(self) -> Tokenizer:
        """The run's tokenizer, trained on the training part of the text if it is not there yet."""
        config = self.config.tokenizer
        if (self.folder / KINDS[config.kind].file_name).exists():
            return load_tokenizer(self.folder, config.kind)
        data = self.config.data
        if self.classifies:
            texts = training_records(data.source, labelled_options(data), self._labels_and_split()[1], self.quiet)
            tokenizer = train_tokenizer(config.kind, texts, **_tokenizer_options(config))
        else:
            held_out = None if data.validation else self.held_out_share
            corpus = Corpus(data.source, source_options(data), data.apart, held_out, data.processes, self.quiet)
            tokenizer = learn_tokenizer(config.kind, corpus, **_tokenizer_options(config))
            if tokenizer.vocabulary_size < config.vocabulary_size and not self.quiet:
                print(
                    f"the vocabulary is {tokenizer.vocabulary_size:,} tokens, all that the text has, of at most"
                    f" {config.vocabulary_size:,} (tokenizer.vocabulary_size)",
                    file=sys.stderr,
                )
        tokenizer.save(self.folder)
        return tokenizer

    def datasets(self, tokenizer: Tokenizer) -> tuple[TokenDataset, TokenDataset]:
        """Training and held-out tokens, tokenised once and kept on disk."""
        data, folder = self.config.data, self.folder / "data"
        options = source_options(data)
        shared: dict[str, Any] = {"documents_apart": data.apart, "processes": data.processes, "quiet": self.quiet}
        if not data.validation:
            train, held_out = prepare(tokenizer, data.source, options, folder, held_out=self.held_out_share, **shared)
        else:
            train, _ = prepare(tokenizer, data.source, options, folder, held_out=None, **shared)
            held_out, _ = prepare(tokenizer, data.validation, options, folder, held_out=None, measured=True, **shared)
        if held_out is None or held_out.tokens < 2:
            raise UserError(
                "held-out text must have at least 2 tokens, has fewer; raise data.held_out, or give more text or"
                " data.validation"
            )
        return train, held_out

    @property
    def held_out_share(self) -> float:
        """The share of a language model's text that is held out: more than configured of a text of a few bytes."""
        data = self.config.data
        size = count_bytes(data.source)
        return min(0.5, max(data.held_out, LEAST_HELD_OUT / size)) if size else data.held_out

    def labelled_datasets(self, tokenizer: Tokenizer) -> tuple[LabelledDataset, LabelledDataset]:
        """Training and held-out texts with their labels, tokenised once and kept on disk."""
        data, folder = self.config.data, self.folder / "data"
        options = labelled_options(data)
        classes, split = self._labels_and_split()
        shared: dict[str, Any] = {"classes": classes, "names": data.label_names, "quiet": self.quiet}
        train, *rest = prepare_labelled(tokenizer, data.source, options, folder, held_out=split, **shared)
        if split is None:
            rest = prepare_labelled(tokenizer, data.validation, options, folder, **shared)
        return train, rest[0]

    def _labels_and_split(self) -> tuple[tuple[str, ...], NDArray[np.bool_] | None]:
        """The classes of the source, and which of its texts are held out; None if there are held-out sources."""
        data = self.config.data
        labels, _ = scan(data.source, labelled_options(data), data.label_names, self.quiet, data.validation)
        classes = class_names(labels)
        return classes, None if data.validation else held_out_records(labels, data.held_out)

    def vector_datasets(self) -> tuple[VectorDataset, VectorDataset]:
        """Training and held-out sequences of vectors with their labels or values, read once and kept on disk."""
        data, folder = self.config.data, self.folder / "data"
        options = vector_options(data)
        shared: dict[str, Any] = {"task": self.config.task, "names": data.label_names, "quiet": self.quiet}
        held_out = None if data.validation else data.held_out
        train, *rest = prepare_vectors(data.source, options, folder, held_out=held_out, **shared)
        if data.validation:
            scaling = (train.mean, train.scale)
            classes = train.labels or None
            rest = prepare_vectors(data.validation, options, folder, classes=classes, scaling=scaling, **shared)
        return train, rest[0]

    def series(self) -> Series:
        """The series that is trained on, with its held-out part."""
        data = self.config.data
        return prepare_series(
            data.source,
            data.values,
            held_out=data.held_out,
            validation=data.validation,
            horizon=self.config.model.horizon,
        )

    def prepare(self) -> Sequence[TokenDataset | LabelledDataset | VectorDataset | Series]:
        """What is trained on and what is held out, whatever the task; the tokenizer too if there is one."""
        self._require_sources()
        if self.forecasts:
            return (self.series(),)
        if self.reads_vectors:
            return self.vector_datasets()
        tokenizer = self.tokenizer()
        return self.labelled_datasets(tokenizer) if self.classifies else self.datasets(tokenizer)

    def contents(self) -> dict[str, str | None]:
        """What the sources hold, as digests by the name of the setting; None where there is no source."""
        data = self.config.data
        return {
            f"data.{name}": self._digest(sources) if sources else None
            for name, sources in (("source", data.source), ("validation", data.validation))
        }

    def _digest(self, sources: tuple[str, ...]) -> str:
        data = self.config.data
        if self.forecasts:
            return self.series().source_fingerprint  # of both, read together
        if self.reads_vectors:
            return vectors_fingerprint(sources, vector_options(data))
        return source_fingerprint(sources, labelled_options(data) if self.classifies else source_options(data))

    def _require_sources(self) -> None:
        """Keep what the sources hold the first time, and say later if they are gone."""
        if not self.sources.exists():
            contents = self.contents()
            with write_atomically(self.sources) as temporary:
                temporary.parent.mkdir(exist_ok=True)
                temporary.write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")
            return
        data = self.config.data
        for place in (*data.source, *data.validation):
            if Path(place).is_absolute() and not Path(place).exists():
                raise UserError(
                    f"the data of a run must be where they were, {place} is not there; give the place they moved to:"
                    f" textrnn train NEW_PLACE --resume --out {self.folder}"
                )

    def require_same_content(self) -> None:
        """Refuse sources whose content is not what the run was made from."""
        if not self.sources.exists():
            return  # nothing was made of them yet
        before = json.loads(self.sources.read_text(encoding="utf-8"))
        for name, digest in self.contents().items():
            if before.get(name) != digest:
                places = ", ".join(getattr(self.config.data, name.removeprefix("data.")))
                raise UserError(
                    f"{self.folder} was made from other data, {places or 'none'} ({name}) has other content; resume it"
                    f" without a SOURCE, or train anew into another --out"
                )

    def remove_unless_trained(self) -> None:
        """Remove a new folder that would only stand in the way of another try."""
        if not (self.checkpoint.exists() or self.history.exists() or is_unfinished(self.folder / "data")):
            shutil.rmtree(self.folder)

    def remove_leftovers(self) -> None:
        """Remove what a killed process was writing; only for the one that trains, another may be writing now."""
        for leftover in self.folder.rglob(".*.tmp"):
            leftover.unlink() if leftover.is_file() else shutil.rmtree(leftover)


def create_run(folder: Path, config: Config, quiet: bool = False) -> Run:
    """A new run folder with its configuration; refused are an existing one, and settings of another task."""
    if folder.exists():
        raise UserError(
            f"a new run needs a folder that does not exist yet, found: {folder}; add --resume, or give another --out"
        )
    require_fitting(config)
    config = absolute_sources(config)
    with new_folder(folder) as temporary:
        in_columns = config.task != "language_model" or config.data.text != defaults_of(config).data.text
        sources = keep_input(config.data.source, temporary, in_columns, folder)
        config = replace(config, data=replace(config.data, source=sources))
        if config.model.init_from:
            # Copied now: the run can be resumed whatever becomes of the other model.
            default = defaults_of(config)
            config, tokenizer, arrays = take_over(config)
            require_applicable(config, _with_model_of(default, config))  # which its layers can change
            if tokenizer:
                tokenizer.save(temporary)
            save_checkpoint(temporary / Run(folder, config).initial.name, Progress(), arrays)
        (temporary / "config.json").write_text(_as_json(config), encoding="utf-8")
    return Run(folder, config, quiet)


def open_run(folder: Path, config: Config | None = None, quiet: bool = False) -> Run:
    """An existing run folder.

    Args:
        folder: the run folder.
        config: if given, the configuration the run must have, all but `data.processes` and the places of its sources.
            Sources at other places are kept as those of the run.
        quiet: show no progress.

    Raises:
        UserError: no run there, or one of another configuration or of other data.
    """
    found = with_kept_input(read_config(folder), folder)
    if config is not None:
        stated = with_kept_input(_as_taken_over(absolute_sources(config), found), folder)
        found = with_sources_of(found, stated)
        found = replace(found, data=replace(found.data, processes=config.data.processes))
        if differing := _differences(stated, found):
            raise UserError(
                f"a run goes on with the settings it was made with, {folder} differs in {'; '.join(differing)}; resume"
                " it with --out alone, or give another --out"
            )
    run = Run(folder, with_fitted_values(found, read_fitted(folder)), quiet)
    if config is not None and found.data != read_config(folder).data:
        run.require_same_content()
        with write_atomically(folder / "config.json") as temporary:
            temporary.write_text(_as_json(found), encoding="utf-8")
    return run


def _as_json(config: Config) -> str:
    return json.dumps(config.to_dict(), indent=2, ensure_ascii=False) + "\n"


def _differences(stated: Config, found: Config) -> list[str]:
    """Settings that differ, the first of them, as people read them."""
    differing = [
        f"{key}, which was {value_of(found, key)!r} and is {value_of(stated, key)!r} now"
        for key in settings()
        if value_of(stated, key) != value_of(found, key)
    ]
    return differing if len(differing) <= MOST_DIFFERENCES else [*differing[:MOST_DIFFERENCES], "other settings"]


def _as_taken_over(config: Config, found: Config) -> Config:
    """A configuration as it is once the model it starts from has given what it gives; it gave that to `found`."""
    if not config.model.init_from or config.model.init_from != found.model.init_from:
        return config
    return _with_model_of(config, found)


def _with_model_of(config: Config, found: Config) -> Config:
    """Return a configuration with the tokenizer and the architecture of another."""
    model = replace(config.model, **{name: getattr(found.model, name) for name in ARCHITECTURE})
    return replace(config, tokenizer=found.tokenizer, model=model)


def source_options(data: DataConfig) -> SourceOptions:
    """How the sources of a run are read."""
    return SourceOptions(text=data.text, errors=data.errors, documents=data.document)


def labelled_options(data: DataConfig) -> SourceOptions:
    """How the labelled sources of a run are read."""
    return replace(source_options(data), label=data.label)


def vector_options(data: DataConfig) -> VectorOptions:
    """How the sources of vectors of a run are read."""
    return VectorOptions(data.values, data.label, data.steps, data.permutation, data.errors)


def start_id(tokenizer: Tokenizer, train: TokenDataset, apart: bool) -> int:
    """The token that stands before the first one of a text.

    With documents apart it is the end of the document before; else a new line, if that is one token, else the most
    frequent token of the training text: something the model has read often.
    """
    if apart:
        return END_ID
    newline = tokenizer.encode("\n")
    sample = np.asarray(train.ids[: 1 << 20])
    if len(newline) == 1 and np.any(sample == newline[0]):
        return int(newline[0])
    return int(np.bincount(sample).argmax())


def run_fingerprint(
    config: Config, tokenizer: Tokenizer | None, *datasets: TokenDataset | LabelledDataset | VectorDataset | Series
) -> str:
    """What a checkpoint belongs to: the settings that decide the weights, the tokenizer and the data."""
    decides = config.to_dict()
    for name in ("processes", "source", "validation"):  # no weight follows from it, and their content stands below
        del decides["data"][name]
    parts = [json.dumps(decides, sort_keys=True), tokenizer.fingerprint if tokenizer else ""]
    parts += [dataset.source_fingerprint for dataset in datasets]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _tokenizer_options(config: TokenizerConfig) -> dict[str, object]:
    options: dict[str, object] = {}
    if config.vocabulary_size:
        options["vocabulary_size"] = config.vocabulary_size
    if config.kind == "sentencepiece":
        return {**options, "model_type": config.model_type}
    options["min_count"] = config.min_count
    if config.kind == "word":
        options |= {"lowercase": config.lowercase, "split": config.split}
    return options
