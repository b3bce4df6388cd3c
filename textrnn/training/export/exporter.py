"""From the weights of a trained model to its bundle: what the exports of all models share.

Nothing is written unless onnxruntime agrees with Keras, in the session class that the runtime uses.
"""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
from numpy.typing import NDArray

from textrnn.bundle import CARD, Bundle, Manifest, TokenizerFile, write_bundle
from textrnn.config import ARCHITECTURE, STRUCTURE, Config
from textrnn.data.places import without_folders
from textrnn.errors import UserError
from textrnn.models.card import card_of
from textrnn.runtime.sessions import Sessions
from textrnn.tokenizers.base import Tokenizer
from textrnn.training.export.graph_files import write_graphs

TOLERANCE = 1e-4  # largest difference between Keras and onnxruntime, relative to the largest logit or state above 1


class Exporter(ABC):
    """Writes the bundle of a trained model.

    Args:
        settings: the whole resolved configuration, for the manifest.
        tokenizer: its tokenizer; None for a model that reads vectors.
    """

    kind: str
    """The kind of model in the manifest."""
    labels: tuple[str, ...] | None = None
    start_id: int | None = None

    def __init__(self, settings: Config, tokenizer: Tokenizer | None = None) -> None:
        self.settings, self.tokenizer = settings, tokenizer

    @abstractmethod
    def graphs(self, precision: str) -> dict[str, onnx.ModelProto]:
        """Build the graphs of the bundle, by their use.

        Raises:
            UserError: the model has no graphs in this precision.
        """

    @abstractmethod
    def compare(self, graphs: Sessions, precision: str) -> float:
        """Compare graphs with Keras, on random and on held-out data.

        Returns:
            the largest difference, as `relative` gives it.

        Raises:
            UserError: it is too large.
        """

    @abstractmethod
    def measure(self, graphs: Mapping[str, Sessions]) -> dict[str, Any]:
        """Measure graphs on held-out data.

        Args:
            graphs: graphs by precision; the last is that of the bundle.

        Returns:
            metrics for the manifest, those of a precision under its name.
        """

    def runtime(self) -> dict[str, Any]:
        """Return what the runtime needs to know of this kind of model."""
        return {}

    def save_tokenizers(self, folder: Path) -> None:
        """Write the files of the tokenizers."""
        if self.tokenizer:
            self.tokenizer.save(folder)

    def export(self, folder: Path, quantize: str | None = None) -> Bundle:
        """Write the bundle.

        Args:
            folder: where the bundle goes; must not exist.
            quantize: None or "int8".

        Raises:
            UserError: onnxruntime and Keras differ, `folder` exists, or the disk refuses.
        """
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
            bundles, graphs = dict[str, Bundle](), dict[str, Sessions]()
            for precision in dict.fromkeys(("float32", quantize or "float32")):
                bundles[precision] = self._build(Path(name) / precision, precision)
                graphs[precision] = _sessions(bundles[precision])
                self.compare(graphs[precision], precision)
            metrics = self.measure(graphs)
            graphs.clear()  # closes the files, or Windows would not remove them
            for precision in bundles.keys() & metrics:
                metrics[precision]["bytes"] = sum(path.stat().st_size for path in (Path(name) / precision).iterdir())
            finished = bundles[quantize or "float32"]
            bundle = write_bundle(folder, replace(finished.manifest, metrics=metrics), finished.folder)
            bundle.path(CARD).write_text(card_of(bundle.manifest), encoding="utf-8")
            return bundle

    def check(self, bundle: Bundle) -> float:
        """Compare the graphs of a float32 bundle with Keras; see `compare`."""
        return self.compare(_sessions(bundle), "float32")

    def _build(self, folder: Path, precision: str) -> Bundle:
        folder.mkdir()
        specs = write_graphs(self.graphs(precision), folder)
        tokenizer = self.tokenizer
        self.save_tokenizers(folder)
        manifest = Manifest(
            kind=self.kind,
            precision=precision,
            tokenizer=TokenizerFile(tokenizer.kind, tokenizer.file_name) if tokenizer else None,
            start_id=self.start_id,
            graphs=specs,
            labels=self.labels,
            runtime=runtime_block(self.settings, **self.runtime()),
            metrics={},
            config=without_folders(self.settings).to_dict(),
            created_with=versions(),
        )
        return Bundle(folder, manifest)


def _sessions(bundle: Bundle) -> Sessions:
    return Sessions(bundle, os.cpu_count() or 1)


def run_graph(session: onnxruntime.InferenceSession, *inputs: NDArray[Any]) -> list[NDArray[Any]]:
    """Return the outputs of a graph for inputs in its order."""
    names = (entry.name for entry in session.get_inputs())
    outputs: list[NDArray[Any]] = session.run(None, dict(zip(names, inputs, strict=True)))
    return outputs


def runtime_block(config: Config, **others: Any) -> dict[str, Any]:
    """Return the manifest's `runtime`: what every kind of model has there, and `others`."""
    settings, data = config.to_dict(), config.data
    return {
        **others,
        "sources": {
            "text": data.text,
            "label": data.label,
            "label_names": list(data.label_names),
            "values": list(data.values),
            "document": data.document,
            "separate_documents": data.separate_documents,
            "season": data.season,
            "errors": data.errors,
        },
        "architecture": {name: settings["model"][name] for name in (*ARCHITECTURE, *STRUCTURE)},
        "tokenizer_settings": settings["tokenizer"] if config.data.reads == "text" else {},
    }


def versions() -> dict[str, str]:
    """Return the versions of the packages that make a bundle, by module: TensorFlow comes under several names."""
    return {
        "textrnn": version("textrnn"),
        "tensorflow": tf.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def relative(difference: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return the largest difference, divided by the largest expected value if that is above 1.

    Float32 holds 7 digits: what is a large difference of logits of 1 is rounding of logits of 1,000.
    """
    return float(np.abs(difference).max(initial=0.0) / np.abs(expected).max(initial=1.0))


def require_close(worst: float, what: str) -> None:
    """Refuse a graph that does not compute what the model does.

    Args:
        worst: the largest difference, of `relative`.
        what: an output is, for people.

    Raises:
        UserError: it is above `TOLERANCE`, or no number.
    """
    if not worst <= TOLERANCE:
        raise UserError(
            f"an exported graph must equal Keras within {TOLERANCE:g} of the largest {what}, differed by {worst:g}; no "
            "bundle was written, the run keeps its weights: try textrnn export with the versions of constraints.txt"
        )
