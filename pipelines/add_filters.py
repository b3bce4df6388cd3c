"""Adds the graph of top-k, top-p and min-p to language models of older versions, without training.

python pipelines/add_filters.py shakespeare tang

Each NAME is a finished model of the package or a bundle folder, which is replaced. All other files but the manifest and
the card stay as they are, bit for bit.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import onnx

from textrnn.bundle import CARD, Bundle, read_bundle, write_bundle
from textrnn.errors import UserError
from textrnn.models.card import card_of
from textrnn.models.places import find_finished
from textrnn.runtime.language_model import LanguageModel
from textrnn.runtime.sessions import Sessions
from textrnn.training.export.cell_graphs import cell_of_step_graph, filtered_graph
from textrnn.training.export.drawn_tokens import compare_drawn_tokens
from textrnn.training.export.exporter import TOLERANCE
from textrnn.training.export.graph_files import write_graphs
from textrnn.training.export.language_model import INT8_TOLERANCE


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="+", metavar="NAME", help="finished model or bundle folder")
    try:
        for name in parser.parse_args(argv).names:
            folder = Path(name) if Path(name).is_dir() else find_finished(name)
            add_filters(folder)
            print(folder)
    except UserError as error:
        print(f"add_filters: {error}", file=sys.stderr)
        return 1
    return 0


def add_filters(folder: Path) -> None:
    """Replace a bundle by one with the same files and the filtered graph.

    Raises:
        UserError: it is not a language model, its weights would change, or the graphs do not draw the same tokens.
    """
    bundle = read_bundle(folder)
    if bundle.manifest.kind != "language_model":
        raise UserError(f"{folder} must be a language model, is a {bundle.manifest.kind}; leave it out")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        complete = _complete(bundle, Path(name))
        changed = [file for file, entry in bundle.manifest.files.items() if complete.manifest.files.get(file) != entry]
        if changed:
            raise UserError(
                f"files of an older version must stay as they are, {changed[0]} would change; export it again"
            )
        shutil.rmtree(folder)
        write_bundle(folder, complete.manifest, complete.folder)
    (folder / CARD).write_text(card_of(complete.manifest, folder.name), encoding="utf-8")


def _complete(bundle: Bundle, folder: Path) -> Bundle:
    """Write the bundle with the filtered graph into an empty folder, and compare its graphs."""
    model = LanguageModel(bundle)
    source = folder / "source"
    source.mkdir()
    graphs = {use: onnx.load(bundle.path(graph.file)) for use, graph in bundle.manifest.graphs.items()}
    graphs["filtered"] = filtered_graph(cell_of_step_graph(graphs["step"]), model.never_drawn)
    written = write_graphs(graphs, source)
    model.tokenizer.save(source)
    complete = write_bundle(folder / "complete", replace(bundle.manifest, graphs=written), source)
    layers = bundle.manifest.runtime["architecture"]["layers"]
    tolerance = INT8_TOLERANCE if bundle.manifest.precision == "int8" else TOLERANCE
    compare_drawn_tokens(Sessions(complete, 1), model.never_drawn, model.initial_state, layers, tolerance, ["filtered"])
    return complete


if __name__ == "__main__":
    sys.exit(main())
