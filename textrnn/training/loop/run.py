"""A run folder: the files of one training run.

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
        forecast.png        of a forecaster: held-out values and their forecasts
        bundle/             the finished model
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from textrnn.config import Config
from textrnn.data.tokens.datasets import TokenDataset, is_unfinished
from textrnn.tokenizers.base import END_ID, Tokenizer
from textrnn.training.loop.checkpoints import BEST


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
    def resume_command(self) -> str:
        """The command that resumes the run, for a shell."""
        return f"textrnn train --resume --out {shlex.quote(str(self.folder))}"

    @property
    def sources(self) -> Path:
        return self.folder / "data" / "sources.json"

    def remove_unless_trained(self) -> None:
        """Remove a new folder that would only stand in the way of another try."""
        if not (self.checkpoint.exists() or self.history.exists() or is_unfinished(self.folder / "data")):
            shutil.rmtree(self.folder)

    def remove_leftovers(self) -> None:
        """Remove what a killed process was writing; only for the one that trains, another may be writing now."""
        for leftover in self.folder.rglob(".*.tmp"):
            leftover.unlink() if leftover.is_file() else shutil.rmtree(leftover)


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


def run_fingerprint(config: Config, tokenizer: Tokenizer | None, *datasets: Any) -> str:
    """What a checkpoint belongs to: the settings that decide the weights, the tokenizer and the data."""
    decides = config.to_dict()
    for name in ("processes", "source", "validation"):  # no weight follows from it, and their content stands below
        del decides["data"][name]
    parts = [json.dumps(decides, sort_keys=True), tokenizer.fingerprint if tokenizer else ""]
    parts += [dataset.source_fingerprint for dataset in datasets]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
