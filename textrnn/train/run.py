"""A run folder: the files of one training run, and the stages that fill them.

::

    RUN/config.json         every setting, resolved
        tokenizer.*         trained on the training part of the text
        data/               token ids on disk
        checkpoint.npz      exact resume
        best.npz            the weights with the lowest held-out loss
        history.jsonl       one line a measurement      curves.png  the same as a picture
        bundle/             the finished model
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from textrnn.config import Config, DataConfig, TokenizerConfig, from_dict
from textrnn.errors import UserError
from textrnn.files import new_folder
from textrnn.tokenizers import KINDS, load_tokenizer, train_tokenizer
from textrnn.tokenizers.base import END_ID, Tokenizer
from textrnn.train.datasets import TokenDataset, prepare, training_texts
from textrnn.train.sources import SourceOptions


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
        return self.folder / "best.npz"

    @property
    def history(self) -> Path:
        return self.folder / "history.jsonl"

    @property
    def curves(self) -> Path:
        return self.folder / "curves.png"

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    def tokenizer(self) -> Tokenizer:
        """The run's tokenizer, trained on the training part of the text if it is not there yet."""
        config = self.config.tokenizer
        if (self.folder / KINDS[config.kind].file_name).exists():
            return load_tokenizer(self.folder, config.kind)
        data = self.config.data
        texts = training_texts(
            data.source,
            source_options(data),
            held_out=None if data.validation else data.held_out,
            documents_apart=data.apart,
            quiet=self.quiet,
        )
        tokenizer = train_tokenizer(config.kind, texts, **_tokenizer_options(config))
        tokenizer.save(self.folder)
        return tokenizer

    def datasets(self, tokenizer: Tokenizer) -> tuple[TokenDataset, TokenDataset]:
        """Training and held-out tokens, tokenised once and kept on disk."""
        data, folder = self.config.data, self.folder / "data"
        options = source_options(data)
        if not data.validation:
            train, held_out = prepare(
                tokenizer, data.source, options, folder,
                documents_apart=data.apart, held_out=data.held_out, quiet=self.quiet,
            )  # fmt: skip
        else:
            train, _ = prepare(
                tokenizer, data.source, options, folder, documents_apart=data.apart, held_out=None, quiet=self.quiet
            )
            held_out, _ = prepare(
                tokenizer, data.validation, options, folder, documents_apart=data.apart, held_out=None, quiet=self.quiet
            )
        if held_out is None or held_out.tokens < 2:
            raise UserError(
                "held-out text must have at least 2 tokens, has fewer; raise data.held_out, or give more text or"
                " data.validation"
            )
        return train, held_out

    def remove_unless_trained(self) -> None:
        """Remove a new folder that would only stand in the way of another try."""
        if not (self.checkpoint.exists() or self.history.exists()):
            shutil.rmtree(self.folder)

    def remove_leftovers(self) -> None:
        """Remove what a killed process was writing; only for the one that trains, another may be writing now."""
        for leftover in self.folder.rglob(".*.tmp"):
            leftover.unlink() if leftover.is_file() else shutil.rmtree(leftover)


def create_run(folder: Path, config: Config, quiet: bool = False) -> Run:
    """A new run folder with its configuration; an existing one is refused."""
    if folder.exists():
        raise UserError(
            f"a new run needs a folder that does not exist yet, found: {folder}; add --resume, or give another --out"
        )
    settings = json.dumps(config.to_dict(), indent=2, ensure_ascii=False) + "\n"
    with new_folder(folder) as temporary:
        (temporary / "config.json").write_text(settings, encoding="utf-8")
    return Run(folder, config, quiet)


def open_run(folder: Path, config: Config | None = None, quiet: bool = False) -> Run:
    """An existing run folder.

    Args:
        folder: the run folder.
        config: if given, the configuration the run must have.
        quiet: show no progress.

    Raises:
        UserError: no run there, or one of another configuration.
    """
    path = folder / "config.json"
    try:
        found = from_dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise UserError(
            f"a run folder holds config.json, found none in: {folder}; give one that textrnn train has made"
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be used ({error}); restore it or train anew") from error
    if config is not None and config != found:
        raise UserError(
            f"{folder} belongs to another configuration; resume it without --config and --set, or give another --out"
        )
    return Run(folder, found, quiet)


def source_options(data: DataConfig) -> SourceOptions:
    """How the sources of a run are read."""
    return SourceOptions(text=data.text, errors=data.errors, documents=data.document)


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


def run_fingerprint(config: Config, tokenizer: Tokenizer, *datasets: TokenDataset) -> str:
    """What a checkpoint belongs to: the settings that decide the weights, the tokenizer and the data."""
    parts = [json.dumps(config.to_dict(), sort_keys=True), tokenizer.fingerprint]
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
