"""onnxruntime sessions of the graphs of a bundle. Each is loaded at its first use and checked against its contract."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from textrnn.bundle import Bundle, Graph, Manifest, find_bundle, read_bundle
from textrnn.data.in_memory import Source
from textrnn.errors import UserError, shown
from textrnn.files import new_folder
from textrnn.tokenizers import Tokenizer, load_tokenizer

ONNX_TYPES = {"int32": "tensor(int32)", "float32": "tensor(float)", "float64": "tensor(double)"}
READS_LOGITS = (("ids", "state"), ("logits", "next_state"))
DRAWS, DRAWN = ("ids", "state", "given", "uniforms", "temperature"), ("tokens", "next_state")
CONTRACTS = {  # names of the inputs and outputs of each graph
    "step": READS_LOGITS,
    "sequence": READS_LOGITS,
    "generate": (DRAWS, DRAWN),
    "filtered": ((*DRAWS, "top_k", "top_p", "min_p"), DRAWN),
    "classify": (("ids",), ("logits",)),
    "encode": (("ids",), ("keys", "values", "mask", "state")),
    "recognize": (("vectors", "lengths"), ("logits",)),
    "decode": (("ids", "state", "keys", "values", "mask"), ("logits", "attention", "next_state")),
}
READS_VECTORS = ("vectors", "lengths")
TELLS_WHAT_FOLLOWS = (("vectors", "state"), ("forecast", "next_state"))
CONTRACTS_OF_VECTORS = {  # the same for a bundle without a tokenizer
    "classify": (READS_VECTORS, ("logits",)),
    "regress": (READS_VECTORS, ("values",)),
    "step": TELLS_WHAT_FOLLOWS,
    "sequence": TELLS_WHAT_FOLLOWS,
}


class OfBundle:
    """Base class of the models of a bundle. Copies and pickles hold only paths and `threads`.

    Attributes:
        manifest: manifest of the bundle.
        run: the run folder that the model was loaded from; None for a bundle.
        owner: what must live as long as the model and its copies: a temporary folder with its files, or None.
    """

    run: Path | None = None
    owner: object = None

    def __init__(self, bundle: Bundle, *, threads: int) -> None:
        self.manifest: Manifest = bundle.manifest
        self._bundle = bundle
        self._threads = threads

    @property
    def bundle(self) -> Bundle:
        """The bundle."""
        return self._bundle

    @property
    def folder(self) -> Path:
        """The bundle folder."""
        return self._bundle.folder

    def evaluate(
        self,
        source: Source = None,
        *,
        text: str | None = None,
        label: str | None = None,
        values: str | Sequence[str] = (),
        errors: str | None = None,
        window: int | None = None,
        target: str | None = None,
        beams: int | None = None,
        lm: str | PathLike[str] | None = None,
    ) -> dict[str, Any]:
        """Evaluate the model and return the figures of ``textrnn evaluate``, by name.

        >>> model = textrnn.load("runs/reviews")
        >>> model.evaluate((["a good film", "bad"], ["positive", "negative"]))["accuracy"]
        1.0

        Args:
            source: paths or data in memory, as for `textrnn.train`. None: the held-out split of the run that the model
                was loaded from; this needs no TensorFlow either.
            text: text column; None as in training.
            label: label column; None as in training.
            values: columns of numbers; none: as in training.
            errors: ``"strict"`` or ``"replace"`` for bytes that are not UTF-8; None as in training.
            window: language models: reset the state every `window` tokens.
            target: text to text: target column; None as in training.
            beams: text to text and recognition: hypotheses of the beam search.
            lm: recognition: a language model of characters.

        Raises:
            UserError: the data cannot be read, an option is for another kind of model, or there is no source and the
                model was loaded from a bundle.
        """
        from textrnn.actions.evaluation import Evaluation, evaluate

        columns = (values,) if isinstance(values, str) else tuple(values)
        lm = None if lm is None else fspath(lm)
        asked = Evaluation(source, text, label, columns, errors, window, target=target, beams=beams, lm=lm)
        return evaluate(self, asked)

    def export(self, out: str | PathLike[str], quantize: str | None = None) -> Any:
        """Export the best weights of the model's run as another bundle, and return the model in it.

        Args:
            out: the bundle folder, which must not exist yet.
            quantize: ``"int8"`` stores the weights in 8 bits, and ``manifest.metrics`` has what it costs. None keeps
                float32.

        Raises:
            UserError: the model was not loaded from a run folder, `out` exists, or the extra ``train`` is not
                installed.
        """
        from textrnn.actions.exporting import export_run

        if self.run is None:
            raise UserError(
                f"export needs the weights of a run, {self.folder} is a bundle; load the run folder, or copy the bundle"
                " with save"
            )
        bundle = export_run(self.run, Path(out), quantize, "name")
        return type(self)(bundle, threads=self._threads)

    def save(self, folder: str | PathLike[str]) -> None:
        """Copy the bundle to a new folder, which `textrnn.load` and all other runtimes read.

        >>> textrnn.load("runs/reviews").save("reviews")
        >>> textrnn.load("reviews").classify(["a good film"])[0].label
        'positive'

        Raises:
            UserError: the folder exists, or cannot be written.
        """
        with new_folder(Path(folder)) as temporary:
            for path in self.files():
                shutil.copyfile(path, temporary / path.name)

    def files(self) -> list[Path]:
        """Return the files of the bundle."""
        return sorted(path for path in self.folder.iterdir() if path.is_file() and not path.name.startswith("."))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._bundle.folder)!r})"

    def __reduce__(self) -> tuple[Callable[[Path, int, Path | None], Any], tuple[Path, int, Path | None]]:
        return self._of_folder, (self.folder, self._threads, self.run)

    def __copy__(self) -> OfBundle:
        copied = self._of_folder(self.folder, self._threads, self.run)
        copied.owner = self.owner
        return copied

    def __deepcopy__(self, memo: object) -> OfBundle:
        return self.__copy__()

    @classmethod
    def _of_folder(cls, folder: Path, threads: int, run: Path | None) -> OfBundle:
        model = cls(read_bundle(find_bundle(folder)), threads=threads)
        model.run = run
        return model


def checked_state(state: object, zero: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a state as float32, the dtype of the graphs.

    Args:
        state: state to check.
        zero: state of the required shape.

    Raises:
        UserError: the state has another shape, or is not an array of floating-point numbers.
    """
    array = state if isinstance(state, np.ndarray) else np.empty(0)
    if array.shape != zero.shape or array.dtype.kind != "f":
        was = f"{array.dtype} {array.shape}" if isinstance(state, np.ndarray) else shown(state)
        raise UserError(f"a state must be float32 {zero.shape}, was: {was}; begin with initial_state({zero.shape[1]})")
    return array.astype(np.float32, copy=False)


