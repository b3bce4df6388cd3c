"""Evaluation of a trained model that adapts to the text just read: dynamic evaluation, a cache, or both.

Settings that the user does not give are searched on the run's held-out text, never on the evaluated text.
"""

from __future__ import annotations

import functools
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tqdm import tqdm

from textrnn.data.tokens.datasets import TokenDataset
from textrnn.errors import UserError
from textrnn.scoring import CHUNK_LOGITS, TextMetrics, TextSize
from textrnn.tokenizers.base import END_ID, Tokenizer
from textrnn.training.adaptation.continuous_cache import ContinuousCache, Nats, mixed
from textrnn.training.adaptation.dynamic_evaluation import DynamicEvaluation, Reading
from textrnn.training.adaptation.settings import FIRST, CacheSettings, DynamicSettings
from textrnn.training.loop.checkpoints import load_checkpoint
from textrnn.training.loop.compilation import Compiler
from textrnn.training.loop.run import Run, run_fingerprint, start_id
from textrnn.training.network.language_model import LanguageModel

# Number of held-out tokens on which each value of a setting is evaluated.
SEARCH_TOKENS = 10_000
DECAYS = (0.0, 0.003, 0.03)
MOST_DOUBLINGS = 8  # maximum number of times the learning rate is doubled or halved
# Divided by the standard deviation of the products of states, whose scale differs between models.
THETAS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
WEIGHTS = (0.02, 0.05, 0.08, 0.12, 0.16, 0.2, 0.25, 0.3, 0.4)

Readings = Iterable[Reading]


