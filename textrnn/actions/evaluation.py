"""Evaluation of a model: as `textrnn evaluate` does it, and as the method `evaluate` of a model."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from textrnn.actions.messages import refuse, say, say_how_tables_are_read
from textrnn.data.in_memory import Source
from textrnn.errors import UserError

if TYPE_CHECKING:
    from textrnn.metrics.evaluation import Part
    from textrnn.runtime.forecaster import Forecaster
    from textrnn.runtime.language_model import LanguageModel
    from textrnn.runtime.recognizer import Recognizer
    from textrnn.runtime.sessions import OfBundle
    from textrnn.runtime.text_classifier import Classifier
    from textrnn.runtime.translator import Translator
    from textrnn.runtime.vector_models import Regressor, VectorClassifier
    from textrnn.training.loop.run import Run
    from textrnn.training.tasks.task import Prepared

ALWAYS_GIVEN = ("dynamic.segment", "cache.size")


@dataclass(frozen=True)
class Evaluation:
    """What a model is evaluated on, and how.

    Attributes:
        source: evaluation data; empty for the held-out split of the model's run.
        text: text column; None as in training.
        label: label column; None as in training.
        values: columns of numbers; empty as in training.
        errors: ``strict`` or ``replace`` for bytes that are not UTF-8; None as in training.
        window: language models: reset the state every `window` tokens.
        dynamic: language models: whether dynamic evaluation is measured too.
        cache: language models: tokens of a continuous cache that is measured too.
        set: settings of the two, as ``cache.theta=0.3``.
        target: text to text: column of the target text; None as in training.
        beams: text to text and recognition: hypotheses of the beam search; None for the default.
        lm: recognition: a language model of characters; None for none.
        quiet: print no notes and no progress.
        mark: what a user writes before the name of an option, for messages.
    """

    source: Source = ()
    text: str | None = None
    label: str | None = None
    values: tuple[str, ...] = ()
    errors: str | None = None
    window: int | None = None
    dynamic: bool = False
    cache: int | None = None
    set: tuple[str, ...] = ()
    target: str | None = None
    beams: int | None = None
    lm: str | None = None
    quiet: bool = True
    mark: str = ""


def evaluate(model: Any, asked: Evaluation) -> dict[str, Any]:
    """Evaluate a model and return its figures, ready for JSON.

    Args:
        model: a model that `textrnn.runtime.load.load` returned.
        asked: the data, and how they are read.

    Raises:
        UserError: an option is for another kind of model, the data cannot be read, or no data are given and the model
            has no run with a held-out split.
    """
    from textrnn.config import data_of_bundle
    from textrnn.data.in_memory import data_of, places_of
    from textrnn.data.places import keep_data, keep_input, names_a_column
    from textrnn.runtime.forecaster import Forecaster
    from textrnn.runtime.language_model import LanguageModel
    from textrnn.runtime.recognizer import Recognizer
    from textrnn.runtime.text_classifier import Classifier
    from textrnn.runtime.translator import Translator
    from textrnn.runtime.vector_models import Regressor, VectorClassifier

    if not isinstance(model, LanguageModel):
        refuse(model, asked, dynamic="language models", cache="language models", set="language models")
    data = data_of_bundle(model.manifest.runtime)
    with TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        answers = asked.target or data.target if isinstance(model, Translator) else asked.label or data.label
        if memory := data_of(asked.source, asked.text or data.text, answers):
            asked = replace(asked, source=keep_data(memory, folder))
        else:
            in_columns = not isinstance(model, LanguageModel) or bool(asked.text) or names_a_column(data)
            places = () if asked.source is None else places_of(asked.source)
            asked = replace(asked, source=keep_input(places, folder, in_columns))
            if not asked.quiet:
                say_how_tables_are_read(asked.source, isinstance(model, Classifier))
                say(_trained_on(model, places))
        if not isinstance(model, Recognizer):
            refuse(model, asked, lm="recognition")
        if not isinstance(model, Translator):
            refuse(model, asked, target="text to text")
        if not isinstance(model, Translator | Recognizer):
            refuse(model, asked, beams="text to text and recognition")
        if isinstance(model, Recognizer):
            return _evaluate_recognizer(model, asked)
        if isinstance(model, Translator):
            return _evaluate_translator(model, asked)
        if isinstance(model, Forecaster):
            return _evaluate_forecaster(model, asked)
        if isinstance(model, VectorClassifier | Regressor):
            return _evaluate_on_vectors(model, asked)
        if isinstance(model, Classifier):
            return _evaluate_classifier(model, asked)
        return _evaluate_language_model(model, asked)


def _evaluate_language_model(model: LanguageModel, asked: Evaluation) -> dict[str, Any]:
    from textrnn.config import data_of_bundle
    from textrnn.data.records import source_options
    from textrnn.data.sources import read_text
    from textrnn.metrics.evaluation import dataset_parts, encode_pieces, evaluate

    refuse(model, asked, values="vectors", label="classifiers and regressors")
    data = data_of_bundle(model.manifest.runtime)
    adapts = asked.dynamic or asked.cache is not None or asked.set
    if adapts:
        _require_adaptable(model, asked)
    prepared = _prepared(model, asked.quiet) if adapts or not asked.source else None
    if prepared is None or asked.source:
        options = replace(source_options(data), text=asked.text or data.text, errors=asked.errors or data.errors)
        parts = encode_pieces(
            model.tokenizer, read_text(asked.source, options, data.separate_documents), data.separate_documents
        )
    else:
        parts = iter(dataset_parts(prepared.parts[1]))
    kept = list(parts) if adapts else parts  # else a text of any length is read part by part
    metrics: dict[str, Any] = evaluate(
        model.read, model.vocabulary_size, kept, model.start_id, apart=data.separate_documents, window=asked.window
    ).to_dict()
    if model.tokenizer.loses:
        metrics["not_predicted"] = model.tokenizer.loses
    if prepared and adapts:
        metrics["adapted"] = _adapt(model, asked, prepared, list(kept))
    return metrics


def _require_adaptable(model: LanguageModel, asked: Evaluation) -> None:
    """Refuse what dynamic evaluation and a cache cannot be measured on, before anything is."""
    from textrnn.training.adaptation.settings import parse_settings
    from textrnn.training.loop.checkpoints import BEST

    parse_settings(asked.set, asked.dynamic, asked.cache)
    if asked.window is not None:
        raise UserError("--window forgets what --dynamic and --cache live on, both were given; leave one out")
    if model.run is None or not (model.run / BEST).is_file():
        raise UserError(
            f"--dynamic and --cache need the weights of a run, {BEST}, which {model.folder} lacks; a bundle holds "
            "graphs alone: give the run folder"
        )


def _adapt(model: LanguageModel, asked: Evaluation, prepared: Prepared, parts: Sequence[Part]) -> dict[str, Any]:
    """Measure dynamic evaluation and a cache, apart from the static figures."""
    import numpy as np

    from textrnn.scoring import TextSize
    from textrnn.training.adaptation.settings import parse_settings
    from textrnn.training.tensorflow_setup import import_tensorflow

    import_tensorflow()
    from textrnn.training.adaptation.adaptation import Adaptation

    settings = parse_settings(asked.set, asked.dynamic, asked.cache)
    train, held_out, *_ = prepared.parts  # and what was mixed in
    adaptation = Adaptation(_run_of(model, asked.quiet), model.tokenizer, train, held_out, settings)
    ids = np.concatenate([np.asarray(part.ids, np.int32) for part in parts])
    size = sum((part.size for part in parts), TextSize(0, 0, 0))
    measured = adaptation.measure(ids, size, asked.dynamic, asked.cache)
    searched = {name for found in measured.values() for name in found.settings} - {*settings, *ALWAYS_GIVEN}
    return {
        "searched_on_held_out": sorted(searched),
        "searched_on_the_text_itself": bool(searched) and not asked.source,
        **{name: found.to_dict() for name, found in measured.items()},
    }


def _evaluate_classifier(model: Classifier, asked: Evaluation) -> dict[str, Any]:
    from textrnn.config import data_of_bundle
    from textrnn.data.records import labelled_options
    from textrnn.metrics.evaluation import encode_labelled, evaluate_classifier, prepared_records

    refuse(model, asked, window="language models", values="vectors")
    data = data_of_bundle(model.manifest.runtime)
    skipped: Counter[str] = Counter()
    if asked.source:
        given: dict[str, Any] = {"text": asked.text, "label": asked.label, "errors": asked.errors}
        data = replace(data, **{name: value for name, value in given.items() if value})
        labels = model.labels_of(data.label_names)
        texts = encode_labelled(model.tokenizer, asked.source, labelled_options(data), model.labels, labels, skipped)
    else:
        texts = prepared_records(_prepared(model, asked.quiet).parts[1])
    metrics: dict[str, Any] = evaluate_classifier(model.predict, texts, model.measure).to_dict()
    if skipped:
        metrics["left_out"] = dict(skipped)
    return metrics


def _evaluate_on_vectors(model: VectorClassifier | Regressor, asked: Evaluation) -> dict[str, Any]:
    from textrnn.config import data_of_bundle
    from textrnn.data.audio.sources import reading_options
    from textrnn.data.labels import Labels
    from textrnn.data.vector_sources import read_vectors
    from textrnn.metrics.evaluation import evaluate_classifier, evaluate_regressor, labelled_vectors, prepared_records
    from textrnn.runtime.vector_models import VectorClassifier

    refuse(model, asked, window="language models", text="texts")
    data = data_of_bundle(model.manifest.runtime)
    given: dict[str, Any] = {"values": asked.values, "label": asked.label, "errors": asked.errors}
    data = replace(data, **{name: value for name, value in given.items() if value})
    options, skipped = reading_options(data), Counter[str]()
    source, features = asked.source, model.features
    held_out = None if source else prepared_records(_prepared(model, asked.quiet).parts[1])
    metrics: dict[str, Any] = {}
    if isinstance(model, VectorClassifier):
        labelled = held_out or labelled_vectors(
            source, options, features, model.labels, Labels(data.label_names), skipped
        )
        metrics = evaluate_classifier(partial(model.predict, arranged=True), labelled, model.measure).to_dict()
    else:
        valued = held_out or read_vectors(source, options, skipped, features, is_valued=True)
        metrics |= evaluate_regressor(partial(model.predict, arranged=True), valued)
    if skipped:
        metrics["left_out"] = dict(skipped)
    return metrics


def _evaluate_forecaster(model: Forecaster, asked: Evaluation) -> dict[str, Any]:
    from textrnn.config import data_of_bundle
    from textrnn.data.series import read_series
    from textrnn.metrics.forecast_report import forecast_errors

    refuse(model, asked, window="language models", text="texts", label="classifiers and regressors")
    if asked.source:
        columns, notes = asked.values or data_of_bundle(model.manifest.runtime).values, list[str]()
        (values, _), begin = read_series(asked.source, columns, notes), 1
        if not asked.quiet:
            say(notes)
    else:
        (series,) = _prepared(model, asked.quiet).parts
        values, begin = series.values, series.training
    if len(values) <= model.horizon:
        raise UserError(
            f"a series must be longer than the horizon of {model.horizon:,}, was: {len(values):,} values; give more"
        )
    season = data_of_bundle(model.manifest.runtime).season
    return {"values": len(values) - begin, **forecast_errors(values, model.forecasts(values), begin, season)}


def _evaluate_translator(model: Translator, asked: Evaluation) -> dict[str, Any]:
    from textrnn.config import data_of_bundle
    from textrnn.data.pairs.reading import pair_notes, pair_options, read_pairs
    from textrnn.metrics.text_to_text import evaluate_pairs

    refuse(model, asked, window="language models", values="vectors", label="classifiers and regressors")
    skipped = Counter[str]()
    if asked.source:
        given: dict[str, Any] = {"text": asked.text, "target": asked.target, "errors": asked.errors}
        data = replace(
            data_of_bundle(model.manifest.runtime), **{name: value for name, value in given.items() if value}
        )
        if not asked.quiet:
            say(pair_notes(asked.source, pair_options(data)))
        pairs = list(read_pairs(asked.source, pair_options(data), skipped))
    else:
        from textrnn.training.tasks.text_to_text.held_out import held_out_pairs

        pairs = held_out_pairs(_run_of(model, asked.quiet))
    options: dict[str, Any] = {} if asked.beams is None else {"beams": asked.beams}
    metrics = evaluate_pairs(
        pairs,
        lambda sources: [each.text for each in model.transform(sources, **options)],
        lambda text: model.target_tokenizer.encode_whole(text)[1],
    )
    if skipped:
        metrics["left_out"] = dict(skipped)
    return metrics


def _evaluate_recognizer(model: Recognizer, asked: Evaluation) -> dict[str, Any]:
    from textrnn.config import data_of_bundle
    from textrnn.data.audio.recordings import SilentRecording
    from textrnn.data.audio.transcripts import find_transcripts, transcript_columns
    from textrnn.metrics.recognition import compare_transcripts

    others = {"values": "vectors", "label": "classifiers and regressors", "errors": "texts"}
    refuse(model, asked, window="language models", **others)
    skipped, targets, frames = Counter[str](), list[str](), list[Any]()
    if asked.source:
        data = data_of_bundle(model.manifest.runtime)
        columns = transcript_columns(replace(data, text=asked.text or data.text))
        for found in find_transcripts(asked.source, columns, skipped):
            try:
                frames.append(model.format.frames(found.path, found.place))
            except SilentRecording:
                skipped["silent recordings"] += 1
                continue
            targets.append(found.label)
    else:
        held_out = _prepared(model, asked.quiet).parts[1]
        frames = [held_out.sequence(number) for number in range(len(held_out))]
        targets = [model.tokenizer.decode(held_out.transcript(number)) for number in range(len(held_out))]
    outputs = model.transcribe(frames, asked.beams, lm=asked.lm, arranged=True)
    metrics: dict[str, Any] = compare_transcripts(targets, [each.text for each in outputs])
    if skipped:
        metrics["left_out"] = dict(skipped)
    return metrics


def _trained_on(model: OfBundle, places: Sequence[str]) -> list[str]:
    """Return a note where a source is one that the model of a run was trained on."""
    if model.run is None:
        return []
    try:
        data = json.loads((model.run / "config.json").read_text(encoding="utf-8"))["data"]
        known = {Path(place).resolve() for place in (*data["source"], *data["mix"])}
        again = [place for place in places if Path(place).resolve() in known]
    except (OSError, ValueError, KeyError, TypeError):
        return []  # of a damaged run, of which only the bundle is needed here
    note = "the model was trained on most of it, so the figures are too good; without a SOURCE: the held-out part"
    return [f"{place}: {note}" for place in again]


def _run_of(model: OfBundle, quiet: bool) -> Run:
    """Open the run on whose held-out data a model is measured if no source is given."""
    from textrnn.training.tasks.runs import open_run

    if model.run is None:
        raise UserError(
            "evaluate needs data that was not trained on, a bundle has none; give a SOURCE or the run folder"
        )
    return open_run(model.run, quiet=quiet)


def _prepared(model: OfBundle, quiet: bool) -> Prepared:
    """Return the training and held-out data of a model's run."""
    from textrnn.training.tasks.table import prepare

    return prepare(_run_of(model, quiet))
