"""A server as one writes it in an afternoon, for `benchmarks/serving.py`: FastAPI, a thread a stream, `model.stream`.

    python benchmarks/serving_peer.py MODEL --port PORT

It has the path /generate_stream with the fields that the benchmark sends, and nothing else.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from typing import Any

import textrnn


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args(argv)
    serve(textrnn.load(arguments.model, textrnn.LanguageModel), arguments.port)
    return 0


def serve(model: textrnn.LanguageModel, port: int) -> None:
    import uvicorn
    from fastapi import FastAPI
    from fastapi.responses import StreamingResponse

    app = FastAPI()

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/generate_stream", response_model=None)
    def generate_stream(fields: dict[str, Any]) -> StreamingResponse:
        def events() -> Iterator[str]:
            for piece in model.stream(fields.pop("prompt"), **fields):
                yield f"data: {json.dumps({'text': piece})}\n\n"
            yield 'data: {"done": true}\n\n'

        return StreamingResponse(events(), media_type="text/event-stream")

    uvicorn.run(app, port=port, log_level="warning")


if __name__ == "__main__":
    raise SystemExit(main())
