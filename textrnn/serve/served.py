"""The models of a server: loaded in the background, found by name and kind, each with a bounded queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from textrnn.errors import UserError, shown
from textrnn.models.hub import SCHEME
from textrnn.models.places import find_model
from textrnn.runtime.audio_classifier import AudioClassifier
from textrnn.runtime.forecaster import Forecaster
from textrnn.runtime.language_model import LanguageModel
from textrnn.runtime.load import load
from textrnn.runtime.recognizer import Recognizer
from textrnn.runtime.text_classifier import Classifier
from textrnn.runtime.translator import Translator
from textrnn.runtime.vector_models import Regressor, VectorClassifier
from textrnn.serve.scheduler import Full, Scheduler
from textrnn.serve.settings import Settings

T = TypeVar("T")

LANGUAGE_MODELS: tuple[type, ...] = (LanguageModel,)
CLASSIFIERS: tuple[type, ...] = (Classifier, VectorClassifier, Regressor)
FORECASTERS: tuple[type, ...] = (Forecaster,)
TRANSLATORS: tuple[type, ...] = (Translator,)
RECOGNIZERS: tuple[type, ...] = (Recognizer,)


class NotLoaded(Exception):
    """The models are still being loaded."""


class NoSuchModel(UserError):
    """No model of that name, or none of the kind that is needed."""


class Served:
    """One model with its queue.

    Attributes:
        name: name of the model in requests.
        model: the model.
        scheduler: generates its texts; None unless it is a language model.
    """

    def __init__(self, name: str, model: Any, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self.name = name
        self.model = model
        self.scheduler: Scheduler | None = None
        if isinstance(model, LanguageModel):
            self.scheduler = Scheduler(model, settings.streams, settings.queue, loop)
        self._loop = loop
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"textrnn-{name}")
        self._room = 1 + settings.queue
        self.waiting = 0  # requests in `call`, with the one that runs

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function in the model's thread, one after another.

        Raises:
            Full: too many calls are waiting.
        """
        if self.waiting >= self._room:
            raise Full()
        self.waiting += 1
        try:
            return await self._loop.run_in_executor(self._thread, function, *arguments)
        finally:
            self.waiting -= 1

    def describe(self) -> dict[str, Any]:
        """Return what a client may want to know, ready for JSON."""
        manifest = self.model.manifest
        facts: dict[str, Any] = {"name": self.name, "kind": manifest.kind, "precision": manifest.precision}
        card = manifest.card
        facts |= {name: card[name] for name in ("summary", "language", "example") if card.get(name)}
        if manifest.tokenizer:
            facts["tokenizer"] = manifest.tokenizer.kind
        if isinstance(self.model, LanguageModel):
            facts["prompt"] = manifest.runtime.get("prompt", "")
            facts["vocabulary_size"] = self.model.vocabulary_size
        if isinstance(self.model, Classifier | VectorClassifier):
            facts["labels"] = list(self.model.labels)
        if isinstance(self.model, Classifier):
            facts["max_length"] = self.model.max_length
        if isinstance(self.model, Translator):
            facts["longest_source"] = self.model.longest_source
        if isinstance(self.model, Forecaster):
            facts["horizon"] = self.model.horizon
        if isinstance(self.model, AudioClassifier | Recognizer):
            facts["sample_rate"] = self.model.format.sample_rate
        if isinstance(self.model, Forecaster | VectorClassifier | Regressor):
            facts["features"] = self.model.features
        if isinstance(self.model, Forecaster):
            facts["columns"] = list(self.model.columns)
        if isinstance(self.model, Regressor):
            facts["columns"] = manifest.runtime["sources"]["values"]
        return facts

    def close(self) -> None:
        """End the threads."""
        if self.scheduler:
            self.scheduler.close()
        self._thread.shutdown(wait=False, cancel_futures=True)


class Models:
    """The models of a server, by name.

    Args:
        places: what `textrnn.load` takes.
        settings: settings of the server.

    Attributes:
        loaded: set when all models are loaded.

    Raises:
        UserError: two models have the same name, or there is no such model.
    """

    def __init__(self, places: Sequence[str], settings: Settings) -> None:
        self._places = dict[str, str]()
        self._settings = settings
        self._served: dict[str, Served] | None = None
        self.loaded = asyncio.Event()
        for place in places:
            name = name_of(place)
            if name in self._places:
                raise UserError(
                    f"models must have different names, {self._places[name]} and {place} are {name}; rename a folder"
                )
            self._places[name] = place
            if not place.startswith(SCHEME):
                find_model(place)  # so that a wrong name fails before the server listens

    @property
    def is_loaded(self) -> bool:
        """Whether all models are loaded."""
        return self._served is not None

    async def load(self) -> None:
        """Load the models, in other threads.

        Raises:
            UserError: a model cannot be loaded.
        """
        loop = asyncio.get_running_loop()
        served = dict[str, Served]()
        for name, place in self._places.items():
            model = await asyncio.to_thread(load, place)
            served[name] = await asyncio.to_thread(Served, name, model, self._settings, loop)
        self._served = served
        self.loaded.set()

    def all(self) -> list[Served]:
        """Return all models, in the order of the command.

        Raises:
            NotLoaded: they are not loaded yet.
        """
        if self._served is None:
            raise NotLoaded()
        return list(self._served.values())

    def find(self, name: str | None, kinds: tuple[type, ...], what: str) -> Served:
        """Return the model of a name, or the first of a kind.

        Raises:
            NotLoaded: they are not loaded yet.
            NoSuchModel: there is none.
        """
        fitting = [served for served in self.all() if isinstance(served.model, kinds)]
        names = ", ".join(served.name for served in fitting) or "none"
        for served in fitting:
            if name in (None, served.name):
                return served
        if name is None:
            raise NoSuchModel(f"this needs {what}, of which the server has {names}; start it with one")
        raise NoSuchModel(f"model must be {what} of the server, was: {shown(name)}; it has: {names}")

    def close(self) -> None:
        """End all threads."""
        for served in (self._served or {}).values():
            served.close()


def name_of(place: str) -> str:
    """Return the name of a model in requests: that of its folder, or of the run whose bundle it is."""
    plain = place.rstrip("/\\")
    path = Path(plain)
    if path.name == "bundle" and path.absolute().parent.name:
        return path.absolute().parent.name
    return path.name or path.absolute().name
