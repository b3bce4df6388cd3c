"""The application: what is answered at each path. It checks a request before a model works for it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.staticfiles import StaticFiles

from textrnn.errors import UserError
from textrnn.runtime.audio_classifier import AudioClassifier
from textrnn.runtime.streams import Piece
from textrnn.runtime.text_classifier import Classifier
from textrnn.runtime.translator import BEAMS, Translator
from textrnn.runtime.vector_models import Regressor, VectorClassifier
from textrnn.serve import forms
from textrnn.serve.answers import (
    ClientGone,
    CompletionForm,
    EventStream,
    Receive,
    Scope,
    Send,
    Texts,
    unless_gone,
    whole,
)
from textrnn.serve.answers import to_json as encode
from textrnn.serve.metrics import Metrics
from textrnn.serve.openapi import GETS, POSTS, document
from textrnn.serve.scheduler import Full
from textrnn.serve.served import (
    CLASSIFIERS,
    FORECASTERS,
    LANGUAGE_MODELS,
    RECOGNIZERS,
    TRANSLATORS,
    Models,
    NoSuchModel,
    NotLoaded,
    Served,
)
from textrnn.serve.settings import Settings
from textrnn.serve.tokens import scored, text_of_tokens, token_facts, token_ids, tokenizer_facts

log = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"
PATHS = frozenset((*POSTS, *GETS))
CLASSIFIERS_OF: dict[str, tuple[type, ...]] = {
    "texts": (Classifier,),
    "vectors": (VectorClassifier, Regressor),
    "recordings": (AudioClassifier,),
}
"""Classes of models for each field of a request to /classify."""
MOST_DISCARDED = 1 << 24  # bytes that are read of a request that is too long
MOST_SOURCE_TOKENS = 1000  # or 4 times the longest source in training; a search takes the square of them
KEYLESS = "/health"  # and the files of the page
SAFE_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
)


class Failure(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}


def failure_of(error: Exception) -> Failure:
    """Return the answer to an error."""
    match error:
        case Failure():
            return error
        case forms.Malformed():
            return Failure(400, str(error))
        case NoSuchModel():
            return Failure(404, str(error))
        case UserError():
            return Failure(422, str(error))
        case Full():
            return Failure(429, str(error), {"retry-after": str(error.seconds)})
        case NotLoaded():
            return Failure(503, "the models are being loaded; try again in 1 s", {"retry-after": "1"})
    log.error("a request failed", exc_info=error)
    return Failure(500, "the server failed; see its log")


def error_response(failure: Failure) -> Response:
    """Return an error in OpenAI's form."""
    kinds = {401: "authentication_error", 429: "rate_limit_error"}
    kind = kinds.get(failure.status, "invalid_request_error" if failure.status < 500 else "server_error")
    body = {"error": {"message": str(failure), "type": kind, "param": None, "code": None}}
    return json_response(body, failure.status, failure.headers)


