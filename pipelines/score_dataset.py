"""Classify or score a large data set of texts in several processes with Ray Data, on one machine or a cluster.

python pipelines/score_dataset.py runs/imdb reviews.parquet --text review --out scored --workers 2

A classifier adds columns with labels and probabilities; a language model adds nats and bits per character
(textrnn/runtime/bulk.py lists the columns). A source is a file or a folder of files: .txt (one text per line), .csv,
.tsv, .jsonl or .parquet. Records keep their order. If RAY_ADDRESS is set, the job runs on that cluster, and all its
machines must have access to the model and the files.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textrnn.bundle import find_bundle, read_bundle
from textrnn.errors import UserError
from textrnn.runtime.bulk import Classify, Score

SUFFIXES = (".txt", ".csv", ".tsv", ".jsonl", ".parquet")
ADDERS: dict[str, type] = {"classifier": Classify, "multilabel_classifier": Classify, "language_model": Score}


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _arguments(argv)
    try:
        score(arguments)
    except UserError as error:
        print(f"score_dataset: {error}", file=sys.stderr)
        return 1
    return 0


def score(arguments: argparse.Namespace) -> None:
    """Run the command.

    Raises:
        UserError: Ray is not installed, the model does not read texts, or a file cannot be used.
    """
    if arguments.workers < 1:
        raise UserError(f"--workers must be 1 or above, was: {arguments.workers}; one for each core is usual")
    if arguments.out.exists():
        raise UserError(f"an output folder must not exist yet, found: {arguments.out}; remove it or give another --out")
    bundle = find_bundle(arguments.model).absolute()
    kind = read_bundle(bundle).manifest.kind
    if kind not in ADDERS:
        raise UserError(f"a model of texts is needed, {arguments.model} is a {kind.replace('_', ' ')}; give another")
    suffix = _suffix(arguments.source)
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise UserError(f"this needs Ray Data, {error.name} is missing; run: pip install 'textrnn[ray]'") from error

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # Reading and writing need their own cores; otherwise the workers would wait for them forever.
    own = {} if "RAY_ADDRESS" in os.environ else {"num_cpus": arguments.workers + 2, "include_dashboard": False}
    ray.init(logging_level="ERROR", log_to_driver=False, **own)
    try:
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = not arguments.quiet
        records = _read(ray.data, arguments.source, suffix)
        scored = records.map_batches(
            ADDERS[kind],
            fn_constructor_args=(str(bundle), arguments.text),
            batch_size=arguments.batch_size,
            compute=ray.data.ActorPoolStrategy(size=arguments.workers),
        )
        write = scored.write_parquet if arguments.format == "parquet" else scored.write_json
        try:
            write(str(arguments.out.absolute()))
        except ray.exceptions.RayError as error:
            raise UserError(_cause(error)) from error
    finally:
        ray.shutdown()
    print(arguments.out)


def _suffix(source: Path) -> str:
    files = [path for path in source.rglob("*") if path.is_file()] if source.is_dir() else [source]
    found = {path.suffix.lower() for path in files}
    if len(found) != 1 or not found <= set(SUFFIXES) or not source.exists():
        raise UserError(
            f"a source must be a file or folder of one of {', '.join(SUFFIXES)}, was: {source} "
            f"({', '.join(sorted(found)) if source.exists() else 'not there'}); give one"
        )
    return found.pop()


def _read(data: Any, source: Path, suffix: str) -> Any:
    path = str(source.absolute())
    if suffix == ".txt":
        return data.read_text(path)
    if suffix == ".jsonl":
        return data.read_json(path, file_extensions=None)
    if suffix == ".parquet":
        return data.read_parquet(path)
    from pyarrow.csv import ParseOptions

    return data.read_csv(path, parse_options=ParseOptions(delimiter="\t" if suffix == ".tsv" else ","))


def _cause(error: BaseException) -> str:
    """Return the last line of a worker's error, which is the exception itself."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__).removeprefix("textrnn.errors.UserError: ").strip()


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path, help="a bundle, or a run folder with one")
    parser.add_argument("source", type=Path, help="a file or folder of texts")
    parser.add_argument("--out", type=Path, required=True, help="a folder for the results")
    parser.add_argument("--text", default="text", metavar="COLUMN", help="where the text is (text)")
    parser.add_argument("--format", choices=("parquet", "jsonl"), default="parquet", help="of the results (parquet)")
    parser.add_argument("--workers", type=int, default=2, help="processes that run the model (2)")
    parser.add_argument("--batch-size", type=int, default=256, help="texts given to one at once (256)")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
