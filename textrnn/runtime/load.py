"""Loading of finished models."""

from __future__ import annotations

import importlib
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from textrnn.bundle import read_bundle
from textrnn.errors import UserError, require_whole_number, shown
from textrnn.models.places import find_model
from textrnn.runtime.sessions import OfBundle

if TYPE_CHECKING:
    from textrnn.runtime.forecaster import Forecaster
    from textrnn.runtime.language_model import LanguageModel
    from textrnn.runtime.text_classifier import Classifier

# Only the module of the model is imported, because a command ends in less time than it takes to import all of them.
KINDS = {
    "language_model": ("language_model", "LanguageModel"),
    "classifier": ("text_classifier", "Classifier"),
    "multilabel_classifier": ("multilabel_classifier", "MultilabelClassifier"),
    "vector_classifier": ("vector_models", "VectorClassifier"),
    "regressor": ("vector_models", "Regressor"),
    "forecaster": ("forecaster", "Forecaster"),
    "text_to_text": ("translator", "Translator"),
    "recognizer": ("recognizer", "Recognizer"),
}
AUDIO = ("audio_classifier", "AudioClassifier")

M = TypeVar("M", bound=OfBundle)


@overload
def load(path: str | PathLike[str], kind: type[M], *, threads: int = 1) -> M: ...
@overload
def load(path: str | PathLike[str], kind: None = None, *, threads: int = 1) -> Any: ...
def load(path: str | PathLike[str], kind: type[M] | None = None, *, threads: int = 1) -> Any:
    """Load a model from a bundle folder, a run folder with a bundle in it, by its name, or from the hub.

    It is a `LanguageModel`, a `Classifier`, a `MultilabelClassifier`, a `VectorClassifier`, an
    `AudioClassifier`, a `Regressor`, a `Forecaster`, a `Translator` or a `Recognizer`; with `kind`, it must be of that
    class.

    Raises:
        UserError: no bundle there, one of an unknown or another kind, or a file of it missing, damaged or of a newer
            format.
    """
    require_whole_number("threads", threads, 1, "small models are fastest on 1")
    # Absolute: graphs are loaded when they are first used, wherever the current folder is by then.
    bundle = read_bundle(find_model(path).absolute())
    if bundle.manifest.kind not in KINDS:
        raise UserError(
            f"a model must be one of {', '.join(KINDS)}, {bundle.folder} is a {bundle.manifest.kind}; upgrade textrnn"
        )
    module, name = KINDS[bundle.manifest.kind]
    if bundle.manifest.kind == "vector_classifier" and "audio" in bundle.manifest.runtime:
        module, name = AUDIO
    cls: type[OfBundle] = getattr(importlib.import_module(f"textrnn.runtime.{module}"), name)
    if kind is not None and not (isinstance(kind, type) and issubclass(cls, kind)):
        raise UserError(
            f"the model must be a {getattr(kind, '__name__', shown(kind))}, {path} is a {cls.__name__}; give that"
            " class, or leave it out"
        )
    model = cls(bundle, threads=threads)
    run = bundle.folder.parent
    if (run / "config.json").is_file() and run == Path(path).absolute():
        model.run = run
    return model


def load_language_model(path: str | PathLike[str], *, threads: int = 1) -> LanguageModel:
    """Load a language model; see `load`."""
    from textrnn.runtime.language_model import LanguageModel

    model = load(path, threads=threads)
    if not isinstance(model, LanguageModel):
        kind = model.manifest.kind.replace("_", " ")
        command = {"forecaster": "forecast", "recognizer": "transcribe"}.get(model.manifest.kind, "predict")
        raise UserError(f"a language model is needed, {path} is a {kind}; use: textrnn {command} {path}")
    return model


def load_forecaster(path: str | PathLike[str], *, threads: int = 1) -> Forecaster:
    """Load a forecaster; see `load`."""
    from textrnn.runtime.forecaster import Forecaster

    model = load(path, threads=threads)
    if not isinstance(model, Forecaster):
        kind = model.manifest.kind.replace("_", " ")
        raise UserError(f"a forecaster is needed, {path} is a {kind}; give a model trained with task=forecast")
    return model


def load_classifier(path: str | PathLike[str], *, threads: int = 1) -> Classifier:
    """Load a classifier of texts; see `load`."""
    return require_classifier(load(path, threads=threads), path)


def require_classifier(model: Any, path: str | PathLike[str]) -> Classifier:
    """Return a model that `load` gave, if it classifies texts.

    Raises:
        UserError: it does not classify texts.
    """
    from textrnn.runtime.text_classifier import Classifier

    if model.manifest.kind == "language_model":
        raise UserError(f"a classifier is needed, {path} is a language model; use: textrnn generate {path}")
    if model.manifest.kind == "recognizer":
        raise UserError(f"a classifier is needed, {path} is a recognizer; use: textrnn transcribe {path}")
    if not isinstance(model, Classifier):
        kind = model.manifest.kind.replace("_", " ")
        raise UserError(f"a classifier of texts is needed, {path} is a {kind}; give it arrays: textrnn.load")
    return model