def json_response(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a JSON answer."""
    return Response(encode(body), status, headers, "application/json")


class Application:
    """The endpoints of one server.

    Args:
        models: the models.
        settings: settings of the server.
        failed: called if the models cannot be loaded.
    """

    def __init__(self, models: Models, settings: Settings, failed: Callable[[Exception], None]) -> None:
        self.models = models
        self.settings = settings
        self.metrics = Metrics(models)
        self._failed = failed
        self._openapi = document()

    def asgi(self) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        """Return the application with everything around it."""
        posts = {
            "/v1/completions": self.completions,
            "/generate_stream": self.generate_stream,
            "/classify": self.classify,
            "/transform": self.transform,
            "/transcribe": self.transcribe,
            "/forecast": self.forecast,
            "/score": self.score,
            "/tokenize": self.tokenize,
            "/detokenize": self.detokenize,
        }
        gets = {
            "/health": self.health,
            "/info": self.info,
            "/tokenizer_info": self.tokenizer_info,
            "/v1/models": self.list_models,
            "/metrics": self.show_metrics,
            "/openapi.json": self.openapi,
        }
        routes: list[BaseRoute] = [Route(path, function, methods=["POST"]) for path, function in posts.items()]
        routes += [Route(path, function, methods=["GET"]) for path, function in gets.items()]
        routes += _Page(directory=PAGE).routes()
        middleware = []
        if self.settings.origins:
            middleware.append(
                Middleware(
                    CORSMiddleware,
                    allow_origins=self.settings.origins,
                    allow_methods=["GET", "POST"],
                    allow_headers=["authorization", "content-type"],
                )
            )
        middleware.append(Middleware(_Around, self))
        return Starlette(
            routes=routes,
            middleware=middleware,
            lifespan=self._lifespan,
            exception_handlers={HTTPException: _no_such_path},
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        loading = asyncio.ensure_future(self._load())
        yield
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
        await asyncio.to_thread(self.models.close)

    async def _load(self) -> None:
        try:
            await self.models.load()
        except Exception as error:
            self._failed(error)

    async def health(self, request: Request) -> Response:
        """Say whether requests are served."""
        if not self.models.is_loaded:
            return json_response({"status": "loading"}, 503, {"retry-after": "1"})
        return json_response({"status": "ok"})

    async def info(self, request: Request) -> Response:
        """Describe the server and its models."""
        from textrnn import __version__

        limits = ("streams", "queue", "max_body", "max_tokens")
        return json_response(
            {
                "version": __version__,
                "models": [served.describe() for served in self.models.all()],
                "limits": {name: getattr(self.settings, name) for name in limits},
            }
        )

    async def list_models(self, request: Request) -> Response:
        """List the models in OpenAI's form."""
        return json_response(
            {
                "object": "list",
                "data": [
                    {
                        "id": served.name,
                        "object": "model",
                        "created": 0,
                        "owned_by": "textrnn",
                        "kind": served.model.manifest.kind,
                    }
                    for served in self.models.all()
                ],
            }
        )

    async def show_metrics(self, request: Request) -> Response:
        """Show the metrics."""
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def openapi(self, request: Request) -> Response:
        """Show the OpenAPI document."""
        return json_response(self._openapi)

    async def completions(self, request: Request) -> Any:
        """Answer in the form of OpenAI's completions."""
        begin = time.perf_counter()
        fields = await self._read(request, forms.COMPLETION)
        served = self.models.find(fields["model"], LANGUAGE_MODELS, "a language model")
        texts = self._texts(served, _prompts(fields["prompt"]), fields, "max_tokens", fields["n"], fields["echo"])
        form = CompletionForm(served.name, texts, fields)
        texts.start()
        if fields["stream"]:
            return self._events(texts, form.events, form.last, begin)
        await whole(texts, request.receive, form.collect, self._first(begin))
        return json_response(form.document())

    async def generate_stream(self, request: Request) -> Any:
        """Generate one text as server-sent events."""
        begin = time.perf_counter()
        fields = await self._read(request, forms.GENERATE)
        served = self.models.find(fields["model"], LANGUAGE_MODELS, "a language model")
        prompt = fields["prompt"]
        prompt = served.model.manifest.runtime.get("prompt", "") if prompt is None else prompt
        texts = self._texts(served, [prompt], fields, "length")
        reason: list[str | None] = [None]

        def events(arrived: list[tuple[int, Piece]]) -> Iterable[Any]:
            text = "".join(piece.text for _, piece in arrived)
            tokens = [token for _, piece in arrived for token in piece.tokens]
            reason[0] = arrived[-1][1].finish_reason
            if text or tokens:
                yield (
                    {"text": text, "tokens": token_facts(tokens)} if fields["logprobs"] is not None else {"text": text}
                )

        def last() -> Iterable[Any]:
            yield {
                "done": True,
                "finish_reason": reason[0],
                "model": served.name,
                "seed": texts.seed,
                "prompt_tokens": texts.prompt_tokens,
                "generated_tokens": texts.generated,
            }

        texts.start()
        return self._events(texts, events, last, begin)

    async def classify(self, request: Request) -> Response:
        """Predict labels of texts, vectors or recordings, or values."""
        fields = await self._read(request, forms.CLASSIFY)
        given = [name for name in CLASSIFIERS_OF if fields[name] is not None]
        kinds = CLASSIFIERS
        if fields["model"] is None:
            if len(given) != 1:
                names = ", ".join(CLASSIFIERS_OF)
                raise UserError(f"a request must have one of {names}, had: {', '.join(given) or 'none'}; give one")
            kinds = CLASSIFIERS_OF[given[0]]
        served = self.models.find(fields["model"], kinds, "a classifier")
        readable = [name for name, classes in CLASSIFIERS_OF.items() if isinstance(served.model, classes)]
        if len(given) != 1 or given[0] not in readable:
            others = ", ".join(name for name in CLASSIFIERS_OF if name not in readable)
            raise UserError(f"{served.name} reads {' or '.join(readable)}; give {readable[0]} and no {others}")
        has_texts = given == ["texts"]
        if fields["label"] is not None and not fields["explain"]:
            raise UserError("label is for explain, which is not true; set explain or leave label out")
        if fields["explain"] and not has_texts:
            raise UserError(f"explain is for classifiers of texts, {served.name} reads {given[0]}; leave it out")
        gone: list[bool] = []
        work = served.call(_predict, served.model, fields, gone)
        predictions = await unless_gone(work, request.receive, lambda: gone.append(True))
        return json_response({"model": served.name, "predictions": predictions})

    async def transform(self, request: Request) -> Response:
        """Transform texts."""
        fields = await self._read(request, forms.TRANSFORM)
        served = self.models.find(fields["model"], TRANSLATORS, "a model from a text to another")
        if fields["beams"] is None:
            fields["beams"] = max(BEAMS, fields["n_best"])
        if fields["n_best"] > fields["beams"]:
            raise UserError(
                f"n_best must be at most beams, {fields['beams']}, was: {fields['n_best']}; ask for more beams"
            )
        gone: list[bool] = []
        work = served.call(_outputs, served.model, fields, gone)
        outputs = await unless_gone(work, request.receive, lambda: gone.append(True))
        return json_response({"model": served.name, "outputs": outputs})

    async def transcribe(self, request: Request) -> Response:
        """Write what is said in recordings."""
        fields = await self._read(request, forms.TRANSCRIBE)
        served = self.models.find(fields["model"], RECOGNIZERS, "a recognizer of speech")
        recordings = _recordings(fields)
        work = served.call(served.model.transcribe, recordings, fields["beams"])
        found = await unless_gone(work, request.receive)
        return json_response({"model": served.name, "transcripts": [each.to_dict() for each in found]})

    async def forecast(self, request: Request) -> Response:
        """Forecast a series."""
        fields = await self._read(request, forms.FORECAST)
        served = self.models.find(fields["model"], FORECASTERS, "a forecaster")
        work = served.call(served.model.forecast, fields["values"], fields["steps"])
        predicted = await unless_gone(work, request.receive)
        columns = list(served.model.columns)
        return json_response({"model": served.name, "columns": columns, "forecast": _numbers(predicted)})

    async def score(self, request: Request) -> Response:
        """Measure how well a language model predicts texts."""
        fields = await self._read(request, forms.SCORE)
        served = self.models.find(fields["model"], LANGUAGE_MODELS, "a language model")
        if fields["logprobs"] is not None:
            tokens = sum(len(served.model.tokenizer.encode(text)) for text in fields["texts"])
            if tokens > (most := self.settings.max_tokens):
                raise UserError(
                    f"logprobs are given for at most {most:,} tokens of a request, the texts have {tokens:,}; send"
                    " less, or leave logprobs out"
                )
        gone: list[bool] = []
        work = served.call(scored, served.model, fields["texts"], fields["logprobs"], gone)
        scores = await unless_gone(work, request.receive, lambda: gone.append(True))
        return json_response({"model": served.name, "scores": scores})

    async def tokenize(self, request: Request) -> Response:
        """Give the tokens of a text."""
        fields = await self._read(request, forms.TOKENIZE)
        served = self.models.find(fields["model"], LANGUAGE_MODELS, "a language model")
        tokens = await unless_gone(served.call(token_ids, served.model.tokenizer, fields["prompt"]), request.receive)
        return json_response({"model": served.name, "count": len(tokens), "tokens": tokens})

    async def detokenize(self, request: Request) -> Response:
        """Give the text of tokens."""
        fields = await self._read(request, forms.DETOKENIZE)
        served = self.models.find(fields["model"], LANGUAGE_MODELS, "a language model")
        work = served.call(text_of_tokens, served.model.tokenizer, fields["tokens"])
        return json_response({"model": served.name, "prompt": await unless_gone(work, request.receive)})

    async def tokenizer_info(self, request: Request) -> Response:
        """Describe the tokenizer of a language model."""
        served = self.models.find(request.query_params.get("model"), LANGUAGE_MODELS, "a language model")
        return json_response({"model": served.name, **tokenizer_facts(served.model)})

    def _texts(
        self,
        served: Served,
        prompts: Sequence[str | Sequence[int]],
        fields: dict[str, Any],
        length: str,
        count: int = 1,
        echo: bool = False,
    ) -> Texts:
        most = self.settings.max_tokens
        if fields[length] > most:
            raise UserError(f"{length} must be at most {most:,} on this server, was: {fields[length]}; ask for less")
        if served.scheduler is None:
            raise NoSuchModel(f"{served.name} is no language model")
        texts = Texts(served.scheduler, prompts, fields, fields[length], count, echo)
        explained = len(texts.streams) * fields[length] + (texts.prompt_tokens * count if echo else 0)
        if fields["logprobs"] is not None and explained > most:
            raise UserError(
                f"logprobs are given for at most {most:,} tokens of a request, {length}, n and the prompts make"
                f" {explained:,}; ask for less, or leave logprobs out"
            )
        return texts

    def _events(self, texts: Texts, events: Any, last: Any, begin: float) -> EventStream:
        return EventStream(texts, events, last, self.settings.stall_seconds, self._first(begin))

    def _first(self, begin: float) -> Callable[[], None]:
        return lambda: self.metrics.first_text.observe(time.perf_counter() - begin)

    async def _read(self, request: Request, form: forms.Form) -> dict[str, Any]:
        """Return the checked fields of a request."""
        if not self.models.is_loaded:
            raise NotLoaded()
        return forms.read_form(await self._body(request), form)

    async def _body(self, request: Request) -> bytes:
        most = self.settings.max_body
        too_large = Failure(
            413, f"a request must have at most {most:,} bytes, has more; send less", {"connection": "close"}
        )
        declared = request.headers.get("content-length", "")
        size = int(declared) if declared.isdigit() else 0
        if size > most and ("expect" in request.headers or size > most + MOST_DISCARDED):
            raise too_large
        body, discarded = bytearray(), 0

        async def read() -> None:
            nonlocal discarded
            async for part in request.stream():
                if len(body) + len(part) <= most and not discarded:
                    body.extend(part)
                    continue
                # Read to its end: a client that is still sending would not see the answer of a closed connection.
                discarded += len(part)
                if discarded > MOST_DISCARDED:
                    break
            if discarded:
                raise too_large

        try:
            await asyncio.wait_for(read(), self.settings.read_seconds)
        except asyncio.TimeoutError:
            if discarded:
                raise too_large from None
            seconds = self.settings.read_seconds
            raise Failure(
                408, f"a request must arrive within {seconds:g} s, did not; send it faster", {"connection": "close"}
            ) from None
        except ClientDisconnect:
            raise ClientGone() from None
        return bytes(body)

    def may_enter(self, path: str, headers: Sequence[tuple[bytes, bytes]]) -> bool:
        """Return whether a request has the key, or needs none."""
        if not self.settings.api_key or path not in PATHS or path == KEYLESS:
            return True
        given = dict(headers).get(b"authorization", b"")
        kind, _, key = given.partition(b" ")
        return kind.lower() == b"bearer" and hmac.compare_digest(key.strip(), self.settings.api_key.encode())


class _Page(StaticFiles):
    """The files of the page, with their types: Windows may call a script plain text, which browsers do not run."""

    types: ClassVar = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".json": "application/json"}

    def routes(self) -> list[BaseRoute]:
        """Return a route for each file. A mount at / would take the place of a path that needs another method."""

        def route(name: str) -> BaseRoute:
            async def answer(request: Request) -> Response:
                return await self.get_response(name, request.scope)

            return Route("/" if name == "index.html" else f"/{name}", answer, methods=["GET"])

        return [route(file.relative_to(PAGE).as_posix()) for file in sorted(PAGE.rglob("*")) if file.is_file()]

    def file_response(self, full_path: Any, *arguments: Any, **options: Any) -> Response:
        response = super().file_response(full_path, *arguments, **options)
        response.headers["cache-control"] = "no-cache"  # asked for again, so that an upgrade is not mixed with the old
        if (suffix := Path(full_path).suffix) in self.types and "content-type" in response.headers:
            response.headers["content-type"] = f"{self.types[suffix]}; charset=utf-8"
        return response


