"""`textrnn generate`: generate text with a language model."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from textrnn.commands.arguments import add_command


def add_generate(commands: Any) -> None:
    """Add the command and its arguments."""
    generate = add_command(commands, "generate", generate_command, "generate text", model=True)
    generate.add_argument("--prompt", metavar="TEXT", help="text to continue (default: that of train.prompt)")
    generate.add_argument(
        "--length", type=int, default=200, metavar="N", help="maximum number of tokens to generate (200)"
    )
    generate.add_argument(
        "--temperature",
        type=float,
        default=1.0,
        metavar="F",
        help="sampling temperature: lower is more predictable, higher more random; 0 is greedy (1)",
    )
    generate.add_argument(
        "--top-k", type=int, default=0, metavar="N", help="sample from the N most probable tokens (0: all)"
    )
    generate.add_argument(
        "--top-p",
        type=float,
        default=1.0,
        metavar="F",
        help="sample from the fewest tokens whose probabilities sum to F (1: all)",
    )
    generate.add_argument(
        "--min-p",
        type=float,
        default=0.0,
        metavar="F",
        help="drop tokens below F times the top token's probability (0: none)",
    )
    generate.add_argument(
        "--repetition-penalty",
        type=float,
        default=1.0,
        metavar="F",
        help="above 1: make tokens that occurred less probable (1)",
    )
    generate.add_argument("--beams", type=int, default=1, metavar="N", help="beam search with N beams (1: sample)")
    generate.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="stop before this string; repeatable"
    )
    generate.add_argument("--count", type=int, default=1, metavar="N", help="number of texts (1)")
    generate.add_argument("--seed", type=int, metavar="N", help="random seed: the same seed gives the same text")
    generate.add_argument("--json", action="store_true", help="print one JSON document")


def generate_command(arguments: argparse.Namespace) -> None:
    from textrnn.runtime.load import load_language_model

    model = load_language_model(arguments.model)
    options: dict[str, Any] = {
        name: getattr(arguments, name)
        for name in ("length", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "beams", "stop", "seed")
    }
    prompt = model.manifest.runtime.get("prompt", "") if arguments.prompt is None else arguments.prompt
    if arguments.json:
        texts = model.samples(prompt, count=arguments.count, **options)
        print(json.dumps({"prompt": prompt, "texts": texts, **options}, ensure_ascii=False))
    elif arguments.count != 1:
        for index, text in enumerate(model.samples(prompt, count=arguments.count, **options)):
            print(f"--- {index + 1}", file=sys.stderr)
            print(prompt + text)
    else:
        pieces = model.stream(prompt, **options)  # fails on invalid options before anything is printed
        sys.stdout.write(prompt)
        for piece in pieces:
            sys.stdout.write(piece)
            sys.stdout.flush()
        sys.stdout.write("\n")
