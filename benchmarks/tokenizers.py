"""How fast each tokenizer trains, encodes and decodes, in MB of UTF-8 a second.

    python benchmarks/tokenizers.py [--source FILE] [--megabytes N] [--out FILE.json]

The text is the Python language manual that comes with CPython, or a file of yours, repeated to the size asked for. It
is encoded as one string, and the best of three runs counts. SentencePiece is the only one that uses several cores; its
text is a tenth of the size, as it is slower.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from textrnn.files import write_atomically
from textrnn.tokenizers import train_tokenizer

Result = TypeVar("Result")

RUNS = 3
UNSEEN = "\N{SNOWMAN}"
CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("characters", "char", {}),
    ("characters, one in 1,000 unseen", "char", {}),
    ("words", "word", {}),
    ("words and punctuation", "word", {"split": "punctuation"}),
    ("SentencePiece unigram, 4,000 pieces", "sentencepiece", {"vocabulary_size": 4000}),
    ("SentencePiece BPE, 4,000 pieces", "sentencepiece", {"vocabulary_size": 4000, "model_type": "bpe"}),
]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--source", type=Path, help="a UTF-8 text file")
    parser.add_argument("--megabytes", type=int, default=100, help="size of the text (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    arguments = parser.parse_args(argv)
    corpus = arguments.source.read_text("utf-8") if arguments.source else python_manual()

    rows = []
    print(f"{'MB/s':36} {'train':>8} {'encode':>8} {'decode':>8} {'bytes a token':>14}")
    for name, kind, options in CASES:
        size = arguments.megabytes * 1_000_000 // (10 if kind == "sentencepiece" else 1)
        row = measure(name, kind, options, corpus, size)
        rows.append(row)
        print(
            f"{name:36} {row['train']:8.1f} {row['encode']:8.1f} {row['decode']:8.1f} {row['bytes_per_token']:14.2f}",
            flush=True,
        )
    if arguments.out:
        machine = {"machine": platform.platform(), "cores": os.cpu_count(), "python": platform.python_version()}
        document = {**machine, "unit": "MB of UTF-8 a second", "source": str(arguments.source), "results": rows}
        with write_atomically(arguments.out) as temporary:
            temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def python_manual() -> str:
    from pydoc_data import topics

    return "\n".join(topics.topics.values())


def measure(name: str, kind: str, options: dict[str, Any], corpus: str, size: int) -> dict[str, Any]:
    train_seconds, tokenizer = timed(lambda: train_tokenizer(kind, [corpus], **options), runs=1)
    text = corpus * max(1, size // len(corpus.encode("utf-8")))
    if "unseen" in name:
        text = UNSEEN.join(text[start : start + 999] for start in range(0, len(text), 999))
    megabytes = len(text.encode("utf-8")) / 1e6
    encode_seconds, ids = timed(lambda: tokenizer.encode(text))
    # Decoding is for people: a tenth of the text tells as much.
    some = ids[: len(ids) // 10]
    decode_seconds, decoded = timed(lambda: tokenizer.decode(some))
    return {
        "tokenizer": name,
        "vocabulary_size": tokenizer.vocabulary_size,
        "train": len(corpus.encode("utf-8")) / 1e6 / train_seconds,
        "encode": megabytes / encode_seconds,
        "decode": len(decoded.encode("utf-8")) / 1e6 / decode_seconds,
        "bytes_per_token": megabytes * 1e6 / len(ids),
    }


def timed(work: Callable[[], Result], runs: int = RUNS) -> tuple[float, Result]:
    """Seconds of the best run, and what it gave."""
    best = float("inf")
    for _ in range(runs):
        start = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - start)
    return best, result


if __name__ == "__main__":
    raise SystemExit(main())
