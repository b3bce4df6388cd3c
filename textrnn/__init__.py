"""Small recurrent text models: trained on your own text, shipped as a folder of ONNX.

>>> import textrnn
>>> model = textrnn.load("runs/demo")
>>> model.generate("the cat", length=20, seed=1)
'...'
>>> textrnn.load("runs/reviews").classify(["a good film"])[0].label
'positive'

Importing this package loads neither numpy nor onnxruntime; `load` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textrnn.errors import UserError

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["UserError", "__version__", "load"]


def load(path: str | PathLike[str], *, threads: int = 1) -> Any:
    """Load a model; its class depends on what was trained.

    Language models are a `textrnn.runtime.language_model.LanguageModel`. Classifiers of texts are a
    `textrnn.runtime.text_classifier.Classifier` or a `textrnn.runtime.multilabel_classifier.MultilabelClassifier`.
    Models of vectors are a `textrnn.runtime.vector_models.VectorClassifier` or a
    `textrnn.runtime.vector_models.Regressor`. Models of series are a `textrnn.runtime.forecaster.Forecaster`.

    >>> textrnn.load("runs/demo").manifest.kind
    'language_model'

    Args:
        path: a bundle folder, or a run folder with a bundle in it.
        threads: processor threads of one operation; small models are fastest on 1.

    Raises:
        UserError: no bundle there, or a file of it is missing, damaged or of a newer format.
    """
    from textrnn.runtime.load import load as load_model

    return load_model(path, threads=threads)


def __getattr__(name: str) -> str:
    if name == "__version__":  # looked up at first use: importlib.metadata takes longer than the rest of this import
        from importlib.metadata import version

        return version("textrnn")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
