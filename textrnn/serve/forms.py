"""The forms of requests: the fields of each, their ranges and defaults, for the check of a request and for OpenAPI."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from textrnn.errors import UserError, shown
from textrnn.runtime.streams import MOST_ALTERNATIVES
from textrnn.runtime.translator import BEAMS

MOST_TEXTS = 128  # of one request: choices, prompts
MOST_STOPS = 16
MOST_BEAMS = 64
LARGEST_SEED = 2**63 - 1


class Malformed(Exception):
    """A request that is not a JSON object."""


@dataclass(frozen=True)
class Field:
    """A field of a request.

    Attributes:
        kind: "string", "integer", "number", "boolean", "strings" (one or several), "texts" (several), "ids" (token
            ids), "prompts" or "values" (nested arrays of numbers).
        text: what it is.
        default: its value when it is absent or null.
        low, high: its range.
        required: whether it must be given.
        only: the only values that have an effect here, for fields of OpenAI's form.
    """

    kind: str
    text: str
    default: Any = None
    low: float = 0
    high: float = float("inf")
    required: bool = False
    only: tuple[Any, ...] = ()

    def check(self, name: str, value: Any) -> Any:
        """Return the value.

        Raises:
            UserError: it is of another kind or out of range.
        """
        if self.only:
            if value not in self.only:
                raise UserError(f"{name} is not supported, was: {shown(value)}; leave it out")
            return value
        right, what = _is_of_kind(self.kind, value)
        if not right:
            raise UserError(f"{name} must be {what}, was: {shown(value)}; change it or leave it out")
        if self.kind in ("integer", "number") and not self.low <= value <= self.high:
            limit = f"between {self.low:g} and {self.high:g}" if isfinite(self.high) else f"{self.low:g} or above"
            raise UserError(f"{name} must be {limit}, was: {shown(value)}; change it or leave it out")
        return value

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        numbers = {"type": "number"}
        schemas: dict[str, dict[str, Any]] = {
            "string": {"type": "string"},
            "integer": {"type": "integer"},
            "number": {"type": "number"},
            "boolean": {"type": "boolean"},
            "object": {"type": "object"},
            "strings": {"anyOf": [{"type": "string"}, _array({"type": "string"})]},
            "texts": _array({"type": "string"}),
            "ids": _array({"type": "integer"}),
            "prompts": {
                "anyOf": [
                    {"type": "string"},
                    _array({"type": "string"}),
                    _array({"type": "integer"}),
                    _array(_array({"type": "integer"})),
                ]
            },
            "values": {"type": "array", "items": {"anyOf": [numbers, {"type": "array"}]}},
            "any": {},
        }
        schema = {**schemas[self.kind], "description": self.text}
        if self.kind in ("integer", "number"):
            schema["minimum"] = self.low
            if isfinite(self.high):
                schema["maximum"] = self.high
        if self.default is not None:
            schema["default"] = list(self.default) if isinstance(self.default, tuple) else self.default
        return schema


def _array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _is_whole(value: Any) -> bool:
    return type(value) is int


def _is_of_kind(kind: str, value: Any) -> tuple[bool, str]:
    """Return whether a value is of a kind, and what the kind is called."""
    is_list = type(value) is list
    match kind:
        case "string":
            return type(value) is str, "a string"
        case "integer":
            return _is_whole(value), "a whole number"
        case "number":
            return type(value) in (int, float), "a number"
        case "boolean":
            return type(value) is bool, "true or false"
        case "object":
            return type(value) is dict, "an object"
        case "strings":
            right = type(value) is str or (is_list and len(value) <= MOST_STOPS and all(type(x) is str for x in value))
            return right, f"a string or a list of at most {MOST_STOPS} strings"
        case "texts":
            return is_list and all(type(x) is str for x in value), "a list of strings"
        case "ids":
            return is_list and all(map(_is_whole, value)), "a list of whole numbers"
        case "values":
            return is_list and len(value) > 0, "a list of numbers, or of lists of numbers"
        case "prompts":
            right = type(value) is str or (
                is_list
                and len(value) > 0
                and (
                    all(type(x) is str for x in value)
                    or all(map(_is_whole, value))
                    or all(type(x) is list and all(map(_is_whole, x)) for x in value)
                )
            )
            return right, "a string, a list of strings, or token ids"
    return True, "anything"


Form = Mapping[str, Field]

_MODEL = Field("string", "name of the model, as in /v1/models; the first that fits if it is absent")
_SEED = Field(
    "integer", "the same seed gives the same text; a new one each time if it is absent", None, 0, LARGEST_SEED
)
_SAMPLING: Form = {
    "temperature": Field("number", "lower is more predictable, higher more random; 0 is greedy", 1.0, 0, 1e6),
    "top_p": Field("number", "sample from the fewest tokens whose probabilities sum to this", 1.0, 0, 1),
    "top_k": Field("integer", "sample from the k most probable tokens; 0 from all", 0, 0, 10**9),
    "min_p": Field("number", "drop tokens below this fraction of the top token's probability", 0.0, 0, 1),
    "repetition_penalty": Field("number", "above 1: make tokens that occurred less probable", 1.0, 0, 1e6),
    "stop": Field("strings", "strings that end the text; they are not part of it", ()),
    "seed": _SEED,
    "logprobs": Field(
        "integer",
        "give each token with its probability and this many alternatives",
        None,
        0,
        MOST_ALTERNATIVES,
    ),
}
GENERATE: Form = {
    "model": _MODEL,
    "prompt": Field("string", "text to continue; the prompt of the model's training if it is absent"),
    "length": Field("integer", "maximum number of tokens", 200, 0),
    **_SAMPLING,
}
COMPLETION: Form = {
    "model": _MODEL,
    "prompt": Field("prompts", "text to continue, several, or token ids of one or several", ""),
    "max_tokens": Field("integer", "maximum number of tokens", 16, 0),
    **_SAMPLING,
    "n": Field("integer", "number of texts for each prompt", 1, 1, MOST_TEXTS),
    "echo": Field("boolean", "whether the answer begins with the prompt", False),
    "stream": Field("boolean", "whether the answer comes piece by piece, as server-sent events", False),
    "stream_options": Field("object", "include_usage: give the numbers of tokens at the end of a stream"),
    "user": Field("string", "has no effect"),
    "best_of": Field("any", "not supported", only=(None, 1)),
    "suffix": Field("any", "not supported", only=(None, "")),
    "frequency_penalty": Field("any", "not supported", only=(None, 0)),
    "presence_penalty": Field("any", "not supported", only=(None, 0)),
    "logit_bias": Field("any", "not supported", only=(None, {})),
}
CLASSIFY: Form = {
    "model": _MODEL,
    "texts": Field("texts", "texts to classify, for a classifier of texts"),
    "vectors": Field("values", "records of numbers, for a classifier of vectors or a regression model"),
    "recordings": Field("texts", "files of recordings in base64, for a classifier of recordings"),
    "explain": Field("boolean", "give the contribution of each token to the label", False),
    "label": Field("string", "with explain: the label to explain; the most probable one if it is absent"),
}
TRANSFORM: Form = {
    "model": _MODEL,
    "texts": Field("texts", "source texts", required=True),
    "beams": Field(
        "integer",
        f"hypotheses that the search keeps, 1 is greedy; {BEAMS}, or n_best if that is more, if it is absent",
        None,
        1,
        MOST_BEAMS,
    ),
    "n_best": Field("integer", "candidates to give for each text, at most beams", 1, 1, MOST_BEAMS),
    "length_penalty": Field(
        "number",
        "power of the length that divides log-probabilities: 0 prefers short outputs; the model's if it is absent",
        None,
        0,
        10,
    ),
    "explain": Field("boolean", "give the alignment of each candidate with the source", False),
}
TRANSCRIBE: Form = {
    "model": _MODEL,
    "recordings": Field("texts", "files of recordings in base64", required=True),
    "beams": Field("integer", "prefixes that the search keeps, and candidates that it gives", 1, 1, MOST_BEAMS),
}
FORECAST: Form = {
    "model": _MODEL,
    "values": Field("values", "the series up to now, the latest step last: numbers, or lists of them", required=True),
    "steps": Field("integer", "number of steps; the model's horizon if it is absent", None, 1, 100_000),
}
SCORE: Form = {
    "model": _MODEL,
    "texts": Field("texts", "texts to measure", required=True),
    "logprobs": Field(
        "integer", "give each token with its probability and this many alternatives", None, 0, MOST_ALTERNATIVES
    ),
}

TOKENIZE: Form = {
    "model": _MODEL,
    "prompt": Field("string", "text to tokenize; one that is only a special token, as </s>, is its id", required=True),
    "add_special_tokens": Field("any", "not supported", only=(None, False)),
}
DETOKENIZE: Form = {"model": _MODEL, "tokens": Field("ids", "token ids", required=True)}


def read_form(body: bytes, form: Form) -> dict[str, Any]:
    """Return the fields of a request, with defaults.

    Raises:
        Malformed: the body is not a JSON object in UTF-8.
        UserError: a field is unknown, missing or wrong.
    """
    try:
        given = json.loads(body.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"a request must be JSON in UTF-8, was not: {shown(str(error))}; correct it") from None
    try:
        if type(given) is not dict:
            raise Malformed(f"a request must be a JSON object, was: {shown(given)}; see /openapi.json")
        return _checked(given, form)
    except RecursionError:  # of the message, which shows the value
        raise Malformed("a request must have few nested lists, had very many; correct it") from None


def _checked(given: dict[str, Any], form: Form) -> dict[str, Any]:
    """Return the fields of a request, with defaults."""
    for name in given:
        if name not in form:
            near = difflib.get_close_matches(name, form, 1)
            advice = f"did you mean {near[0]}?" if near else "leave it out, or see /openapi.json"
            raise UserError(f"a request may have the fields {', '.join(form)}, had: {shown(name)}; {advice}")
    found = dict[str, Any]()
    for name, field in form.items():
        value = given.get(name)
        if value is None:
            if field.required:
                raise UserError(f"{name} must be given, was not; it is {field.text}")
            found[name] = field.default
        else:
            found[name] = field.check(name, value)
    return found


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def schema_of(form: Form) -> dict[str, Any]:
    """Return the JSON schema of a form."""
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: field.schema() for name, field in form.items()},
        "required": [name for name, field in form.items() if field.required],
    }
