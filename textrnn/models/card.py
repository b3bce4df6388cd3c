"""Model cards: what a model is, how it was trained, its held-out figures, its limits and how to run it, in Markdown.

A card is written from the manifest of a bundle, in the form of the hub: metadata in YAML, then text. What
the manifest cannot know is in its `card`, all of it optional:

    title, summary, training: strings
    language: codes such as ["en"]
    license, pipeline_tag: terms of the hub
    datasets: ids of the hub
    data, limits: lists of sentences: what it was trained on, with source and licence; what it does badly
    tests: a list of objects with "data" and figures, measured on data that neither training nor choices saw
    example: an input to show

Nothing of it is trusted: a value of another type is left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeGuard

from textrnn.bundle import Manifest

ANYWHERE = "path/to/this/folder"


class Kind(NamedTuple):
    """What a card says of a kind of model.

    Attributes:
        what: what it is.
        tag: its pipeline tag on the hub.
        metric: name of its main held-out figure in the manifest.
        metrics: the metrics, as the hub names them.
        limits: what every model of the kind does badly.
    """

    what: str
    tag: str
    metric: str
    metrics: tuple[str, ...]
    limits: tuple[str, ...]


_SMALL = "It is a small network: it continues the style of its training text, and knows no facts."
_OF_LABELS = "It knows its labels only: every input gets one of them, whatever it is about."
_LIKE_TRAINING = "It is as good as its figures only on data like its training data."
KINDS: Mapping[str, Kind] = {
    "language_model": Kind(
        "a recurrent language model that generates and scores text",
        "text-generation",
        "nats_per_token",
        ("perplexity",),
        (_SMALL,),
    ),
    "classifier": Kind(
        "a recurrent classifier of texts",
        "text-classification",
        "accuracy",
        ("accuracy", "f1"),
        (_OF_LABELS, _LIKE_TRAINING),
    ),
    "multilabel_classifier": Kind(
        "a recurrent classifier that gives a text any number of labels",
        "text-classification",
        "micro_f1",
        ("f1",),
        (_LIKE_TRAINING,),
    ),
    "vector_classifier": Kind(
        "a recurrent classifier of sequences of vectors",
        "tabular-classification",
        "accuracy",
        ("accuracy", "f1"),
        (_OF_LABELS, _LIKE_TRAINING),
    ),
    "regressor": Kind(
        "a recurrent network that predicts values from sequences of vectors",
        "tabular-regression",
        "mean_squared_error",
        ("mse", "mae"),
        (_LIKE_TRAINING,),
    ),
    "forecaster": Kind(
        "a recurrent network that forecasts a time series",
        "time-series-forecasting",
        "one_step_rmse",
        ("mse",),
        ("It forecasts series like the one it was trained on, on the same scale.",),
    ),
    "text_to_text": Kind(
        "a recurrent encoder and decoder with attention that writes a text from a text",
        "text2text-generation",
        "exact_match",
        ("exact_match",),
        (_LIKE_TRAINING, "A source longer than any in training gets an uncertain output, of bounded length."),
    ),
    "recognizer": Kind(
        "a recurrent recognizer of speech that writes the text of a recording",
        "automatic-speech-recognition",
        "word_error_rate",
        ("wer", "cer"),
        (
            "It knows the words, voices and rooms of its training recordings; other speakers are recognised worse.",
            "It spells a word that it never heard by its sound.",
        ),
    ),
}
_OTHER = Kind("a recurrent network", "", "", (), ())
FIGURES = {
    "nats_per_token": "nats a token",
    "perplexity": "perplexity",
    "bits_per_character": "bits a character",
    "accuracy": "accuracy",
    "bleu": "BLEU",
    "chrf": "chrF",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "exact_match": "exact match",
    "token_error_rate": "token error rate",
    "word_error_rate": "word error rate",
    "character_error_rate": "character error rate",
    "calibration_error": "expected calibration error",
    "mean_squared_error": "mean squared error",
    "mean_absolute_error": "mean absolute error",
    "one_step_rmse": "root mean squared error, one step ahead",
    "horizon_rmse": "root mean squared error, over the horizon",
    "naive_one_step_rmse": "the same for the naive forecast, one step ahead",
}
"""Figures that a card shows, by their names in the manifest."""


def card_of(manifest: Manifest, place: str = ANYWHERE) -> str:
    """Return the card of a model.

    Args:
        manifest: its manifest.
        place: how commands name the model: a path, the name of a finished model, or an address of the hub.
    """
    facts, kind = manifest.card, kind_of(manifest)
    title = _text(facts, "title") or f"A {manifest.kind.replace('_', ' ')} made with textrnn"
    size = size_of(manifest)
    weights = "8-bit" if manifest.precision == "int8" else "float32"
    what = (
        f"This is {kind.what}, made with textrnn: plain recurrent layers, exported as ONNX with {weights} weights"
        f"{f', {size / 1e6:.2f} MB' if size else ''}."
    )
    limits = [*kind.limits, *_texts(facts, "limits")]
    sections = {
        "Use": _use(manifest, place),
        "Training": _training(manifest),
        "Held-out figures": _figures(manifest),
        "Limits": "\n".join(f"- {limit}" for limit in limits),
    }
    head = [_metadata(manifest), f"# {title}", _text(facts, "summary"), what, _inputs(manifest)]
    body = [f"## {name}\n\n{text}" for name, text in sections.items() if text]
    return "\n\n".join(part for part in (*head, *body) if part) + "\n"


def kind_of(manifest: Manifest) -> Kind:
    """Return what a card says of the kind of a model; little for a kind of a later version."""
    return KINDS.get(manifest.kind, _OTHER)


def size_of(manifest: Manifest) -> int:
    """Return the size of the files of a model in bytes."""
    return sum(entry.bytes for entry in manifest.files.values())


def main_figure(manifest: Manifest) -> tuple[str, float] | None:
    """Return the main held-out figure of a model and what it is; None where the manifest has none."""
    metric = kind_of(manifest).metric
    value = _mapping(manifest.metrics, "held_out").get(metric)
    return (FIGURES[metric], float(value)) if _is_number(value) else None


def languages_of(manifest: Manifest) -> list[str]:
    """Return the codes of the languages of a model, as far as its card knows them."""
    return _texts(manifest.card, "language")


def summary_of(manifest: Manifest) -> str:
    """Return what a model does, in one line; empty if its card does not say it."""
    return _text(manifest.card, "summary")


def _metadata(manifest: Manifest) -> str:
    """Return the YAML block. Strings of JSON are strings of YAML."""
    facts, kind = manifest.card, kind_of(manifest)
    values: dict[str, Any] = {
        "language": _texts(facts, "language"),
        "license": _text(facts, "license"),
        "library_name": "textrnn",
        "pipeline_tag": _text(facts, "pipeline_tag") or kind.tag,
        "tags": ["textrnn", "onnx", "recurrent-neural-network"],
        "datasets": _texts(facts, "datasets"),
        "metrics": list(kind.metrics),
    }
    lines = ["---"]
    for name, value in values.items():
        if isinstance(value, list) and value:
            lines += [f"{name}:", *(f"- {_scalar(item)}" for item in value)]
        elif value:
            lines.append(f"{name}: {_scalar(value)}")
    return "\n".join([*lines, "---"])


def _scalar(value: str) -> str:
    """Return a string of YAML, with quotes where it may be read as something else (`no` is false in YAML)."""
    is_plain = value.replace("-", "").replace("/", "").replace(".", "").replace("_", "").isalnum() and value.isascii()
    is_word = (
        is_plain and value[0].isalpha() and value.lower() not in ("no", "yes", "on", "off", "true", "false", "null")
    )
    return value if is_word else json.dumps(value, ensure_ascii=False)


def _inputs(manifest: Manifest) -> str:
    labels = ", ".join(f"`{label}`" for label in (manifest.labels or ())[:20])
    more = len(manifest.labels or ()) - 20
    said = f"Its labels: {labels}{f' and {more:,} more' if more > 0 else ''}." if labels else ""
    example = _text(manifest.card, "example")
    return " ".join(part for part in (said, f"Example: `{example}`" if example else "") if part)


def _use(manifest: Manifest, place: str) -> str:
    """Return how to run a model: textrnn, ONNX alone, other languages."""
    example = _text(manifest.card, "example")
    load = f"import textrnn\n\nmodel = textrnn.load({_quoted(place)})\n"
    if manifest.kind == "language_model":
        prompt = example or str(manifest.runtime.get("prompt", ""))
        option = f" --prompt {_quoted(prompt)}" if prompt else ""
        command = f"textrnn generate {place}{option}"
        code = f"print(model.generate({_quoted(prompt)}, length=200, seed=1))"
    elif manifest.kind in ("classifier", "multilabel_classifier"):
        text = example or "a text"
        command = f"textrnn predict {place} {_quoted(text)}"
        shown = "prediction.label, prediction.probability" if manifest.kind == "classifier" else "prediction"
        code = f"for prediction in model.classify([{_quoted(text)}]):\n    print({shown})"
    elif manifest.kind == "recognizer":
        command = f"textrnn transcribe {place} recording.wav"
        load = "import numpy as np\n" + load
        code = (
            "noise = np.random.default_rng(0).normal(0, 0.1, 16000)\n"
            "recording = (noise, 16000)  # samples from -1 to 1 and their rate; or a path\n"
            "print(model.transcribe([recording])[0])"
        )
    elif "audio" in manifest.runtime:
        command, code = f"textrnn classify {place} recording.wav", 'print(model.classify(["recording.wav"])[0])'
    elif manifest.kind == "vector_classifier":
        command = f"textrnn predict {place} --input arrays.npz"
        load = "import numpy as np\n" + load
        code = (
            "sequences = np.zeros((1, 10, model.features), np.float32)  # (records, steps, features)\n"
            "print(model.classify(sequences)[0])"
        )
    elif manifest.kind == "regressor":
        command = f"textrnn predict {place} --input arrays.npz"
        load = "import numpy as np\n" + load
        code = (
            "sequences = np.zeros((1, 10, model.features), np.float32)  # (records, steps, features)\n"
            "print(model.predict(sequences))"
        )
    elif manifest.kind == "forecaster":
        command = f"textrnn forecast {place} series.csv"
        load = "import numpy as np\n" + load
        code = "series = np.zeros((100, model.features))  # (steps, features)\nprint(model.forecast(series, 10))"
    elif manifest.kind == "text_to_text":
        text = example or "a text"
        command = f"textrnn predict {place} {_quoted(text)}"
        code = f"for output in model.transform([{_quoted(text)}]):\n    print(output.text, output.score)"
    else:
        command, code = f"textrnn info {place}", "print(model)"
    graphs = "; ".join(
        f"`{graph.file}` ({use}): {', '.join(tensor.name for tensor in graph.inputs)} to "
        f"{', '.join(tensor.name for tensor in graph.outputs)}"
        for use, graph in manifest.graphs.items()
    )
    alone = _alone(manifest)
    needs = {"audio": "audio" in manifest.runtime, "hub": place.startswith("hf://")}
    extras = ",".join(name for name, is_needed in needs.items() if is_needed)
    install = f"pip install 'textrnn[{extras}]'" if extras else "pip install textrnn"
    return (
        f"```\n{install}\n{command}\n```\n\n```python\n{load}{code}\n```\n\n"
        f"The graphs are standard ONNX (opset 17) and need no textrnn: {graphs}. "
        + (f"With onnxruntime alone:\n\n```python\n{alone}```\n\n" if alone else "")
        + "They run the same way with onnxruntime in Node, C++ and the browser (onnxruntime-web). `export/README.md` "
        "in the sources of textrnn describes every input and output."
    )


def _alone(manifest: Manifest) -> str:
    """Return Python code that runs a model of text with onnxruntime, from within its folder."""
    head = (
        "import json\nimport numpy as np\nimport onnxruntime\n\n"
        'manifest = json.load(open("manifest.json", encoding="utf-8"))\n'
        'session = onnxruntime.InferenceSession("model.onnx")\n'
    )
    if manifest.kind == "language_model":
        return head + (
            'layers, _, hidden = manifest["graphs"]["step"]["inputs"][1]["shape"]\n'
            "state = np.zeros((layers, 1, hidden), np.float32)\n"
            'ids = np.array([manifest["start_id"]], np.int32)  # then the ids of the text, one a call\n'
            'logits, state = session.run(["logits", "next_state"], {"ids": ids, "state": state})\n'
            "print(logits.argmax(axis=1))  # the most probable next id\n"
        )
    if manifest.kind in ("classifier", "multilabel_classifier"):
        return head + (
            "ids = np.array([[4, 5, 6]], np.int32)  # the ids of a text, from the tokenizer file\n"
            '(logits,) = session.run(["logits"], {"ids": ids})\n'
            'print(dict(zip(manifest["labels"], logits[0])))\n'
        )
    return ""


def _training(manifest: Manifest) -> str:
    facts, shape = manifest.card, _mapping(manifest.runtime, "architecture")
    how = _text(facts, "training")
    parts = []
    if _is_number(shape.get("layers")) and _is_number(shape.get("hidden_dim")):
        layers = shape["layers"]
        parts.append(
            f"{layers} recurrent layer{'s' if layers != 1 else ''} of {shape['hidden_dim']:,} units, "
            f"{_text(shape, 'activation')}, {_text(shape, 'recurrence')} recurrent matrix."
        )
    if _mapping(manifest.metrics, "calibration").get("direct_scale"):
        parts.append("Beside the network, a linear model of n-grams adds its part to each label.")
    if _mapping(manifest.config, "model").get("input_ngrams"):
        parts.append("The network reads n-grams of tokens as well as single ones.")
    data = _texts(facts, "data")
    if data:
        parts.append("Data:\n\n" + "\n".join(f"- {line}" for line in data))
    elif sources := _texts(_mapping(manifest.config, "data"), "source"):
        parts.append(f"Data: {', '.join(f'`{source}`' for source in sources)}.")
    return "\n\n".join(part for part in (how, *parts) if part)


def _figures(manifest: Manifest) -> str:
    """Return a table of figures: on the held-out part that training chose by, and on other data."""
    tests = facts if isinstance(facts := manifest.card.get("tests"), list) else []
    held_out = {"data": "held-out part", **_mapping(manifest.metrics, "held_out")}
    rows = [
        f"| {_line(row.get('data', ''))} | {FIGURES[name]} | {row[name]:.4g} |"
        for row in (held_out, *tests)
        if isinstance(row, Mapping)
        for name in FIGURES
        if _is_number(row.get(name))
    ]
    if not rows:
        return ""
    cost = cost_of_8_bits(manifest)
    note = f"\n\nThe 8-bit weights cost {cost}." if cost and manifest.precision == "int8" else ""
    return "\n".join(["| data | figure | value |", "| --- | --- | --- |", *rows]) + note


def cost_of_8_bits(manifest: Manifest) -> str:
    """Return what 8-bit weights cost on held-out data, beside float32; empty where it was not measured."""
    full, small = (_mapping(manifest.metrics, precision) for precision in ("float32", "int8"))
    if _is_number(small.get("loss")):
        return f"{small['loss']:.4f} nats a token"
    if _is_number(small.get("word_error_rate")) and _is_number(full.get("word_error_rate")):
        return f"{100 * (small['word_error_rate'] - full['word_error_rate']):.2f} points of word error rate"
    for name, unit in (
        ("accuracy", "points of accuracy"),
        ("micro_f1", "points of micro F1"),
        ("exact_match", "points of exact match"),
    ):
        if _is_number(small.get(name)) and _is_number(full.get(name)):
            return f"{100 * (full[name] - small[name]):.2f} {unit}"
    return ""


def _mapping(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = values.get(name)
    return value if isinstance(value, Mapping) else {}


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    return _line(value) if isinstance(value, str) else ""


def _texts(values: Mapping[str, Any], name: str) -> list[str]:
    value = values.get(name)
    return [_line(item) for item in value if isinstance(item, str) and item.strip()] if isinstance(value, list) else []


def _line(value: object) -> str:
    """Return text as one printable line: a card must not hide lines in a table, or commands to a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())


def _quoted(text: str) -> str:
    """Return text in double quotes, for Python and, as far as cards need it, a shell."""
    return json.dumps(text, ensure_ascii=False)


def _is_number(value: object) -> TypeGuard[float]:
    return type(value) in (int, float)
