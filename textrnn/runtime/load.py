"""Loading of finished models."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, TypeVar, overload

from textrnn.bundle import read_bundle
from textrnn.errors import UserError, require_whole_number, shown
from textrnn.models.places import find_model
from textrnn.runtime.audio_classifier import AudioClassifier
from textrnn.runtime.forecaster import Forecaster
from textrnn.runtime.language_model import LanguageModel
from textrnn.runtime.multilabel_classifier import MultilabelClassifier
from textrnn.runtime.sessions import OfBundle
from textrnn.runtime.text_classifier import Classifier
from textrnn.runtime.translator import Translator
from textrnn.runtime.vector_models import Regressor, VectorClassifier

M = TypeVar("M", bound=OfBundle)


@overload
def load(path: str | PathLike[str], kind: type[M], *, threads: int = 1) -> M: ...
@overload
def load(path: str | PathLike[str], kind: None = None, *, threads: int = 1) -> Any: ...
def load(path: str | PathLike[str], kind: type[M] | None = None, *, threads: int = 1) -> Any:
    """Load a model from a bundle folder, a run folder with a bundle in it, by its name, or from the hub.

    It is a `LanguageModel`, a `Classifier`, a `MultilabelClassifier`, a `VectorClassifier`, an
    `AudioClassifier`, a `Regressor`, a `Forecaster` or a `Translator`; with `kind`, it must be of that class.

    Raises:
        UserError: no bundle there, one of an unknown or another kind, or a file of it missing, damaged or of a newer
            format.
    """
    require_whole_number("threads", threads, 1, "small models are fastest on 1")
    # Absolute: graphs are loaded when they are first used, wherever the current folder is by then.
    bundle = read_bundle(find_model(path).absolute())
    kinds: dict[str, type[OfBundle]] = {
        "language_model": LanguageModel,
        "classifier": Classifier,
        "multilabel_classifier": MultilabelClassifier,
        "vector_classifier": VectorClassifier,
        "regressor": Regressor,
        "forecaster": Forecaster,
        "text_to_text": Translator,
    }
    if bundle.manifest.kind not in kinds:
        raise UserError(
            f"a model must be one of {', '.join(kinds)}, {bundle.folder} is a {bundle.manifest.kind}; upgrade textrnn"
        )
    cls = kinds[bundle.manifest.kind]
    if cls is VectorClassifier and "audio" in bundle.manifest.runtime:
        cls = AudioClassifier
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
    model = load(path, threads=threads)
    if not isinstance(model, LanguageModel):
        kind = model.manifest.kind.replace("_", " ")
        command = "forecast" if isinstance(model, Forecaster) else "predict"
        raise UserError(f"a language model is needed, {path} is a {kind}; use: textrnn {command} {path}")
    return model


def load_forecaster(path: str | PathLike[str], *, threads: int = 1) -> Forecaster:
    """Load a forecaster; see `load`."""
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
    if isinstance(model, LanguageModel):
        raise UserError(f"a classifier is needed, {path} is a language model; use: textrnn generate {path}")
    if not isinstance(model, Classifier):
        kind = model.manifest.kind.replace("_", " ")
        raise UserError(f"a classifier of texts is needed, {path} is a {kind}; give it arrays: textrnn.load")
    return model
