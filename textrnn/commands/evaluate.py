"""`textrnn evaluate`: how well a model does on what it has not seen."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from textrnn.commands.arguments import add_command, add_reading_options
from textrnn.commands.forecast import series_of
from textrnn.commands.messages import number, refuse, say_how_tables_are_read
from textrnn.errors import UserError

if TYPE_CHECKING:
    from textrnn.metrics.evaluation import Part
    from textrnn.runtime.forecaster import Forecaster
    from textrnn.runtime.language_model import LanguageModel
    from textrnn.runtime.text_classifier import Classifier
    from textrnn.runtime.vector_models import Regressor, VectorClassifier
    from textrnn.tokenizers.base import Tokenizer
    from textrnn.training.loop.run import Run
    from textrnn.training.tasks.task import Prepared

ADAPTED = {
    "cache": "continuous cache",
    "dynamic": "dynamic evaluation",
    "dynamic_and_cache": "dynamic evaluation and continuous cache",
}
ADAPTED_FIGURES = (
    "nats_per_token",
    "perplexity",
    "bits_per_character",
    "word_perplexity",
    "spelled_bits_per_character",
    "spelled_word_perplexity",
)
ALWAYS_GIVEN = ("dynamic.segment", "cache.size")


def add_evaluate(commands: Any) -> None:
    """Add the command and its arguments."""
    evaluate = add_command(
        commands, "evaluate", evaluate_command, "evaluate a model on held-out data", model=True, repeated="source"
    )
    evaluate.add_argument(
        "source",
        nargs="*",
        metavar="SOURCE",
        help="evaluation data, or - for standard input (default: the held-out split of the run)",
    )
    evaluate.add_argument("--window", type=int, metavar="N", help="language models: reset the state every N tokens")
    evaluate.add_argument(
        "--dynamic",
        action="store_true",
        help="language models: also report dynamic evaluation, which trains on the text it has read",
    )
    evaluate.add_argument(
        "--cache", type=int, metavar="N", help="language models: also report a continuous cache of the last N tokens"
    )
    evaluate.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of --dynamic or --cache, e.g. cache.theta=0.3 (default: tuned on the held-out split)",
    )
    add_reading_options(evaluate)
    evaluate.add_argument("--text", metavar="COLUMN", help="text column of SOURCE (default: as in training)")
    evaluate.add_argument("--label", metavar="COLUMN", help="label column of SOURCE (default: as in training)")
    evaluate.add_argument("--json", action="store_true", help="print one JSON document")


def evaluate_command(arguments: argparse.Namespace) -> None:
    from textrnn.config import data_of_bundle
    from textrnn.data.places import keep_input, names_a_column
    from textrnn.runtime.forecaster import Forecaster
    from textrnn.runtime.language_model import LanguageModel
    from textrnn.runtime.load import load
    from textrnn.runtime.text_classifier import Classifier
    from textrnn.runtime.vector_models import Regressor, VectorClassifier

    model = load(arguments.model, threads=os.cpu_count() or 1)
    if not isinstance(model, LanguageModel):
        refuse(model, arguments, dynamic="language models", cache="language models", set="language models")
    source = arguments.source or "held out"
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        in_columns = not isinstance(model, LanguageModel) or names_a_column(data_of_bundle(model.manifest.runtime))
        arguments.source = keep_input(arguments.source, Path(folder), in_columns)
        if not isinstance(model, Forecaster):
            say_how_tables_are_read(arguments.source, isinstance(model, Classifier))
        if isinstance(model, Forecaster):
            metrics = _evaluate_forecaster(model, arguments)
        elif isinstance(model, VectorClassifier | Regressor):
            metrics = _evaluate_on_vectors(model, arguments)
        elif isinstance(model, Classifier):
            metrics = _evaluate_classifier(model, arguments)
        else:
            metrics = _evaluate_language_model(model, arguments)
    if arguments.json:
        document = {"model": str(arguments.model), "source": source, "window": arguments.window, **metrics}
        print(json.dumps(document, ensure_ascii=False))
        return
    for name, value in metrics.items():
        if isinstance(value, (int, float)):
            print(f"{name.replace('_', ' '):20} {number(value)}")
    if metrics.get("not_predicted"):
        print(f"{'not predicted':20} {metrics['not_predicted']}")
    for label, figures in metrics.get("classes", {}).items():
        print(f"{label:20} " + "  ".join(f"{name} {number(value)}" for name, value in figures.items()))
    if "adapted" in metrics:
        _print_adapted(metrics["adapted"])


def _evaluate_language_model(model: LanguageModel, arguments: argparse.Namespace) -> dict[str, Any]:
    from textrnn.config import data_of_bundle
    from textrnn.data.records import source_options
    from textrnn.data.sources import read_text
    from textrnn.metrics.evaluation import dataset_parts, encode_pieces, evaluate

    refuse(model, arguments, values="vectors")
    data = data_of_bundle(model.manifest.runtime)
    adapts = arguments.dynamic or arguments.cache is not None or arguments.set
    if adapts:
        _require_adaptable(arguments)
    prepared = _prepared(arguments.model) if adapts or not arguments.source else None
    if prepared is None or arguments.source:
        options = replace(source_options(data), errors=arguments.errors or data.errors)
        parts = encode_pieces(
            model.tokenizer, read_text(arguments.source, options, data.separate_documents), data.separate_documents
        )
    else:
        parts = iter(dataset_parts(prepared.parts[1]))
    kept = list(parts) if adapts else parts  # else a text of any length is read part by part
    metrics: dict[str, Any] = evaluate(
        model.read, model.vocabulary_size, kept, model.start_id, apart=data.separate_documents, window=arguments.window
    ).to_dict()
    if model.tokenizer.loses:
        metrics["not_predicted"] = model.tokenizer.loses
    if prepared and adapts:
        metrics["adapted"] = _adapt(arguments, model.tokenizer, prepared, list(kept))
    return metrics


def _require_adaptable(arguments: argparse.Namespace) -> None:
    """Refuse what dynamic evaluation and a cache cannot be measured on, before anything is."""
    from textrnn.training.adaptation.settings import parse_settings
    from textrnn.training.loop.checkpoints import BEST

    parse_settings(arguments.set, arguments.dynamic, arguments.cache)
    if arguments.window is not None:
        raise UserError("--window forgets what --dynamic and --cache live on, both were given; leave one out")
    if not all((arguments.model / file).is_file() for file in (BEST, "config.json")):
        raise UserError(
            f"--dynamic and --cache need the weights of a run, {BEST}, which {arguments.model} lacks; a bundle holds "
            "graphs alone: give the run folder"
        )


def _adapt(
    arguments: argparse.Namespace, tokenizer: Tokenizer, prepared: Prepared, parts: Sequence[Part]
) -> dict[str, Any]:
    """Measure dynamic evaluation and a cache, apart from the static figures."""
    import numpy as np

    from textrnn.scoring import TextSize
    from textrnn.training.adaptation.settings import parse_settings
    from textrnn.training.tensorflow_setup import import_tensorflow

    import_tensorflow()
    from textrnn.training.adaptation.adaptation import Adaptation

    settings = parse_settings(arguments.set, arguments.dynamic, arguments.cache)
    train, held_out = prepared.parts
    adaptation = Adaptation(_run_of(arguments.model), tokenizer, train, held_out, settings)
    ids = np.concatenate([np.asarray(part.ids, np.int32) for part in parts])
    size = sum((part.size for part in parts), TextSize(0, 0, 0))
    measured = adaptation.measure(ids, size, arguments.dynamic, arguments.cache)
    searched = {name for found in measured.values() for name in found.settings} - {*settings, *ALWAYS_GIVEN}
    on_itself = bool(searched) and not arguments.source
    if on_itself:
        print("settings were searched on the text that is measured here; give a SOURCE of its own", file=sys.stderr)
    return {
        "searched_on_held_out": sorted(searched),
        "searched_on_the_text_itself": on_itself,
        **{name: found.to_dict() for name, found in measured.items()},
    }


def _print_adapted(adapted: Mapping[str, Any]) -> None:
    """Print adaptive figures apart from the static ones, so that nobody takes one for the other."""
    print("\nThe figures below are adaptive, not static: the model used the text before each token it predicted.")
    for name, title in ADAPTED.items():
        if found := adapted.get(name):
            print(f"\n{title}")
            for figure in ADAPTED_FIGURES:
                if figure in found:
                    print(f"{figure.replace('_', ' '):20} {number(found[figure])}")
            settings = dict(found["settings"])
            size = [f"--cache {settings.pop('cache.size')}"] if "cache.size" in settings else []
            print(
                f"{'settings':20} " + " ".join([*size, *(f"--set {key}={value:g}" for key, value in settings.items())])
            )
            print(f"{'seconds':20} {found['seconds']:.1f}")
    if searched := adapted["searched_on_held_out"]:
        print(f"\nsearched on the run's held-out text: {', '.join(searched)}")


def _evaluate_classifier(model: Classifier, arguments: argparse.Namespace) -> dict[str, Any]:
    from textrnn.config import data_of_bundle
    from textrnn.data.labels import describe
    from textrnn.data.records import labelled_options
    from textrnn.metrics.evaluation import encode_labelled, evaluate_classifier, prepared_records

    refuse(model, arguments, window="language models", values="vectors")
    data = data_of_bundle(model.manifest.runtime)
    skipped: Counter[str] = Counter()
    if arguments.source:
        given = {"text": arguments.text, "label": arguments.label, "errors": arguments.errors}
        data = replace(data, **{name: value for name, value in given.items() if value})
        labels = model.labels_of(data.label_names)
        texts = encode_labelled(
            model.tokenizer, arguments.source, labelled_options(data), model.labels, labels, skipped
        )
    else:
        _, held_out = _prepared(arguments.model).parts
        texts = prepared_records(held_out)
    metrics: dict[str, Any] = evaluate_classifier(model.predict, texts, model.measure).to_dict()
    if skipped:
        print(f"left out: {describe(skipped)}", file=sys.stderr)
    return metrics


def _evaluate_on_vectors(model: VectorClassifier | Regressor, arguments: argparse.Namespace) -> dict[str, Any]:
    from textrnn.config import data_of_bundle
    from textrnn.data.labels import Labels, describe
    from textrnn.data.vector_sources import read_vectors, vector_options
    from textrnn.metrics.evaluation import evaluate_classifier, evaluate_regressor, labelled_vectors, prepared_records
    from textrnn.runtime.vector_models import VectorClassifier

    refuse(model, arguments, window="language models", text="texts")
    data = data_of_bundle(model.manifest.runtime)
    given = {"values": tuple(arguments.values), "label": arguments.label, "errors": arguments.errors}
    data = replace(data, **{name: value for name, value in given.items() if value})
    options, skipped = vector_options(data), Counter[str]()
    source, features = arguments.source, model.features
    held_out = None if source else prepared_records(_prepared(arguments.model).parts[1])
    metrics: dict[str, Any]
    if isinstance(model, VectorClassifier):
        labelled = held_out or labelled_vectors(
            source, options, features, model.labels, Labels(data.label_names), skipped
        )
        metrics = evaluate_classifier(partial(model.predict, arranged=True), labelled, model.measure).to_dict()
    else:
        valued = held_out or read_vectors(source, options, skipped, features, is_valued=True)
        metrics = evaluate_regressor(partial(model.predict, arranged=True), valued)
    if skipped:
        print(f"left out: {describe(skipped)}", file=sys.stderr)
    return metrics


def _evaluate_forecaster(model: Forecaster, arguments: argparse.Namespace) -> dict[str, Any]:
    from textrnn.config import data_of_bundle
    from textrnn.metrics.forecast_report import forecast_errors

    refuse(model, arguments, window="language models", text="texts", label="classifiers and regressors")
    if arguments.source:
        (values, _), begin = series_of(model, arguments.source, arguments.values), 1
    else:
        (series,) = _prepared(arguments.model).parts
        values, begin = series.values, series.training
    if len(values) <= model.horizon:
        raise UserError(
            f"a series must be longer than the horizon of {model.horizon:,}, was: {len(values):,} values; give more"
        )
    season = data_of_bundle(model.manifest.runtime).season
    return {"values": len(values) - begin, **forecast_errors(values, model.forecasts(values), begin, season)}


def _run_of(model: Path) -> Run:
    """Open the run on whose held-out data a model is measured if no source is given."""
    from textrnn.training.tasks.runs import open_run

    if not (model / "config.json").exists():
        raise UserError(
            "evaluate needs data that was not trained on, a bundle has none; give a SOURCE or the run folder"
        )
    return open_run(model)


def _prepared(model: Path) -> Prepared:
    """Return the training and held-out data of a model's run."""
    from textrnn.training.tasks.table import prepare

    return prepare(_run_of(model))
