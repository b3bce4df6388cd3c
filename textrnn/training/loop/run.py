"""A run folder: the files of one training run.

::

    RUN/config.json         every setting
        fitted.json         settings that were reduced because the data are few
        stdin.*             the data, if they came from standard input
        memory.*            the data, if a program had them in memory
        tokenizer.*         trained on the training part of the text
        init.npz            the weights that a classifier took over from another model
        data/               token ids on disk; sources.json: fingerprints of the sources' content
        checkpoint.npz      exact resume
        best.npz            the weights with the lowest held-out loss
        direct.npz          classifiers of texts: the direct path from n-grams to classes
        history.jsonl       one line per measurement    curves.png  its loss curves
        report.*            classifiers: correct and wrong predictions on held-out texts
        forecast.png        forecasters: held-out values and their forecasts
        bundle/             the finished model
        search.json         of `textrnn train --budget`: what was tried     trials.txt  the same as a table
        trials/             run folders of the trials, as long as the search lasts
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from textrnn.config import Config
from textrnn.data.tokens.datasets import TokenDataset, is_unfinished
from textrnn.platforms import quoted
from textrnn.tokenizers.base import END_ID, Tokenizer
from textrnn.training.loop.checkpoints import BEST


@dataclass(frozen=True)
class Run:
    """The folder of one run and its configuration.

    Attributes:
        folder: the folder.
        config: the configuration.
        quiet: show no progress.
        share: share of the epochs that are trained; below 1 for a trial of a search.
    """

    folder: Path
    config: Config
    quiet: bool = False
    share: float = 1.0

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
    def trials(self) -> Path:
        """The run folders of a search, as long as it lasts."""
        return self.folder / "trials"

    @property
    def resume_command(self) -> str:
        """The shell command that resumes the run."""
        return f"textrnn train --resume --out {quoted(str(self.folder))}"

    @property
    def sources(self) -> Path:
        return self.folder / "data" / "sources.json"

    def remove_unless_trained(self) -> None:
        """Remove a new folder without any training result, because it would block another attempt."""
        in_trials = any(self.trials.rglob(self.checkpoint.name))
        if not (in_trials or self.checkpoint.exists() or self.history.exists() or is_unfinished(self.folder / "data")):
            shutil.rmtree(self.folder, ignore_errors=True)  # Windows refuses for the lock, which `locked` removes

    def remove_leftovers(self) -> None:
        """Remove the temporary files of a killed process; the caller must hold the lock.

        Without the lock another process may be writing these files.
        """
        for leftover in self.folder.rglob(".*.tmp"):
            leftover.unlink() if leftover.is_file() else shutil.rmtree(leftover)


def start_id(tokenizer: Tokenizer, train: TokenDataset, apart: bool) -> int:
    """Return the token that precedes the first token of a text.

    With separate documents it is the end token. Otherwise it is a new line if that is one token of the training text,
    else the most frequent token of the training text, so that the model has read it often.
    """
    if apart:
        return END_ID
    newline = tokenizer.encode("\n")
    sample = np.asarray(train.ids[: 1 << 20])
    if len(newline) == 1 and np.any(sample == newline[0]):
        return int(newline[0])
    return int(np.bincount(sample).argmax())


def run_fingerprint(config: Config, tokenizer: Tokenizer | None, *datasets: Any) -> str:
    """Return the hash that ties a checkpoint to its run: settings that determine the weights, tokenizer and data."""
    decides = config.to_dict()
    for name in ("processes", "source", "validation"):  # do not affect weights; source content is hashed below
        del decides["data"][name]
    parts = [json.dumps(decides, sort_keys=True), tokenizer.fingerprint if tokenizer else ""]
    parts += [dataset.source_fingerprint for dataset in datasets]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
