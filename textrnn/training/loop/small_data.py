"""Batch size, sequence length and layer size for small data: defaults shrink, and one line reports it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from textrnn.config import Config
from textrnn.data.series import Series
from textrnn.errors import UserError
from textrnn.files import write_atomically
from textrnn.training.loop.run import Run

STEPS_A_PASS = 12  # minimum steps per epoch of a language model with default batch size and sequence length
BATCHES_A_SET = 8  # minimum batches per epoch of texts or vectors with the default batch size
MOST_EPOCHS = 40.0  # maximum if no number of epochs is set
SMALLEST_BATCH, SHORTEST_WINDOW = 8, 32  # lower limits of shrunk defaults
FEWEST_ROWS, TOKENS_A_ROW = 1024, 32  # of the table of input n-grams
UNITS = ((50_000, 128), (300_000, 256))  # pairs: below this number of tokens, this number of units per layer
FITTED_FILE = "fitted.json"
FITTED = (
    ("train", "batch_size"),
    ("train", "sequence_length"),
    ("train", "recompute"),
    ("model", "hidden_dim"),
    ("model", "ngram_rows"),
)
"""Settings that this module reduces."""


def fit_to_tokens(config: Config, default: Config, tokens: int, replicas: int) -> Config:
    """Return the configuration of a language model whose size and batches suit the training text.

    Defaults shrink until an epoch has enough steps. Values that the user set shrink only until one batch fits.

    Args:
        config: configuration of the run.
        default: that of its task.
        tokens: length of the training text.
        replicas: number of replicas that share a batch, whose size is a multiple of it.

    Raises:
        UserError: the text is too short for any batch.
    """
    train = config.train
    batch, length = train.batch_size, train.sequence_length
    if (batch, length) == (default.train.batch_size, default.train.sequence_length):
        while batch * length * STEPS_A_PASS > tokens and batch // 2 >= max(SMALLEST_BATCH, replicas):
            batch //= 2
        while batch * length * STEPS_A_PASS > tokens and length // 2 >= SHORTEST_WINDOW:
            length //= 2
    while batch * (length + 1) > tokens and batch > replicas:
        batch = max(replicas, batch // 2 // replicas * replicas)
    length = min(length, tokens // batch - 1)
    if length < 1:
        raise UserError(f"training text must have at least {2 * replicas} tokens, has {tokens}; give more text")
    units = config.model.hidden_dim
    if config.model.init_from:  # the size is that of the other model
        default = replace(default, model=replace(default.model, hidden_dim=0, ngram_rows=0))
    if units == default.model.hidden_dim:
        units = next((few for fewer_than, few in UNITS if tokens < fewer_than), units)
    rows = _suitable_rows(config, default, tokens)
    recompute = train.recompute if length == train.sequence_length else 0
    return replace(
        config,
        model=replace(config.model, hidden_dim=units, ngram_rows=rows),
        train=replace(train, batch_size=batch, sequence_length=length, recompute=recompute),
    )


def _suitable_rows(config: Config, default: Config, tokens: int) -> int:
    """Return the rows of the table of input n-grams that suit a training text; those of another model stay."""
    rows, model = config.model.ngram_rows, config.model
    if rows == default.model.ngram_rows and model.input_ngrams > 1 and not model.init_from:
        while rows > FEWEST_ROWS and rows // 2 * TOKENS_A_ROW >= tokens:
            rows //= 2
    return rows


def fit_to_records(config: Config, default: Config, records: int, replicas: int, tokens: int = 0) -> Config:
    """Return the configuration of a classifier or regressor that suits its training records.

    Args:
        config: configuration of the run.
        default: that of its task.
        records: number of training records.
        replicas: number of replicas that share a batch, whose size is a multiple of it.
        tokens: number of tokens of the records; 0 if they are vectors.

    Raises:
        UserError: there are fewer records than replicas.
    """
    batch = min(config.train.batch_size, records)
    if config.train.batch_size == default.train.batch_size:
        batch = min(batch, max(SMALLEST_BATCH, records // BATCHES_A_SET))
    batch = batch // replicas * replicas
    if not batch:
        raise UserError(f"each of {replicas} replicas needs a record to train on, there are {records}; give more")
    model = replace(config.model, ngram_rows=_suitable_rows(config, default, tokens))
    return replace(config, model=model, train=replace(config.train, batch_size=batch))


def fit_to_series(config: Config, series: Series) -> Config:
    """Return the configuration of a forecaster whose window is at most half of the training data."""
    longest = max(1, (series.training - config.model.horizon) // 2)
    length = min(config.train.sequence_length, longest)
    return replace(config, train=replace(config.train, sequence_length=length))


def enough_epochs(steps_per_epoch: int, steps: int, fewest: int, most: float = MOST_EPOCHS) -> float:
    """Return the default number of epochs: enough for `steps` steps, between `fewest` and `most`."""
    return min(most, float(max(fewest, round(steps / steps_per_epoch))))


def fitted_values(config: Config) -> dict[str, int]:
    """Return the settings of `FITTED` by their keys."""
    return {f"{section}.{name}": getattr(getattr(config, section), name) for section, name in FITTED}


def with_fitted_values(config: Config, values: Mapping[str, int]) -> Config:
    """Return a configuration with the settings from `fitted_values`."""
    for section, name in FITTED:
        if (key := f"{section}.{name}") in values:
            config = replace(config, **{section: replace(getattr(config, section), **{name: values[key]})})
    return config


def write_fitted(folder: Path, values: Mapping[str, int]) -> None:
    """Write settings of `FITTED`, by their keys, to a run folder; `read_fitted` reads them."""
    with write_atomically(folder / FITTED_FILE) as temporary:
        temporary.write_text(json.dumps(dict(values), indent=2) + "\n", encoding="utf-8")


def read_fitted(folder: Path) -> dict[str, int]:
    """Return the settings that were reduced for the data of a run, by their keys; empty if there are none.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / FITTED_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not (isinstance(values, dict) and all(type(value) is int and value >= 0 for value in values.values())):
            raise ValueError("it must hold whole numbers by name")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be used ({error}); restore it or train again") from error
    return values


def say_what_shrank(before: Config, after: Config, what: str) -> None:
    """Print one line that names the settings that are smaller than configured, if there are any.

    Args:
        before: the configuration of the user.
        after: the configuration that suits the data.
        what: the amount of data, as text for the message.
    """
    pairs = zip(fitted_values(before).items(), fitted_values(after).values(), strict=True)
    changed = [f"{name} {old} -> {new}" for (name, old), new in pairs if old != new]
    if changed:
        print(f"{what} are few, so some settings are smaller: {', '.join(changed)}", file=sys.stderr)


def fitted(run: Run, config: Config, what: str, keep: bool) -> Run:
    """Return a run with settings that suit its data; report them and write them to its folder.

    Values that the folder has already are kept: those of a resumed run, and those that a search chose.

    Args:
        run: the run.
        config: configuration that suits the data.
        what: the amount of data, as text for the message.
        keep: whether this process writes files.
    """
    config = with_fitted_values(config, read_fitted(run.folder))
    if config == run.config:
        return run
    if not run.quiet:
        say_what_shrank(run.config, config, what)
    if keep:
        write_fitted(run.folder, fitted_values(config))
    return replace(run, config=config)
