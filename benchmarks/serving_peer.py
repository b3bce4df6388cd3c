"""A server as one writes it in an afternoon, for `benchmarks/serving.py`: FastAPI, a thread a stream, `model.stream`.

    python benchmarks/serving_peer.py MODEL --port PORT

It has the path /generate_stream with the fields that the benchmark sends, and nothing else.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

import textrnn


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    model = textrnn.load(arguments.model, textrnn.LanguageModel)
    app = FastAPI()

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/generate_stream")
    async def generate_stream(request: Request) -> StreamingResponse:
        fields: dict[str, Any] = await request.json()

        def events() -> Iterator[str]:
            for piece in model.stream(fields.pop("prompt"), **fields):
                yield f"data: {json.dumps({'text': piece})}\n\n"
            yield 'data: {"done": true}\n\n'

        return StreamingResponse(events(), media_type="text/event-stream")

    uvicorn.run(app, port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
