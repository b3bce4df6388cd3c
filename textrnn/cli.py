"""The `textrnn` command. Heavy imports stay inside the commands that need them, so that `generate` starts at once."""

from __future__ import annotations

import argparse
import io
import json
import os
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textrnn.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from textrnn.config import Config
    from textrnn.forecasting import Forecaster
    from textrnn.runtime import Classifier, LanguageModel
    from textrnn.tokenizers.base import Tokenizer
    from textrnn.train.cluster import Cluster
    from textrnn.train.distribution import Distribution
    from textrnn.train.evaluation import Part
    from textrnn.train.run import Run
    from textrnn.train.trainer import Trainer
    from textrnn.vector_runtime import Regressor, VectorClassifier

CLASSIFIED_AT_ONCE = 256  # texts or other records, of which the first is told when all are read
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
TASKS = {
    "language_model": "language_model",
    "classification": "classification",
    "sentiment": "classification",
    "regression": "regression",
    "forecast": "forecast",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0 well, 1 a failure told in one line, 2 a wrong call, 130 stopped by a signal."""
    arguments = _parse(argv)
    try:
        arguments.run(arguments)
    except UserError as error:
        if arguments.debug:
            raise
        print("textrnn:", *str(error).splitlines(), file=sys.stderr)
        return 1
    except UnicodeEncodeError as error:  # half a character in an argument, or an output that lacks the character
        if arguments.debug:
            raise
        character = ascii(error.object[error.start])
        print(
            f"textrnn: text must be what {error.encoding} can spell, was: {character}; use UTF-8 everywhere",
            file=sys.stderr,
        )
        return 1
    except BrokenPipeError:  # the reader of our output left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if arguments.debug:
            raise
        print(
            f"textrnn: {error.filename or 'a file'} could not be used: {error.strerror}; check it and try again",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("textrnn: stopped", file=sys.stderr)
        return 130
    except Stopped as stopped:
        print(f"textrnn: {stopped}", file=sys.stderr)
        return 130
    return 0


class Stopped(Exception):
    """A command ended early because it was asked to."""


def train_run(run: Run, new: bool = False) -> Path:
    """Train a run from where it stands to its end and export its bundle; the bundle's folder.

    Args:
        run: the run.
        new: whether its folder was just made; if so, a run that cannot even begin leaves no folder.

    Raises:
        UserError: as the stages raise it.
        Stopped: a signal asked to stop; the run can be resumed.
    """
    resume = f"go on with: textrnn train --resume --out {shlex.quote(str(run.folder))}"
    try:
        return _train_and_export(run, new, resume)
    except KeyboardInterrupt as interrupt:
        raise Stopped(f"stopped; {resume}") from interrupt


def _train_and_export(run: Run, new: bool, resume: str) -> Path:
    from textrnn.train.tensorflow_setup import import_tensorflow

    try:
        run.remove_leftovers()
        run.prepare()  # what is wrong with the data shows before TensorFlow has taken its seconds to load
        import_tensorflow()
        from textrnn.train.distribution import of_this_process, use
        from textrnn.train.tasks import trainer_of

        with use(of_this_process()):
            trainer = trainer_of(run)
    except UserError:
        if new:
            run.remove_unless_trained()
        raise
    _fit(trainer, resume)
    if not run.bundle.exists():
        trainer.finish()
    return run.bundle


def _fit(trainer: Trainer, resume: str) -> None:
    from textrnn.train.trainer import Interrupted

    try:
        trainer.fit()
    except Interrupted as interrupted:
        raise Stopped(
            f"stopped at step {trainer.progress.step} of {trainer.total_steps}, nothing is lost; {resume}"
        ) from interrupted


def _train_with_others(cluster: Cluster, folder: Path, config: Config | None, resume: bool, quiet: bool) -> Run:
    """Train as one worker of several; only the first of them writes files."""
    from textrnn.train.shared_run import run_of_all
    from textrnn.train.tensorflow_setup import import_tensorflow

    if not quiet:
        print(f"worker {cluster.index} meets the others: {', '.join(cluster.workers)}", file=sys.stderr, flush=True)
    distribution = import_tensorflow(lambda: _join(cluster))
    from textrnn.train.distribution import use
    from textrnn.train.tasks import trainer_of

    again = f"textrnn train --resume --out {shlex.quote(str(folder))}"
    kept = f"the last checkpoint is kept, go on with, for every worker: {again}"
    with distribution.losses_told(kept), use(distribution):
        run = run_of_all(distribution, folder, config, resume, quiet)
        try:
            trainer = trainer_of(run)
        except UserError:
            if distribution.is_chief and not resume:
                run.remove_unless_trained()
            raise
        _fit(trainer, f"go on with, for every worker: {again}")
        # The others leave when the chief has written all, or it would miss them.
        distribution.chief_first(lambda: None if run.bundle.exists() else trainer.finish(), lambda: None)
    return run


def _join(cluster: Cluster) -> Distribution:
    from textrnn.train.distribution import join

    return join(cluster)


# The commands


def _train(arguments: argparse.Namespace) -> None:
    from textrnn.config import load_config
    from textrnn.train.cluster import cluster_of
    from textrnn.train.run import create_run, open_run

    task = [f"task={TASKS[arguments.task]}"] if arguments.task else []
    config = load_config(arguments.config, [*task, *arguments.set])
    given = {"source": tuple(arguments.source), "errors": arguments.errors}
    config = replace(config, data=replace(config.data, **{name: value for name, value in given.items() if value}))
    folder = arguments.out or Path("runs") / _run_name(arguments)
    stated = not arguments.resume or arguments.config or arguments.set or task or any(given.values())
    if cluster := cluster_of(os.environ):
        run = _train_with_others(cluster, folder, config if stated else None, arguments.resume, arguments.quiet)
        print(run.bundle)
        if cluster.is_chief and not arguments.quiet:
            print(f"try: {_what_to_try(run)}", file=sys.stderr)
        return
    if arguments.resume:
        run = open_run(folder, config if stated else None, arguments.quiet)
    else:
        run = create_run(folder, config, arguments.quiet)
    print(train_run(run, new=not arguments.resume))
    if not arguments.quiet:
        print(f"try: {_what_to_try(run)}", file=sys.stderr)


def _what_to_try(run: Run) -> str:
    folder = shlex.quote(str(run.folder))
    if run.forecasts:
        return f"textrnn forecast {folder}"
    if run.reads_vectors and run.config.task in ("classification", "regression"):
        return f"textrnn classify {folder} --input FILE"
    commands = {"language_model": "generate", "classification": "classify"}
    return f"textrnn {commands.get(run.config.task, 'evaluate')} {folder}"


def _run_name(arguments: argparse.Namespace) -> str:
    if arguments.config:
        return str(arguments.config.stem)
    if arguments.source:
        return Path(arguments.source[0]).resolve().name.strip(".").split(".")[0]
    return arguments.task or "builtin"


def _evaluate(arguments: argparse.Namespace) -> None:
    from textrnn.forecasting import Forecaster
    from textrnn.runtime import Classifier, LanguageModel, load
    from textrnn.vector_runtime import Regressor, VectorClassifier

    model = load(arguments.model, threads=os.cpu_count() or 1)
    if not isinstance(model, LanguageModel):
        _refuse(model, arguments, dynamic="language models", cache="language models", set="language models")
    if isinstance(model, Forecaster):
        metrics = _evaluate_forecaster(model, arguments)
    elif isinstance(model, VectorClassifier | Regressor):
        metrics = _evaluate_on_vectors(model, arguments)
    elif isinstance(model, Classifier):
        metrics = _evaluate_classifier(model, arguments)
    else:
        metrics = _evaluate_language_model(model, arguments)
    if arguments.json:
        source = arguments.source or "held out"
        document = {"model": str(arguments.model), "source": source, "window": arguments.window, **metrics}
        print(json.dumps(document, ensure_ascii=False))
        return
    for name, value in metrics.items():
        if isinstance(value, (int, float)):
            print(f"{name.replace('_', ' '):20} {_number(value)}")
    if metrics.get("not_predicted"):
        print(f"{'not predicted':20} {metrics['not_predicted']}")
    for label, figures in metrics.get("classes", {}).items():
        print(f"{label:20} " + "  ".join(f"{name} {_number(value)}" for name, value in figures.items()))
    if "adapted" in metrics:
        _print_adapted(metrics["adapted"])


def _evaluate_language_model(model: LanguageModel, arguments: argparse.Namespace) -> dict[str, Any]:
    from textrnn.config import from_dict
    from textrnn.train.evaluation import dataset_parts, encode_pieces, evaluate
    from textrnn.train.run import source_options
    from textrnn.train.sources import read_text

    _refuse(model, arguments, values="vectors")
    data = from_dict({"data": dict(model.manifest.config.get("data", {}))}).data
    adapts = arguments.dynamic or arguments.cache is not None or arguments.set
    if adapts:
        _require_adaptable(arguments)
    if arguments.source:
        options = replace(source_options(data), errors=arguments.errors or data.errors)
        parts = encode_pieces(model.tokenizer, read_text(arguments.source, options, data.apart), data.apart)
    else:
        _, held_out = _run_of(arguments.model).datasets(model.tokenizer)
        parts = iter(dataset_parts(held_out))
    kept = list(parts) if adapts else parts  # else a text of any length is read part by part
    metrics: dict[str, Any] = evaluate(
        model.read, model.vocabulary_size, kept, model.start_id, apart=data.apart, window=arguments.window
    ).to_dict()
    if model.tokenizer.loses:
        metrics["not_predicted"] = model.tokenizer.loses
    return {**metrics, "adapted": _adapt(arguments, model.tokenizer, list(kept))} if adapts else metrics


def _require_adaptable(arguments: argparse.Namespace) -> None:
    """Refuse what dynamic evaluation and a cache cannot be measured on, before anything is."""
    from textrnn.train.adaptation_settings import parse_settings
    from textrnn.train.checkpoints import BEST

    parse_settings(arguments.set, arguments.dynamic, arguments.cache)
    if arguments.window is not None:
        raise UserError("--window forgets what --dynamic and --cache live on, both were given; leave one out")
    if not all((arguments.model / file).is_file() for file in (BEST, "config.json")):
        raise UserError(
            f"--dynamic and --cache need the weights of a run, {BEST}, which {arguments.model} lacks; a bundle holds "
            "graphs alone: give the run folder"
        )


def _adapt(arguments: argparse.Namespace, tokenizer: Tokenizer, parts: Sequence[Part]) -> dict[str, Any]:
    """What dynamic evaluation and a cache give, apart from the static figures."""
    import numpy as np

    from textrnn.scoring import TextSize
    from textrnn.train.adaptation_settings import parse_settings
    from textrnn.train.tensorflow_setup import import_tensorflow

    import_tensorflow()
    from textrnn.train.adaptation import Adaptation

    settings = parse_settings(arguments.set, arguments.dynamic, arguments.cache)
    adaptation = Adaptation(_run_of(arguments.model), tokenizer, settings)
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
    """Apart from the static figures, so that nobody takes one for the other."""
    print("\nNot the static figures above: below, the model used the text it had just read, each token told first.")
    for name, title in ADAPTED.items():
        if found := adapted.get(name):
            print(f"\n{title}")
            for figure in ADAPTED_FIGURES:
                if figure in found:
                    print(f"{figure.replace('_', ' '):20} {_number(found[figure])}")
            settings = dict(found["settings"])
            size = [f"--cache {settings.pop('cache.size')}"] if "cache.size" in settings else []
            print(
                f"{'settings':20} " + " ".join([*size, *(f"--set {key}={value:g}" for key, value in settings.items())])
            )
            print(f"{'seconds':20} {found['seconds']:.1f}")
    if searched := adapted["searched_on_held_out"]:
        print(f"\nsearched on the run's held-out text: {', '.join(searched)}")


def _evaluate_classifier(model: Classifier, arguments: argparse.Namespace) -> dict[str, Any]:
    from textrnn.config import from_dict
    from textrnn.train.evaluation import encode_labelled, evaluate_classifier, labelled_texts
    from textrnn.train.labelled import describe
    from textrnn.train.run import labelled_options

    _refuse(model, arguments, window="language models", values="vectors")
    data = from_dict(model.manifest.config).data
    skipped: Counter[str] = Counter()
    if arguments.source:
        given = {"text": arguments.text, "label": arguments.label, "errors": arguments.errors}
        data = replace(data, **{name: value for name, value in given.items() if value})
        texts = encode_labelled(
            model.tokenizer, arguments.source, labelled_options(data), model.labels, data.label_names, skipped
        )
    else:
        _, held_out = _run_of(arguments.model).labelled_datasets(model.tokenizer)
        texts = labelled_texts(held_out)
    metrics = evaluate_classifier(model.predict, texts, model.labels).to_dict()
    if skipped:
        print(f"left out: {describe(skipped)}", file=sys.stderr)
    return metrics


def _evaluate_on_vectors(model: VectorClassifier | Regressor, arguments: argparse.Namespace) -> dict[str, Any]:
    from textrnn.config import from_dict
    from textrnn.train.evaluation import evaluate_classifier, evaluate_regressor, labelled_vectors, prepared_vectors
    from textrnn.train.labelled import describe
    from textrnn.train.run import vector_options
    from textrnn.train.vector_sources import read_vectors
    from textrnn.vector_runtime import VectorClassifier

    _refuse(model, arguments, window="language models", text="texts")
    data = from_dict(model.manifest.config).data
    given = {"values": tuple(arguments.values), "label": arguments.label, "errors": arguments.errors}
    data = replace(data, **{name: value for name, value in given.items() if value})
    options, skipped = vector_options(data), Counter[str]()
    source, features = arguments.source, model.features
    held_out = None if source else prepared_vectors(_run_of(arguments.model).vector_datasets()[1])
    metrics: dict[str, Any]
    if isinstance(model, VectorClassifier):
        labelled = held_out or labelled_vectors(source, options, features, model.labels, data.label_names, skipped)
        metrics = evaluate_classifier(partial(model.predict, arranged=True), labelled, model.labels).to_dict()
    else:
        valued = held_out or read_vectors(source, options, "regression", skipped, features)
        metrics = evaluate_regressor(partial(model.predict, arranged=True), valued)
    if skipped:
        print(f"left out: {describe(skipped)}", file=sys.stderr)
    return metrics


def _evaluate_forecaster(model: Forecaster, arguments: argparse.Namespace) -> dict[str, Any]:
    from textrnn.config import from_dict
    from textrnn.train.forecast_report import forecast_errors

    _refuse(model, arguments, window="language models", text="texts", label="classifiers and regressors")
    if arguments.source:
        (values, _), begin = _series_of(model, arguments), 1
    else:
        series = _run_of(arguments.model).series()
        values, begin = series.values, series.training
    if len(values) <= model.horizon:
        raise UserError(
            f"a series must be longer than the horizon of {model.horizon:,}, was: {len(values):,} values; give more"
        )
    season = from_dict(model.manifest.config).data.season
    return {"values": len(values) - begin, **forecast_errors(values, model.forecasts(values), begin, season)}


def _series_of(model: Forecaster, arguments: argparse.Namespace) -> tuple[NDArray[Any], tuple[str, ...]]:
    """The values of the SOURCE of a forecaster, and the names of its columns."""
    from textrnn.config import from_dict
    from textrnn.train.series import read_series

    return read_series(arguments.source, tuple(arguments.values) or from_dict(model.manifest.config).data.values)


def _refuse(model: Any, arguments: argparse.Namespace, **options: str) -> None:
    """Raise a UserError of options that are given and are for models of another kind."""
    for name, what in options.items():
        if getattr(arguments, name) not in (None, False, []):
            kind = model.manifest.kind.replace("_", " ")
            raise UserError(f"--{name} is for {what}, this is a {kind}; leave it out")


def _run_of(model: Path) -> Run:
    """The run whose held-out part a model is measured on where nothing else is given."""
    from textrnn.train.run import open_run

    if not (model / "config.json").exists():
        raise UserError(
            "evaluate needs data that was not trained on, a bundle has none; give a SOURCE or the run folder"
        )
    return open_run(model)


def _generate(arguments: argparse.Namespace) -> None:
    from textrnn.runtime import load_language_model

    model = load_language_model(arguments.model)
    options: dict[str, Any] = {
        name: getattr(arguments, name)
        for name in ("length", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "beams", "stop", "seed")
    }
    prompt = arguments.prompt
    if arguments.json:
        texts = model.samples(prompt, count=arguments.count, **options)
        print(json.dumps({"prompt": prompt, "texts": texts, **options}, ensure_ascii=False))
    elif arguments.count != 1:
        for index, text in enumerate(model.samples(prompt, count=arguments.count, **options)):
            print(f"--- {index + 1}", file=sys.stderr)
            print(prompt + text)
    else:
        pieces = model.stream(prompt, **options)  # refuses wrong options, before anything is printed
        sys.stdout.write(prompt)
        for piece in pieces:
            sys.stdout.write(piece)
            sys.stdout.flush()
        sys.stdout.write("\n")


def _classify(arguments: argparse.Namespace) -> None:
    from textrnn.runtime import load, require_classifier
    from textrnn.vector_runtime import Regressor, VectorClassifier

    loaded = load(arguments.model)
    if isinstance(loaded, VectorClassifier | Regressor):
        _classify_vectors(loaded, arguments)
        return
    model = require_classifier(loaded, arguments.model)
    for option in ("png", "label"):
        if getattr(arguments, option) and not arguments.why:
            raise UserError(f"--{option} is of what --why says; give both")
    if arguments.column and not arguments.input:
        raise UserError("--column is of the records of --input FILE; give both")
    texts = _texts_to_classify(arguments)
    if arguments.why:
        _explain(model, texts, arguments)
        return
    while batch := list(islice(texts, CLASSIFIED_AT_ONCE)):
        for text, prediction in zip(batch, model.classify(batch), strict=True):
            print(json.dumps({"text": text, **prediction.to_dict()}, ensure_ascii=False), flush=True)


def _classify_vectors(model: VectorClassifier | Regressor, arguments: argparse.Namespace) -> None:
    from textrnn.config import from_dict
    from textrnn.train.evaluation import in_batches
    from textrnn.train.labelled import describe
    from textrnn.train.run import vector_options
    from textrnn.train.vector_sources import read_unlabelled
    from textrnn.vector_runtime import VectorClassifier

    _refuse(model, arguments, why="classifiers of texts", label="classifiers of texts", png="classifiers of texts")
    if arguments.text or str(arguments.input or "-") == "-":
        was = f"text: {arguments.text[0]!r:.60}" if arguments.text else "none"
        raise UserError(f"{arguments.model} reads vectors of a file, was given {was}; give --input FILE")
    options = replace(vector_options(from_dict(model.manifest.config).data), errors="replace")
    if arguments.column:
        options = replace(options, values=(arguments.column,))
    skipped: Counter[str] = Counter()
    records = read_unlabelled(str(arguments.input), options, skipped, model.features)
    for batch in in_batches(records, CLASSIFIED_AT_ONCE):
        sequences, told = [sequence for sequence, _ in batch], list[dict[str, Any]]()
        if isinstance(model, VectorClassifier):
            told = [prediction.to_dict() for prediction in model.classify(sequences, arranged=True)]
        else:  # by way of their digits: as many as float32 has
            values = model.predict(sequences, arranged=True)
            told = [{"values": [float(str(value)) for value in row]} for row in values]
        for (_, number), facts in zip(batch, told, strict=True):
            print(json.dumps({"record": number, **facts}, ensure_ascii=False), flush=True)
    if skipped:
        print(f"left out: {describe(skipped)}", file=sys.stderr)


def _texts_to_classify(arguments: argparse.Namespace) -> Iterator[str]:
    """Arguments, or the records or lines of a file, or the lines of standard input."""
    if arguments.text and arguments.input:
        raise UserError("classify takes texts or --input FILE, was given both; leave one out")
    if arguments.text:
        return iter(arguments.text)
    if arguments.input and str(arguments.input) != "-":
        from textrnn.train.sources import SourceOptions, read_whole

        options = SourceOptions(text=arguments.column or "text", errors="replace", documents="line")
        return read_whole([str(arguments.input)], options)
    if isinstance(sys.stdin, io.TextIOWrapper):  # read as a file is, whatever the locale
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    if sys.stdin.isatty():
        print("a text a line, Ctrl-D ends", file=sys.stderr)
    return (line.rstrip("\r\n") for line in sys.stdin)


def _explain(model: Classifier, texts: Iterator[str], arguments: argparse.Namespace) -> None:
    from tqdm import tqdm

    from textrnn.explanation import draw, to_terminal

    for number, text in enumerate(texts):
        if arguments.png and number:
            raise UserError("--png draws one text, was given several; give one")
        with tqdm(desc="reading", unit="text", disable=arguments.json, delay=1, leave=False, file=sys.stderr) as bar:
            explanation = model.explain(text, arguments.label, bar.update)
        if arguments.png:
            draw(explanation, arguments.png)
        if arguments.json:
            print(json.dumps(explanation.to_dict(), ensure_ascii=False))
        else:
            width = shutil.get_terminal_size().columns
            print(to_terminal(explanation, colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ, width=width))


def _forecast(arguments: argparse.Namespace) -> None:
    from textrnn.runtime import load_forecaster
    from textrnn.train.run import open_run

    model = load_forecaster(arguments.model)
    if arguments.source:
        values, columns = _series_of(model, arguments)
    elif (arguments.model / "config.json").exists():
        series = open_run(arguments.model).series()
        values, columns = series.values, series.columns
    else:
        raise UserError("a forecast goes on from a series, a bundle has none; give a SOURCE or the run folder")
    told = model.forecast(values, arguments.steps)
    if arguments.json:
        document = {"model": str(arguments.model), "source": arguments.source or "the run's", "columns": columns}
        print(json.dumps({**document, "forecast": told.tolist()}, ensure_ascii=False))
        return
    print("\t".join(["step", *columns]))
    for number, row in enumerate(told.tolist(), 1):
        print("\t".join([str(number), *(f"{value:.6g}" for value in row)]))


def _export(arguments: argparse.Namespace) -> None:
    from textrnn.train.run import open_run
    from textrnn.train.tensorflow_setup import import_tensorflow

    run = open_run(arguments.model, quiet=True)
    folder = arguments.out or arguments.model / (f"bundle-{arguments.quantize}" if arguments.quantize else "bundle")
    if folder.exists():
        raise UserError(f"an output folder must not exist yet, found: {folder}; remove it or give another --out")
    if not run.best.exists():
        raise UserError(
            f"{run.folder} has no evaluated weights yet; go on with: textrnn train --resume --out {run.folder}"
        )
    import_tensorflow()
    from textrnn.train.tasks import trainer_of

    metrics = trainer_of(run).export(folder, arguments.quantize).manifest.metrics
    print(folder)
    if arguments.quantize:
        print(_cost_of_8_bits(metrics, "sequences" if run.reads_vectors else "texts"), file=sys.stderr)


def _cost_of_8_bits(metrics: Mapping[str, Any], what: str) -> str:
    full, small = (metrics.get(precision, {}) for precision in ("float32", "int8"))
    if "accuracy" in small:
        lost = 100 * (full["accuracy"] - small["accuracy"])
        return f"int8 costs {lost:.2f} points of accuracy on held-out {what}"
    if "mean_squared_error" in small:
        errors = (f"{measured['mean_squared_error']:.6g}" for measured in (full, small))
        return "int8 raises the mean squared error on held-out {} from {} to {}".format(what, *errors)
    return f"int8 costs {small['loss']:.4f} nats a token on held-out text"


def _info(arguments: argparse.Namespace) -> None:
    from textrnn.bundle import find_bundle, read_bundle
    from textrnn.runtime import load_bundled_tokenizer

    bundle = read_bundle(find_bundle(arguments.model))
    manifest = bundle.manifest
    if arguments.json:
        print(manifest.to_json(), end="")
        return
    size = sum(entry.bytes for entry in manifest.files.values())
    print(f"bundle     {bundle.folder}")
    print(f"kind       {manifest.kind}, {manifest.precision}, {size / 1e6:.2f} MB in {len(manifest.files)} files")
    if manifest.labels:
        print(f"labels     {', '.join(manifest.labels)}")
    if manifest.tokenizer:
        print(f"tokenizer  {manifest.tokenizer.kind}, {load_bundled_tokenizer(bundle).vocabulary_size:,} tokens")
    for name, graph in manifest.graphs.items():
        for way, tensors in (("in", graph.inputs), ("out", graph.outputs)):
            for tensor in tensors:
                print(f"{name:10} {way:3} {tensor.name}: {tensor.dtype} ({', '.join(map(str, tensor.shape))})")
    for name, metrics in manifest.metrics.items():
        if isinstance(metrics, Mapping):
            figures = ", ".join(
                f"{key.replace('_', ' ')} {_number(value)}"
                for key, value in metrics.items()
                if isinstance(value, (int, float))
            )
            print(f"{name:10} {figures}")
    print("made with  " + ", ".join(f"{name} {version}" for name, version in manifest.created_with.items()))


def _number(value: float) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.4g}" if 0 < abs(value) < 1e-3 else f"{value:,.4f}"


# The call


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments of a command; what it takes any number of may stand before, between or after its options."""
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    # argparse gives such an argument only what stands before the first option.
    repeated: str | None = getattr(arguments, "repeated", None)
    end = rest.index("--") if "--" in rest else len(rest)  # after it nothing is an option
    options = [word for word in rest[:end] if word.startswith("-") and word != "-"]
    rest = rest[:end] + rest[end + 1 :]
    if rest and (repeated is None or options):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if repeated is not None:
        setattr(arguments, repeated, getattr(arguments, repeated) + rest)
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="textrnn",
        description="Train a small recurrent text model on your own text; run it anywhere.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = _command(commands, "train", _train, "train a model on text and export it", repeated="source")
    train.add_argument(
        "source", nargs="*", metavar="SOURCE", help="files, folders or Hugging Face ids (default: the Python manual)"
    )
    train.add_argument("--task", choices=TASKS, help="what is learned (default: language_model, or what --config says)")
    train.add_argument("--config", type=Path, metavar="FILE.toml", help="settings that differ from the defaults")
    train.add_argument(
        "--set", action="append", default=[], metavar="KEY.PATH=VALUE", help="one setting, e.g. train.epochs=5"
    )
    train.add_argument("--out", type=Path, metavar="RUN", help="the run folder (default: runs/NAME)")
    train.add_argument("--resume", action="store_true", help="go on from the last checkpoint of --out")
    train.add_argument(
        "--errors", choices=("strict", "replace"), help="bytes that are not UTF-8: stop, or replace them"
    )
    train.add_argument("--quiet", action="store_true", help="show no progress")

    evaluate = _command(
        commands, "evaluate", _evaluate, "measure a model on text or vectors", model=True, repeated="source"
    )
    evaluate.add_argument(
        "source", nargs="*", metavar="SOURCE", help="what the model was not trained on (default: its held-out part)"
    )
    evaluate.add_argument(
        "--window", type=int, metavar="N", help="of a language model: read windows of N tokens, each from a fresh state"
    )
    evaluate.add_argument(
        "--dynamic", action="store_true", help="of a language model: measure too how it does when it learns as it reads"
    )
    evaluate.add_argument(
        "--cache", type=int, metavar="N", help="of a language model: measure too how it does with the last N tokens"
    )
    evaluate.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of --dynamic or --cache, e.g. dynamic.learning_rate=1e-4 (default: searched on the held-out text)",
    )
    evaluate.add_argument(
        "--errors", choices=("strict", "replace"), help="bytes that are not UTF-8: stop, or replace them"
    )
    evaluate.add_argument("--text", metavar="COLUMN", help="of a classifier's SOURCE: where the text is")
    evaluate.add_argument(
        "--values", action="append", default=[], metavar="COLUMN", help="of vectors: where the numbers are; repeatable"
    )
    evaluate.add_argument("--label", metavar="COLUMN", help="of texts or vectors: where the label is")
    evaluate.add_argument("--json", action="store_true", help="print one JSON document")

    generate = _command(commands, "generate", _generate, "write text", model=True)
    generate.add_argument("--prompt", default="", metavar="TEXT", help="what the text goes on from")
    generate.add_argument("--length", type=int, default=200, metavar="N", help="the most tokens to write (200)")
    generate.add_argument(
        "--temperature",
        type=float,
        default=1.0,
        metavar="F",
        help="below 1 bolder, above 1 wilder; 0 most probable (1)",
    )
    generate.add_argument("--top-k", type=int, default=0, metavar="N", help="keep the N most probable tokens (0: all)")
    generate.add_argument(
        "--top-p", type=float, default=1.0, metavar="F", help="keep tokens that make up this probability (1: all)"
    )
    generate.add_argument(
        "--min-p", type=float, default=0.0, metavar="F", help="keep tokens this likely beside the likeliest (0: all)"
    )
    generate.add_argument(
        "--repetition-penalty", type=float, default=1.0, metavar="F", help="above 1, less repetition (1)"
    )
    generate.add_argument(
        "--beams", type=int, default=1, metavar="N", help="search for the most probable text (1: sample)"
    )
    generate.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="end before this text; may be given again"
    )
    generate.add_argument("--count", type=int, default=1, metavar="N", help="how many texts (1)")
    generate.add_argument("--seed", type=int, metavar="N", help="the same seed writes the same text")
    generate.add_argument("--json", action="store_true", help="print one JSON document")

    classify = _command(
        commands,
        "classify",
        _classify,
        "tell the label of texts or vectors, or the values of vectors, one line of JSON each",
        model=True,
        repeated="text",
    )
    classify.add_argument("text", nargs="*", metavar="TEXT", help="texts (default: lines of standard input)")
    classify.add_argument(
        "--input",
        type=Path,
        metavar="FILE",
        help="a text a line, or records (.csv, ...), not empty ones; of vectors .npz and IDX too",
    )
    classify.add_argument("--column", metavar="NAME", help="of records: where the text is (text), or the vectors")
    classify.add_argument("--why", action="store_true", help="show what each token of a text speaks for")
    classify.add_argument("--label", metavar="LABEL", help="with --why: the label to explain (the most probable)")
    classify.add_argument("--png", type=Path, metavar="FILE", help="with --why: draw it")
    classify.add_argument("--json", action="store_true", help="with --why: print JSON; labels are printed so always")

    forecast = _command(commands, "forecast", _forecast, "tell how a series goes on", model=True, repeated="source")
    forecast.add_argument("source", nargs="*", metavar="SOURCE", help="the series so far (default: all of the run's)")
    forecast.add_argument("--steps", type=int, metavar="N", help="how many to tell (default: the model's horizon)")
    forecast.add_argument(
        "--values", action="append", default=[], metavar="COLUMN", help="of SOURCE: where the numbers are"
    )
    forecast.add_argument("--json", action="store_true", help="print one JSON document")

    export = _command(commands, "export", _export, "export a run's best weights")
    export.add_argument("model", type=Path, metavar="RUN", help="a run folder")
    export.add_argument(
        "--out", type=Path, metavar="BUNDLE", help="the bundle folder (default: RUN/bundle, or RUN/bundle-int8)"
    )
    export.add_argument("--quantize", choices=("int8",), help="store weights in 8 bits; the loss it costs is measured")

    info = _command(commands, "info", _info, "describe a model", model=True)
    info.add_argument("--json", action="store_true", help="print the manifest")
    return parser


def _command(
    commands: Any, name: str, run: Any, text: str, model: bool = False, repeated: str | None = None
) -> argparse.ArgumentParser:
    """A command; `repeated` is its argument that may be given any number of times."""
    command: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text.capitalize() + ".")
    command.set_defaults(run=run, repeated=repeated)
    command.add_argument("--debug", action="store_true", help="show the traceback of a failure")
    if model:
        command.add_argument("model", type=Path, metavar="MODEL", help="a bundle or a run folder")
    return command


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        import textrnn

        print(f"textrnn {textrnn.__version__}")
        parser.exit()
