"""Peak memory of preparing a corpus larger than one would load, and of training on it.

    python benchmarks/large_corpus.py --gigabytes 2

Writes the corpus by repeating a text into a temporary folder (the corpus and its tokens take twice --gigabytes there),
then measures two processes: one that trains a character tokenizer and prepares the tokens, and one that does the whole
of `textrnn train` for a few steps. Prints a table; --json FILE writes the same figures.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

BATCH_SIZE, SEQUENCE_LENGTH = 64, 128
# The smallest the configuration allows: what is measured is reading and training, not evaluating.
HELD_OUT = 0.0001
SMALLEST_EPOCHS = 0.0001


def training_command(corpus: Path, run: Path, steps: int) -> list[str]:
    """The product's own command, for about so many steps."""
    steps_per_epoch = corpus.stat().st_size / (BATCH_SIZE * SEQUENCE_LENGTH)
    settings = {
        "data.held_out": HELD_OUT,
        "train.batch_size": BATCH_SIZE,
        "train.sequence_length": SEQUENCE_LENGTH,
        "train.epochs": max(SMALLEST_EPOCHS, steps / steps_per_epoch),
        "train.evaluations": 1,
    }
    command = [sys.executable, "-m", "textrnn", "train", str(corpus), "--out", str(run), "--quiet"]
    return command + [word for key, value in settings.items() for word in ("--set", f"{key}={value:.8g}")]


def prepare_command(corpus: Path, folder: Path) -> list[str]:
    return [sys.executable, __file__, "--prepare", str(corpus), str(folder)]


def prepare(corpus: str, folder: str) -> None:
    """Everything that comes before the first step of training."""
    from textrnn.tokenizers.char import CharTokenizer
    from textrnn.train.datasets import prepare, training_texts
    from textrnn.train.sources import SourceOptions

    options = SourceOptions()
    tokenizer = CharTokenizer.train(training_texts([corpus], options, HELD_OUT, False))
    prepare(tokenizer, [corpus], options, Path(folder), documents_apart=False, held_out=HELD_OUT)


def write_corpus(path: Path, text: bytes, size: int) -> None:
    with path.open("wb") as file:
        for _ in range(0, size, len(text)):
            file.write(text)


def measure(command: Sequence[str]) -> dict[str, float]:
    """Seconds and peak resident memory of one process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"failed with exit code {process.returncode}: {' '.join(command)}")
    kilobyte = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes
    return {"seconds": time.perf_counter() - start, "peak_megabytes": usage.ru_maxrss * kilobyte / 1e6}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--gigabytes", type=float, default=2.0, metavar="N", help="size of the corpus (default 2)")
    parser.add_argument("--text", type=Path, metavar="FILE", help="what it repeats (default: the built-in corpus)")
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="training steps; 0 only prepares")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where the temporary folder is made")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--prepare", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.prepare:
        prepare(*arguments.prepare)
        return
    if arguments.text:
        text = arguments.text.read_bytes()
    else:
        from pydoc_data.topics import topics

        text = "".join(topics[name] for name in sorted(topics)).encode()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        corpus = folder / "corpus.txt"
        write_corpus(corpus, text, round(arguments.gigabytes * 1e9))
        megabytes = corpus.stat().st_size / 1e6
        figures = {"prepare": measure(prepare_command(corpus, folder / "tokens"))}
        figures["prepare"]["megabytes_per_second"] = megabytes / figures["prepare"]["seconds"]
        if arguments.steps:
            figures["prepare and train"] = measure(training_command(corpus, folder / "run", arguments.steps))
    print(f"corpus of {megabytes:.0f} MB")
    for what, figure in figures.items():
        print(f"{what:20}" + "".join(f"  {name.replace('_', ' ')} {value:.1f}" for name, value in figure.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps({"corpus_megabytes": megabytes, **figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