class _Around:
    """Key, errors and metrics of every request."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], application: Application) -> None:
        self._app = app
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = [0]
        begin = time.perf_counter()

        async def watched(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                status[0] = message["status"]
                message["headers"] = [*message.get("headers", []), *SAFE_HEADERS]
            await send(message)

        path = scope["path"]
        try:
            if not self._application.may_enter(path, scope["headers"]):
                raise Failure(
                    401, "a key is needed; send the header Authorization: Bearer KEY", {"www-authenticate": "Bearer"}
                )
            await self._app(scope, receive, watched)
        except ClientGone:
            status[0] = 499
        except Exception as error:
            failure = failure_of(error)
            if status[0]:
                raise
            await error_response(failure)(scope, receive, watched)
        finally:
            known = path if path in PATHS else "other"
            metrics = self._application.metrics
            metrics.requests.labels(known, str(status[0])).inc()
            metrics.seconds.labels(known).observe(time.perf_counter() - begin)


async def _no_such_path(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    message = {
        404: f"there is nothing at {request.url.path[:200]}; see /openapi.json",
        405: f"{request.method} is not for {request.url.path[:200]}; see /openapi.json",
    }.get(status, "the request cannot be answered; see /openapi.json")
    headers = getattr(error, "headers", None)
    return error_response(Failure(status, message, dict(headers or {})))


def _prompts(prompt: Any) -> list[Any]:
    """Return the prompts of a completion as a list of texts and lists of token ids."""
    if isinstance(prompt, str) or (prompt and isinstance(prompt[0], int)):
        return [prompt]
    return list(prompt)


def _predict(model: Any, fields: dict[str, Any], gone: list[bool]) -> list[dict[str, Any]]:
    """Return the predictions of a request, ready for JSON."""
    if isinstance(model, Regressor):
        return [{"values": row} for row in _numbers(model.predict(fields["vectors"]))]
    if fields["recordings"] is not None:
        return [prediction.to_dict() for prediction in model.classify(_recordings(fields))]
    if isinstance(model, AudioClassifier):  # frames: no request names a file of the server
        return [prediction.to_dict() for prediction in model.classify(fields["vectors"], arranged=True)]
    if isinstance(model, VectorClassifier):
        return [prediction.to_dict() for prediction in model.classify(fields["vectors"])]
    texts = fields["texts"]
    predictions = iter(model.classify([text for text in texts if text.strip()]))
    found = []
    for text in texts:
        if not text.strip():
            found.append({**model.no_prediction, "reason": "empty text"})
            continue
        facts = next(predictions).to_dict()
        if fields["explain"]:
            facts["explanation"] = model.explain(text, fields["label"], lambda _: _require_client(gone)).to_dict()
        found.append(facts)
    return found


def _recordings(fields: dict[str, Any]) -> list[bytes]:
    """Return the files of recordings of a request."""
    found = []
    for number, text in enumerate(fields["recordings"], 1):
        try:
            found.append(base64.b64decode(text, validate=True))
        except ValueError as error:
            raise UserError(f"recordings must be files in base64, recording {number} is not; encode it") from error
    return found


def _outputs(model: Translator, fields: dict[str, Any], gone: list[bool]) -> list[dict[str, Any]]:
    """Return the outputs for the texts of a request, ready for JSON."""
    texts, most = fields["texts"], max(MOST_SOURCE_TOKENS, 4 * model.longest_source)
    for number, text in enumerate(texts, 1):
        if (tokens := len(model.tokenizer.encode(text))) > most:
            raise UserError(
                f"a text must have at most {most:,} tokens for this model, text {number} has {tokens:,}; split it"
            )
    translations = iter(
        model.transform(
            [text for text in texts if text.strip()],
            fields["beams"],
            fields["length_penalty"],
            align=fields["explain"],
            progress=lambda: _require_client(gone),
        )
    )
    found = []
    for text in texts:
        if not text.strip():
            found.append({"text": None, "reason": "empty text"})
            continue
        facts = next(translations).to_dict()
        candidates = facts["candidates"][: fields["n_best"]]
        for candidate in candidates:
            if alignment := candidate.get("alignment"):
                alignment["weights"] = [[round(weight, 6) for weight in row] for row in alignment["weights"]]
        found.append({**facts, "candidates": candidates})
    return found


def _require_client(gone: list[bool]) -> None:
    if gone:
        raise ClientGone()


def _numbers(array: Any) -> list[Any]:
    """Return an array as nested lists, with as many digits as float32 has."""
    return [_numbers(row) for row in array] if np.ndim(array) else float(str(array))  # type: ignore[return-value]