@dataclass(frozen=True)
class Adapted:
    """The result of an evaluation: metrics, settings and time."""

    metrics: TextMetrics
    settings: dict[str, float]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return all values, ready for JSON."""
        return {**self.metrics.to_dict(), "settings": self.settings, "seconds": round(self.seconds, 1)}


class Adaptation:
    """An evaluation of a run's best weights on texts, with dynamic evaluation or a cache.

    Args:
        run: a run that trained a language model.
        tokenizer: its tokenizer.
        train: its training data.
        held_out: its held-out data, on which settings are searched.
        settings: settings given by the user, by name as `parse_settings` returns them.
        quiet: show no progress.

    Raises:
        UserError: the run has no weights, or they belong to another text.
    """

    def __init__(
        self,
        run: Run,
        tokenizer: Tokenizer,
        train: TokenDataset,
        held_out: TokenDataset,
        settings: Mapping[str, float],
        quiet: bool = False,
    ) -> None:
        config = run.config
        progress, arrays = load_checkpoint(run.best)
        if progress.fingerprint != run_fingerprint(run, tokenizer, train, held_out):
            raise UserError(
                f"{run.best} belongs to another configuration, tokenizer or text; restore those of the run, or train"
                " again"
            )
        self.model = LanguageModel(
            config.model,
            tokenizer.vocabulary_size,
            config.seed,
            "float32",
            separate_documents=config.data.separate_documents,
        )
        self.model.set_arrays(arrays)
        self.start_id = start_id(tokenizer, train, config.data.separate_documents)
        self.settings = settings
        self.quiet = quiet
        self._training_ids = train.ids
        self._search_ids = np.asarray(held_out.ids[:SEARCH_TOKENS])
        self._read_block = Compiler(self.model).of_tokens(self._read)

    def measure(self, ids: NDArray[Any], size: TextSize, dynamic: bool, cache: int | None) -> dict[str, Adapted]:
        """Measure how well the model predicts a text.

        Args:
            ids: the text, int ``(tokens,)``.
            size: size of the text.
            dynamic: whether to use dynamic evaluation.
            cache: number of positions in the cache; None for no cache.

        Returns:
            results by name: "dynamic", "cache", and "dynamic_and_cache" if both are used.

        Raises:
            UserError: the loss is not finite.
        """
        measured: dict[str, Adapted] = {}

        def record(name: str, total: float, settings: dict[str, float], began: float) -> None:
            if not math.isfinite(total):
                raise _diverged()
            measured[name] = Adapted(TextMetrics.of(total, len(ids), size), settings, time.monotonic() - began)

        if cache is not None:
            of_cache = self._cache_settings(cache, self._static(self._search_ids, "searching the cache"))
            began = time.monotonic()
            _, total = self._totals(self._static(ids, "with the cache"), ids, of_cache)
            record("cache", total, _named("cache", of_cache), began)
        if dynamic:
            reader = DynamicEvaluation(
                self.model, self._training_ids, int(self._given("dynamic.segment", FIRST.segment))
            )
            found = self._dynamic_settings(reader)
            of_both = None
            if cache is not None:
                of_both = self._cache_settings(cache, self._dynamic(reader, self._search_ids, found, "searching both"))
            began = time.monotonic()
            alone, both = self._totals(self._dynamic(reader, ids, found, "dynamic evaluation"), ids, of_both)
            settings = _named("dynamic", found)
            record("dynamic", alone, settings, began)
            if of_both:
                record("dynamic_and_cache", both, settings | _named("cache", of_both), began)
        return measured

    def _given(self, name: str, otherwise: float) -> float:
        return self.settings.get(name, otherwise)

    # Reading

    def _read(self, inputs: Any, targets: Any, state: Any) -> tuple[Any, Any, Any]:
        hidden, state = self.model.read(inputs, state)
        return self.model.token_loss(hidden, targets), hidden, state

    def _static(self, ids: NDArray[Any], what: str) -> Iterator[Reading]:
        """Read a text with fixed weights."""
        block = max(1, min(256, CHUNK_LOGITS // self.model.backbone.vocabulary_size))
        state, last = self.model.backbone.initial_state(1), self.start_id
        with self._bar(len(ids), what) as bar:
            for begin in range(0, len(ids), block):
                part = ids[begin : begin + block]
                inputs, targets = np.zeros((2, 1, block), np.int32)  # a fixed shape compiles only once
                inputs[0, : len(part)], targets[0, : len(part)] = [last, *part[:-1]], part
                nats, hidden, state = self._read_block(tf.constant(inputs), tf.constant(targets), state)
                yield Reading(nats.numpy()[: len(part), 0], hidden.numpy()[: len(part), 0])
                last = int(part[-1])
                bar.update(len(part))

    def _dynamic(
        self, reader: DynamicEvaluation, ids: NDArray[Any], settings: DynamicSettings, what: str
    ) -> Iterator[Reading]:
        with self._bar(len(ids), what) as bar:
            for reading in reader.read(ids, self.start_id, settings.learning_rate, settings.decay):
                yield reading
                bar.update(len(reading.nats))

    def _bar(self, total: int, what: str) -> Any:
        return tqdm(
            total=total, desc=what, unit="token", unit_scale=True, disable=self.quiet, delay=1, leave=False,
            file=sys.stderr,
        )  # fmt: skip

    def _totals(self, readings: Readings, ids: NDArray[Any], settings: CacheSettings | None) -> tuple[float, float]:
        """Return the total nats without and with a cache; the second is NaN if there is no cache."""
        cache = ContinuousCache(settings.size, [settings.theta]) if settings else None
        alone, together, begin = 0.0, 0.0 if settings else math.nan, 0
        documents = self._documents(ids)
        for nats, hidden in _in_blocks(readings):
            alone += float(nats.sum())
            if cache and settings:
                part = slice(begin, begin + len(nats))
                probs, known = cache.add(hidden, ids[part], documents[part])
                together += float(mixed(nats, probs[0], known, settings.weight).sum())
            begin += len(nats)
        return alone, together

    def _documents(self, ids: NDArray[Any]) -> NDArray[np.int64]:
        """Return the document number of each token; all are 0 unless documents are separate."""
        if not self.model.separate_documents:
            return np.zeros(len(ids), np.int64)
        ends = (np.asarray(ids) == END_ID).astype(np.int64)
        documents: NDArray[np.int64] = np.cumsum(ends) - ends
        return documents

    # Searching

    def _dynamic_settings(self, reader: DynamicEvaluation) -> DynamicSettings:
        """Return the given settings and the best values of the others.

        The search tries the learning rate first, by factors of 2, then the decay.
        """

        @functools.cache
        def loss(learning_rate: float, decay: float) -> float:
            settings = DynamicSettings(learning_rate, decay, reader.segment)
            what = f"searching: learning rate {learning_rate:.3g}, decay {decay:g}"
            total, _ = self._totals(self._dynamic(reader, self._search_ids, settings, what), self._search_ids, None)
            return total if math.isfinite(total) else math.inf

        decay = self._given("dynamic.decay", FIRST.decay)
        learning_rate = self._given("dynamic.learning_rate", FIRST.learning_rate)
        if "dynamic.learning_rate" not in self.settings:
            learning_rate = _climb(lambda rate: loss(rate, decay), learning_rate)
        if "dynamic.decay" not in self.settings:
            decay = min((decay, *DECAYS), key=lambda each: loss(learning_rate, each))
        return DynamicSettings(learning_rate, decay, reader.segment)

    def _cache_settings(self, size: int, readings: Readings) -> CacheSettings:
        """Return the given settings and the best values of the others, by a search over all pairs."""
        theta, weight = self.settings.get("cache.theta"), self.settings.get("cache.weight")
        if theta is not None and weight is not None:
            return CacheSettings(size, theta, weight)
        parts = list(_in_blocks(readings))
        nats, hidden = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        if not np.isfinite(nats).all():
            raise _diverged()
        sample = hidden[:: max(1, len(hidden) // 500)]
        spread = max(float((sample @ sample.T).std()), 1e-9)
        thetas = [theta] if theta is not None else [each / spread for each in THETAS]
        weights = [weight] if weight is not None else WEIGHTS
        ids = self._search_ids
        probs, known = ContinuousCache(size, thetas).add(hidden, ids, self._documents(ids))
        pairs = [(number, each) for number in range(len(thetas)) for each in weights]
        number, best = min(pairs, key=lambda pair: mixed(nats, probs[pair[0]], known, pair[1]).sum())
        return CacheSettings(size, float(f"{thetas[number]:.3g}"), best)


def _diverged() -> UserError:
    return UserError("the loss must stay finite, was not; lower dynamic.learning_rate")


def _named(kind: str, settings: DynamicSettings | CacheSettings) -> dict[str, float]:
    """Return settings by their full names."""
    return {f"{kind}.{name}": value for name, value in asdict(settings).items()}


def _climb(loss: Callable[[float], float], value: float) -> float:
    """Return the best value found by doubling, or else by halving, while the loss falls or is infinite."""
    best = loss(value)
    for factor in (2.0, 0.5):
        start = value
        for _ in range(MOST_DOUBLINGS):
            tried = loss(value * factor)
            if tried >= best and (factor > 1 or best < math.inf):
                break
            value, best = value * factor, tried
        if value != start:
            break
    return value


def _in_blocks(readings: Readings, tokens: int = 256) -> Iterator[tuple[Nats, NDArray[np.float32]]]:
    """Yield nats and hidden states of readings joined to at least `tokens` tokens.

    Large blocks make the matrix products of a cache efficient.
    """
    waiting: list[Reading] = []
    count = 0
    for reading in readings:
        waiting.append(reading)
        count += len(reading.nats)
        if count >= tokens:
            yield _joined(waiting)
            waiting, count = [], 0
    if waiting:
        yield _joined(waiting)


def _joined(readings: Sequence[Reading]) -> tuple[Nats, NDArray[np.float32]]:
    nats = np.concatenate([reading.nats for reading in readings]).astype(np.float64)
    return nats, np.concatenate([reading.hidden for reading in readings])
