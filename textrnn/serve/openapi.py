"""The OpenAPI document of the server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textrnn.serve import forms

ERRORS = {
    400: "the request is not JSON",
    401: "no key, or a wrong one",
    404: "no such model",
    408: "the request came too slowly",
    413: "the request is too large",
    422: "a field is wrong",
    429: "the server is full; see Retry-After",
    503: "the models are being loaded; see Retry-After",
}
ERROR_SCHEMA = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {"message": {"type": "string"}, "type": {"type": "string"}},
        }
    },
}
POSTS: Mapping[str, tuple[str, forms.Form, str, str]] = {
    "/v1/completions": (
        "Generate texts, in the form of OpenAI's completions",
        forms.COMPLETION,
        "application/json",
        "choices with text, logprobs and finish_reason; server-sent events with stream",
    ),
    "/generate_stream": (
        "Generate one text as server-sent events",
        forms.GENERATE,
        "text/event-stream",
        "events with text, and tokens if logprobs is given; the last one has done, finish_reason and seed",
    ),
    "/classify": (
        "Predict labels of texts, vectors or recordings, or values of a regression model",
        forms.CLASSIFY,
        "application/json",
        "predictions, one for each record",
    ),
    "/transform": (
        "Transform texts with a model from a text to another",
        forms.TRANSFORM,
        "application/json",
        "outputs, one for each text: text, score, candidates; alignments with explain",
    ),
    "/transcribe": (
        "Write what is said in recordings",
        forms.TRANSCRIBE,
        "application/json",
        "transcripts, one for each recording: text, score, probability, seconds; candidates with beams",
    ),
    "/forecast": (
        "Forecast a series",
        forms.FORECAST,
        "application/json",
        "forecast: a list for each step",
    ),
    "/score": (
        "Measure how well a language model predicts texts",
        forms.SCORE,
        "application/json",
        "scores: the metrics of each text",
    ),
    "/tokenize": (
        "Give the tokens of a text of a language model",
        forms.TOKENIZE,
        "application/json",
        "tokens: their ids; count",
    ),
    "/detokenize": (
        "Give the text of tokens of a language model",
        forms.DETOKENIZE,
        "application/json",
        "prompt: the text",
    ),
}
GETS = {
    "/health": ("Say whether requests are served", "application/json", "status: ok"),
    "/info": ("Describe the server and its models", "application/json", "version, models and limits"),
    "/tokenizer_info": (
        "Describe the tokenizer of a language model",
        "application/json",
        "kind, special tokens",
    ),
    "/v1/models": ("List the models, in the form of OpenAI", "application/json", "data: the models"),
    "/metrics": ("Show the metrics for Prometheus", "text/plain", "the metrics"),
    "/openapi.json": ("Show this document", "application/json", "this document"),
}


def document() -> dict[str, Any]:
    """Return the document."""
    from textrnn import __version__

    errors = {
        str(status): {"description": text, "content": {"application/json": {"schema": ERROR_SCHEMA}}}
        for status, text in ERRORS.items()
    }
    paths: dict[str, Any] = {}
    for path, (summary, form, kind, answer) in POSTS.items():
        body = {"required": True, "content": {"application/json": {"schema": forms.schema_of(form)}}}
        responses = {"200": {"description": answer, "content": {kind: {}}}, **errors}
        paths[path] = {"post": {"summary": summary, "requestBody": body, "responses": responses}}
    for path, (summary, kind, answer) in GETS.items():
        responses = {"200": {"description": answer, "content": {kind: {}}}, "503": errors["503"]}
        paths[path] = {"get": {"summary": summary, "responses": responses}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "textrnn",
            "version": __version__,
            "description": "Small recurrent models of text and series.",
        },
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"key": []}],
        "paths": paths,
    }
