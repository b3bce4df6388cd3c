"""Small recurrent text models, trained on your own text and exported as a folder of ONNX graphs.

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

    __version__: str

__all__ = ["UserError", "__version__", "load"]


def load(path: str | PathLike[str], *, threads: int = 1) -> Any:
    """Load a model. Its class depends on the kind of model.

    - language model: `textrnn.runtime.language_model.LanguageModel`
    - classifier of texts: `textrnn.runtime.text_classifier.Classifier`
    - classifier of vectors: `textrnn.runtime.vector_models.VectorClassifier`
    - regression on vectors: `textrnn.runtime.vector_models.Regressor`
    - time series: `textrnn.runtime.forecaster.Forecaster`

    >>> textrnn.load("runs/demo").manifest.kind
    'language_model'

    Args:
        path: a bundle folder, or a run folder that contains a bundle.
        threads: number of processor threads for one operation; small models are fastest with 1.

    Raises:
        UserError: there is no bundle, or one of its files is missing, damaged or of a newer format.
    """
    from textrnn.runtime.load import load as load_model

    return load_model(path, threads=threads)


def __getattr__(name: str) -> str:
    if name == "__version__":  # read at its first use: importlib.metadata takes longer than the rest of this import
        from importlib.metadata import version

        return version("textrnn")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
