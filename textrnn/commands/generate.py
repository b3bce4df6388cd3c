"""`textrnn generate`: text, as a language model writes it."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any


def generate_command(arguments: argparse.Namespace) -> None:
    from textrnn.runtime.load import load_language_model

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
