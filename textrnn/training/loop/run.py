"""A run folder: the files of one training run.

::

    RUN/config.json         every setting
        fitted.json         settings that were reduced because the data are few
        stdin.*             the data, if they came from standard input
        memory.*            the data, if a program had them in memory
        tokenizer.*         trained on the training part of the text; target_tokenizer.*: of targets, text to text
        start/              the tokenizer of the model that a run learns on from
        init.npz            the weights that a run took over from another model
        continued.json      of a finished run that goes on: its epochs, and where it went on
        data/               token ids on disk; sources.json: fingerprints of the sources' content
        checkpoint.npz      exact resume
        best.npz            the weights with the lowest held-out loss
        direct.npz          classifiers of texts: the direct path from n-grams to classes
        history.jsonl       one line per measurement    curves.png  its loss curves
        report.*            classifiers, text to text: correct and wrong predictions on held-out texts
        forecast.png        forecasters: held-out values and their forecasts
        bundle/             the finished model
        search.json         of `textrnn train --budget`: what was tried     trials.txt  the same as a table
        trials/             run folders of the trials, as long as the search lasts
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from textrnn.config import Config
from textrnn.data.tokens.datasets import TokenDataset, is_unfinished
from textrnn.errors import UserError
from textrnn.files import write_atomically
from textrnn.platforms import quoted
from textrnn.tokenizers.base import END_ID, Tokenizer
from textrnn.training.loop.checkpoints import BEST


@dataclass(frozen=True)
class Continued:
    """How a finished run goes on.

    Attributes:
        epochs: the epochs of the run, all of them; None for a run that never went on.
        first: the setting ``train.epochs`` that the run was made with.
        starts: steps after which it went on; at each, the schedule of the learning rate begins again.
        exported: whether the bundle is that of all epochs.
    """

    epochs: float | None = None
    first: float | None = None
    starts: tuple[int, ...] = ()
    exported: bool = True

    @property
    def start(self) -> int:
        """The step at which the present schedule began."""
        return self.starts[-1] if self.starts else 0

    def save(self, folder: Path) -> None:
        """Write it to a run folder."""
        facts = {"epochs": self.epochs, "first": self.first, "starts": self.starts, "exported": self.exported}
        with write_atomically(folder / "continued.json") as temporary:
            temporary.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Continued:
        """Read it from a run folder.

        Raises:
            UserError: the file is damaged.
        """
        path = folder / "continued.json"
        if not path.exists():
            return cls()
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            starts = tuple(int(step) for step in facts["starts"])
            return cls(float(facts["epochs"]), float(facts["first"]), starts, bool(facts["exported"]))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(f"{path} cannot be used ({error}); restore it or train again") from error


@dataclass(frozen=True)
class Run:
    """The folder of one run and its configuration.

    Attributes:
        folder: the folder.
        config: the configuration.
        quiet: show no progress.
        share: share of the epochs that are trained; below 1 for a trial of a search.
        continued: how it goes on after it had ended.
    """

    folder: Path
    config: Config
    quiet: bool = False
    share: float = 1.0
    continued: Continued = Continued()

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
    def start(self) -> Path:
        """The folder of the tokenizer of the model that the run learns on from."""
        return self.folder / "start"

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

    @property
    def needs_bundle(self) -> bool:
        """Whether its bundle is not there, or that of fewer epochs."""
        return not (self.bundle.exists() and self.continued.exported)

    def write_bundle(self, export: Callable[[Path], object]) -> None:
        """Write the bundle by a function that makes a folder; one that is there stays until the new one is whole."""
        if not self.bundle.exists():
            export(self.bundle)
        else:
            new, old = (self.bundle.with_name(f".{name}.{os.getpid()}.tmp") for name in ("bundle", "old_bundle"))
            export(new)
            self.bundle.rename(old)
            new.rename(self.bundle)
            shutil.rmtree(old)
        if not self.continued.exported:
            replace(self.continued, exported=True).save(self.folder)

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


def run_fingerprint(run: Run, tokenizer: Tokenizer | None, *datasets: Any) -> str:
    """Return the hash that ties a checkpoint to its run: settings that determine the weights, tokenizer and data."""
    decides = run.config.to_dict()
    for name in ("processes", "source", "mix", "validation"):  # do not affect weights; their content is hashed below
        del decides["data"][name]
    if run.continued.first is not None:
        decides["train"]["epochs"] = run.continued.first
    parts = [json.dumps(decides, sort_keys=True), tokenizer.fingerprint if tokenizer else ""]
    parts += [dataset.source_fingerprint for dataset in datasets]
    if run.config.data.mix:
        parts.append(json.loads(run.sources.read_text(encoding="utf-8"))["data.mix"])
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
