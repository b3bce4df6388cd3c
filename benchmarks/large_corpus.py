"""What a corpus larger than one would load costs: preparing it, the memory of that, and training on it.

    python benchmarks/large_corpus.py --text data/wikitext-2/train.txt --gigabytes 10 --rate-megabytes 200 100 30

Writes corpora by repeating a text into a temporary folder, which takes twice --gigabytes and is removed at the end.
Three tables:

* preparing --rate-megabytes of it for characters, words and SentencePiece pieces in one and in two processes;
* preparing all of it for characters: learning the tokenizer, and tokenising;
* a training step on the whole and on its tenths, hundredths and thousandths, in one process and in turn.

Each preparation is a process of its own, whose memory is watched together with that of the processes it starts: what
they hold themselves, without the pages of files that the system keeps in memory as long as nobody else needs it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from measure import alternate, print_table, write_json

HELD_OUT = 0.001
WATCH_SECONDS = 0.05
PIECES = 4000
TOKENIZERS = ("char", "word", "sentencepiece")


def prepare(job: dict[str, Any]) -> dict[str, Any]:
    """Everything that comes before the first step of training, in this process; seconds of its two parts."""
    from textrnn.data.records import SourceOptions
    from textrnn.data.tokens.chunks import Corpus
    from textrnn.data.tokens.datasets import prepare
    from textrnn.data.tokens.vocabulary import learn_tokenizer
    from textrnn.tokenizers.base import Tokenizer

    folder, sources = Path(job["folder"]), [job["corpus"]]
    start = time.perf_counter()
    corpus = Corpus(sources, SourceOptions(), False, HELD_OUT, job["processes"], quiet=True)
    options = {"vocabulary_size": job["pieces"]} if job["tokenizer"] == "sentencepiece" else {}
    tokenizer: Tokenizer = learn_tokenizer(job["tokenizer"], corpus, **options)
    learned = time.perf_counter()
    shared: dict[str, Any] = {"separate_documents": False, "held_out": HELD_OUT}
    train, _ = prepare(tokenizer, sources, SourceOptions(), folder, processes=job["processes"], quiet=True, **shared)
    finished = time.perf_counter()
    return {
        "tokens": train.tokens,
        "vocabulary": tokenizer.vocabulary_size,
        "path": str(train.path),
        "learning_seconds": learned - start,
        "preparing_seconds": finished - learned,
    }


def watched(job: dict[str, Any]) -> dict[str, Any]:
    """What `prepare` or `train` finds in a process of its own, and the peak of memory of all its processes together."""
    command = [sys.executable, __file__, "--job", json.dumps(job)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak = largest = 0.0
    while process.poll() is None:
        sizes = [_own_megabytes(number) for number in _family(process.pid)]
        peak, largest = max(peak, sum(sizes)), max(largest, *sizes)
        time.sleep(WATCH_SECONDS)
    if process.returncode or process.stdout is None:
        raise SystemExit(f"failed with exit code {process.returncode}: {job}")
    figures: dict[str, Any] = json.loads(process.stdout.read().splitlines()[-1])
    # Only Linux tells.
    return figures | ({"peak_megabytes": peak, "largest_process_megabytes": largest} if peak else {})


def _family(number: int) -> list[int]:
    """A process and all below it."""
    try:
        children = (Path("/proc") / str(number) / "task" / str(number) / "children").read_text().split()
        # Processes that a thread has started are the children of that thread.
        for task in (Path("/proc") / str(number) / "task").iterdir():
            children += (task / "children").read_text().split()
    except OSError:
        children = []
    return [number, *(below for child in set(children) for below in _family(int(child)))]


def _own_megabytes(number: int) -> float:
    try:
        lines = (Path("/proc") / str(number) / "status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(("RssAnon:", "RssShmem:")))


def train(job: dict[str, Any]) -> dict[str, Any]:
    """Steps of training on several datasets in turn, with one model: median seconds of a step, and of its batch."""
    from textrnn.training.tensorflow_setup import import_tensorflow

    import_tensorflow()
    import tensorflow as tf

    from textrnn.config import ModelConfig, TrainConfig
    from textrnn.data.tokens.datasets import Batches, TokenDataset
    from textrnn.training.loop.training_step import TrainingStep, optimizer_of
    from textrnn.training.network.language_model import LanguageModel

    model = LanguageModel(ModelConfig(hidden_dim=job["units"], layers=1), job["vocabulary"])
    step = TrainingStep(model, optimizer_of(TrainConfig(), 1_000_000, model))
    state, seed = model.backbone.initial_state(job["batch"]), tf.constant([1, 1], tf.int32)
    reading: dict[str, list[float]] = {}

    def candidate(name: str) -> Callable[[], object]:
        batches = Batches(TokenDataset.open(Path(job["paths"][name])).ids, job["batch"], job["steps"], seed=1)
        number, reading[name] = 0, []

        def run() -> float:
            nonlocal number
            start = time.perf_counter()
            inputs, targets, _ = batches.batch(number)
            reading[name].append(time.perf_counter() - start)
            number += 1
            loss, _ = step(tf.constant(inputs), tf.constant(targets), state, seed)
            return float(loss)

        return run

    times = alternate({name: candidate(name) for name in job["paths"]}, job["seconds"], minimum=5)
    return {
        name: {"seconds": statistics.median(seconds), "batch": statistics.median(reading[name]), "runs": len(seconds)}
        for name, seconds in times.items()
    }


def write_corpus(path: Path, text: bytes, size: int) -> int:
    """The text again and again, whole lines of it, to about a size; its bytes."""
    with path.open("wb") as file:
        left = size
        while left > 0:
            part = text if left >= len(text) else text[: text.find(b"\n", left) + 1 or None]
            left -= file.write(part)
    return path.stat().st_size


def rates(folder: Path, text: bytes, sizes: Sequence[float], pieces: int) -> list[dict[str, Any]]:
    """Preparing for each tokenizer, in one process and in two."""
    rows = []
    for tokenizer, megabytes in zip(TOKENIZERS, sizes, strict=False):
        corpus = folder / "rate.txt"
        size = write_corpus(corpus, text, round(megabytes * 1e6)) / 1e6
        for processes in (1, 2):
            job = {"corpus": str(corpus), "tokenizer": tokenizer, "processes": processes, "pieces": pieces}
            rows.append(_row(tokenizer, size, processes, watched({**job, "folder": str(folder / f"{processes}")})))
        corpus.unlink()
    return rows


def _row(tokenizer: str, megabytes: float, processes: int, figures: dict[str, Any]) -> dict[str, Any]:
    seconds = figures["preparing_seconds"]
    return {
        "candidate": f"{tokenizer}, {processes or 'all'} processes",
        "megabytes": megabytes,
        "tokens": figures["tokens"],
        "learning_seconds": figures["learning_seconds"],
        "preparing_seconds": seconds,
        "prepared_megabytes_a_second": megabytes / seconds,
        **{name: figures[name] for name in figures if name.endswith("megabytes")},
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--text", type=Path, metavar="FILE", help="what is repeated (default: Python's own manual)")
    parser.add_argument("--gigabytes", type=float, default=2.0, metavar="N", help="of the corpus (%(default)s)")
    parser.add_argument("--processes", type=int, default=0, metavar="N", help="that prepare it (default: all cores)")
    parser.add_argument(
        "--rate-megabytes", type=float, nargs="*", default=[200.0, 60.0, 30.0], metavar="N",
        help="prepared for characters, words and pieces in one and in two processes (200 60 30); none: not at all",
    )  # fmt: skip
    parser.add_argument("--pieces", type=int, default=PIECES, metavar="N", help="of the SentencePiece vocabulary")
    parser.add_argument("--units", type=int, default=256, metavar="N", help="of the model (%(default)s)")
    parser.add_argument("--batch", type=int, default=64, metavar="N", help="streams (%(default)s)")
    parser.add_argument("--steps", type=int, default=128, metavar="N", help="a stream reads at a time (%(default)s)")
    parser.add_argument("--seconds", type=float, default=60, metavar="N", help="of training steps (%(default)s)")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where the temporary folder is made")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--job", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.job:
        print(json.dumps((train if "paths" in arguments.job else prepare)(arguments.job)))
        return 0
    if arguments.text:
        text = arguments.text.read_bytes()
    else:
        from pydoc_data.topics import topics

        text = "\n".join(topics[name] for name in sorted(topics)).encode()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        rows = rates(folder, text, arguments.rate_megabytes, arguments.pieces)
        print_table(rows)
        whole, prepared, vocabulary = [], {}, 0
        for part in (1000, 100, 10, 1):
            corpus = folder / "corpus.txt"
            size = write_corpus(corpus, text, round(arguments.gigabytes * 1e9 / part)) / 1e6
            job = {"corpus": str(corpus), "tokenizer": "char", "processes": arguments.processes, "pieces": 0}
            figures = watched({**job, "folder": str(folder / f"part-{part}")})
            corpus.unlink()  # its tokens are all that is needed from here on
            whole.append(_row("char", size, arguments.processes, figures))
            prepared[f"{size:,.4g} MB"] = figures["path"]
            vocabulary = max(vocabulary, figures["vocabulary"])
        print()
        print_table(whole)
        job = {name: getattr(arguments, name) for name in ("units", "batch", "steps", "seconds")}
        measured = watched({**job, "paths": prepared, "vocabulary": vocabulary})
    base = measured[next(iter(prepared))]["seconds"]
    training = [
        {
            "candidate": f"training on {name}",
            "milliseconds": 1e3 * measured[name]["seconds"],
            "batch_milliseconds": 1e3 * measured[name]["batch"],
            "tokens_a_second": arguments.batch * arguments.steps / measured[name]["seconds"],
            "ratio": base / measured[name]["seconds"],
            "runs": measured[name]["runs"],
        }
        for name in prepared
    ]
    print()
    print_table(training)
    peak = measured.get("peak_megabytes")
    if peak:
        print(f"\npeak memory of the training process: {peak:,.0f} MB")
    if arguments.json:
        write_json(arguments.json, "large_corpus", [*rows, *whole, *training], training_peak_megabytes=peak)
    return 0


if __name__ == "__main__":
    sys.exit(main())
