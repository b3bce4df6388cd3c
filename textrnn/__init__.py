"""Small recurrent text models: trained on your own text, shipped as a folder of ONNX.

>>> import textrnn
>>> model = textrnn.load("shakespeare")
>>> model.generate("ROMEO:", length=200, seed=1)
>>> textrnn.load("reviews").classify(["Not bad at all."])
>>> textrnn.load("temperatures").forecast([12.5, 13.1, 11.8])
>>> textrnn.load("digits").classify(images)

Importing this package loads neither numpy nor onnxruntime; `load` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textrnn.errors import UserError

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["UserError", "__version__", "load"]


def load(path: str | PathLike[str], *, threads: int = 1) -> Any:
    """Load a model: what it is depends on what was trained.

    A `textrnn.runtime.language_model.LanguageModel`; of labelled texts, a `textrnn.runtime.text_classifier.Classifier`;
    of vectors, a `textrnn.runtime.vector_models.VectorClassifier` or `textrnn.runtime.vector_models.Regressor`; of a
    series, a `textrnn.runtime.forecaster.Forecaster`.

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
