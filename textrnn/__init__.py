"""Small recurrent text models, trained on your own text and exported as a folder of ONNX graphs.

>>> import textrnn
>>> model = textrnn.load("runs/demo")
>>> model.generate("the cat", length=20, seed=1)
'...'
>>> textrnn.load("runs/reviews").classify(["a good film"])[0].label
'positive'

Importing this package loads neither numpy nor onnxruntime; `load` and `train` do, and the classes when they are named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from textrnn.errors import UserError

if TYPE_CHECKING:
    from os import PathLike

    from textrnn.actions.training import TrainingProgress, train
    from textrnn.estimator import TextClassifier as TextClassifier
    from textrnn.runtime.audio_classifier import AudioClassifier
    from textrnn.runtime.forecaster import Forecaster
    from textrnn.runtime.language_model import LanguageModel
    from textrnn.runtime.multilabel_classifier import MultilabelClassifier
    from textrnn.runtime.recognizer import Recognizer
    from textrnn.runtime.sessions import OfBundle
    from textrnn.runtime.text_classifier import Classifier
    from textrnn.runtime.translator import Translator
    from textrnn.runtime.vector_models import Regressor, VectorClassifier

    __version__: str
    M = TypeVar("M", bound=OfBundle)

__all__ = [
    "AudioClassifier",
    "Classifier",
    "Forecaster",
    "LanguageModel",
    "MultilabelClassifier",
    "Recognizer",
    "Regressor",
    "TrainingProgress",
    "Translator",
    "UserError",
    "VectorClassifier",
    "__version__",
    "load",
    "train",
]
_HOMES = {
    "AudioClassifier": "textrnn.runtime.audio_classifier",
    "Classifier": "textrnn.runtime.text_classifier",
    "Forecaster": "textrnn.runtime.forecaster",
    "LanguageModel": "textrnn.runtime.language_model",
    "MultilabelClassifier": "textrnn.runtime.multilabel_classifier",
    "Recognizer": "textrnn.runtime.recognizer",
    "Regressor": "textrnn.runtime.vector_models",
    "TextClassifier": "textrnn.estimator",
    "TrainingProgress": "textrnn.actions.training",
    "Translator": "textrnn.runtime.translator",
    "VectorClassifier": "textrnn.runtime.vector_models",
    "train": "textrnn.actions.training",
}
"""Modules of the public names, which are imported when a name is first used.

`TextClassifier` is not in `__all__`, so that ``from textrnn import *`` does not need scikit-learn.
"""


@overload
def load(path: str | PathLike[str], kind: type[M], *, threads: int = 1) -> M: ...
@overload
def load(path: str | PathLike[str], kind: None = None, *, threads: int = 1) -> Any: ...
def load(path: str | PathLike[str], kind: type[M] | None = None, *, threads: int = 1) -> Any:
    """Load a model. Its class depends on the kind of model.

    - language model: `textrnn.LanguageModel`
    - classifier of texts: `textrnn.Classifier`, or `textrnn.MultilabelClassifier`
    - classifier of vectors: `textrnn.VectorClassifier`; of recordings: `textrnn.AudioClassifier`
    - regression on vectors: `textrnn.Regressor`
    - time series: `textrnn.Forecaster`
    - a text to another: `textrnn.Translator`
    - recordings to texts: `textrnn.Recognizer`

    >>> textrnn.load("runs/demo").manifest.kind
    'language_model'
    >>> textrnn.load("runs/demo", textrnn.LanguageModel).next_probs("the c", top=1)
    {'a': ...}

    Args:
        path: a bundle folder, a run folder that contains a bundle, the name of a finished model such as
            ``"shakespeare"`` (a folder of that name comes first), or ``"hf://user/model[@revision]"`` of the hub.
        kind: the class that the model must have, so that an editor and a type checker know it; None for any.
        threads: number of processor threads for one operation; small models are fastest with 1.

    Raises:
        UserError: there is no model, it is of another kind, it cannot be downloaded, or one of its files is missing,
            damaged or of a newer format.
    """
    from textrnn.runtime.load import load as load_model

    return load_model(path, kind, threads=threads)


def __getattr__(name: str) -> Any:
    if name == "__version__":  # read at its first use: importlib.metadata takes longer than the rest of this import
        from importlib.metadata import version

        return version("textrnn")
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