class Sessions:
    """Sessions of the graphs of a bundle, by use.

    Args:
        bundle: bundle with the graphs.
        threads: number of processor threads for one operation.
    """

    def __init__(self, bundle: Bundle, threads: int) -> None:
        self._bundle = bundle
        self._threads = threads
        self._loaded: dict[str, onnxruntime.InferenceSession] = {}

    def __call__(self, use: str) -> onnxruntime.InferenceSession:
        """Return the session of the graph for a use, loaded at the first call.

        Raises:
            UserError: onnxruntime cannot load the graph, or its inputs and outputs differ from those of its use or of
                the manifest.
        """
        if use not in self._loaded:
            self._loaded[use] = self._load(use)
        return self._loaded[use]

    def _load(self, use: str) -> onnxruntime.InferenceSession:
        graph = self._bundle.manifest.graphs[use]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # errors are raised; do not print them too
        path = self._bundle.path(graph.file)
        try:
            # Load from the path, not from bytes: large weights may be in a separate file next to the graph.
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions have no other public base class
            reason = " ".join(str(error).split())[:300]
            raise UserError(
                f"{path} could not be loaded by onnxruntime {onnxruntime.__version__}: {reason}; export it again"
            ) from error
        contracts = CONTRACTS if self._bundle.manifest.tokenizer else CONTRACTS_OF_VECTORS
        _check_graph(path, contracts[use], graph, session)
        return session


def classify_session(bundle: Bundle, threads: int) -> tuple[onnxruntime.InferenceSession, tuple[str, ...]]:
    """Return the session of a classifier and its labels.

    Raises:
        UserError: the bundle has no labels or no classify graph, the numbers of labels and logits differ, or `Sessions`
            raises it.
    """
    labels, graphs = bundle.manifest.labels, bundle.manifest.graphs
    if not labels or "classify" not in graphs:
        raise UserError(f"a classifier must have labels and a classify graph, {bundle.folder} lacks one; export it")
    session = Sessions(bundle, threads)("classify")
    declared = graphs["classify"].outputs[0].shape[-1]
    if declared != len(labels):
        raise UserError(f"{bundle.folder} has {len(labels)} labels and {declared} logits; export it again")
    return session, labels


def _check_graph(
    path: Path,
    contract: tuple[tuple[str, ...], tuple[str, ...]],
    graph: Graph,
    session: onnxruntime.InferenceSession,
) -> None:
    """Raise a UserError if the inputs or outputs of a graph differ from its contract or from its manifest."""
    inputs, outputs = contract
    for what, names, declared, actual in (
        ("inputs", inputs, graph.inputs, session.get_inputs()),
        ("outputs", outputs, graph.outputs, session.get_outputs()),
    ):
        said = [(tensor.name, ONNX_TYPES.get(tensor.dtype), list(tensor.shape)) for tensor in declared]
        found = [(tensor.name, tensor.type, list(tensor.shape)) for tensor in actual]
        if tuple(tensor.name for tensor in declared) != names or said != found:
            raise UserError(f"{path} must have the {what} {said} of its manifest, has {found}; export the bundle again")


def load_bundled_tokenizer(bundle: Bundle) -> Tokenizer:
    """Load the tokenizer of a bundle.

    Raises:
        UserError: the tokenizer is not in the file that was checked, or cannot be read.
    """
    declared = bundle.tokenizer
    tokenizer = load_tokenizer(bundle.folder, declared.kind)
    if tokenizer.file_name != declared.file:  # the file that was read is not the file that was checked
        raise UserError(
            f"a {tokenizer.kind} tokenizer must be in {tokenizer.file_name}, "
            f"{bundle.folder} has it in {declared.file}; export it again"
        )
    return tokenizer


def checked_ids(ids: object, vocabulary_size: int, dimensions: int) -> NDArray[np.int32]:
    """Return ids as int32, the dtype of the graphs.

    Raises:
        UserError: the ids are not whole numbers, have another number of dimensions, or are not in the vocabulary.
    """
    try:
        array = np.asarray(ids)
    except ValueError:  # lists of different lengths
        array = np.empty((), object)
    if array.ndim != dimensions or (array.size and array.dtype.kind not in "iu"):
        raise UserError(
            f"ids must be an array of whole numbers with {dimensions} dimensions, was: {shown(ids)}; encode the text "
            "with this model's tokenizer"
        )
    if array.size and (array.min() < 0 or array.max() >= vocabulary_size):
        raise UserError(
            f"ids must be between 0 and {vocabulary_size - 1}, were: {array.min()} to {array.max()}; "
            "encode the text with this model's tokenizer"
        )
    return array.astype(np.int32)
