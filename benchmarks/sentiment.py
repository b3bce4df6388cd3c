"""Accuracy of text classifiers on labelled data sets: textrnn beside those of classification_peers.py.

    python benchmarks/sentiment.py --data DIR --set {imdb,sst2,rt-polarity,hotel} --work FOLDER [--json FILE]

DIR holds what a set is made of:

    imdb            imdb/train.tsv and test.tsv, with columns id, label (1 or 0), rating and text
    sst2            sst2/train.tsv and dev.tsv: sentence, label (1 or 0), no names of columns
    rt-polarity     rt-polarity/rt-polarity.pos and rt-polarity.neg, a sentence a line
    hotel           chnsenticorp-hotel/ChnSentiCorp_htl_all.csv, with columns label (1 or 0) and review

The first two are trained on their training part and tested on the other. The last two have none: ten folds, of every
class a tenth drawn with seed 0, each tested on once. Whatever is to be chosen (the epoch of ours, the settings of the
others) is chosen on texts held out of the training part, as `textrnn train` holds them out. Ours is trained, exported
and evaluated by the commands `textrnn train` and `textrnn evaluate`, in processes of their own.

Results are kept in FOLDER, one file a training. What is there is not done again, so that the command can be stopped
and said again, and folds and seeds be added; another configuration, --pretrain, --target or --int8 has results of its
own. With --pretrain a language model is trained on each training part first, and ours starts from it. In a --set-value,
{fold} stands for the fold, such as fold-0-of-10 or split, and {seed} for the seed. With --jobs each training has one
core to itself: good for accuracies, not for times.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from queue import Queue
from typing import Any, NamedTuple

import numpy as np
from classification_peers import Example, Peer, macro_f1, peers, train
from measure import print_table, write_json

from textrnn.errors import UserError
from textrnn.files import write_atomically
from textrnn.hardware import cores
from textrnn.training.loop.history import read_history
from textrnn.training.tasks.configuration import load_config

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
FOLD_SEED = 0
NAMES = {"0": "negative", "1": "positive"}
OURS = "textrnn"
POLL_SECONDS = 0.25

Row = dict[str, Any]


class Parts(NamedTuple):
    """What is trained on, and what is tested on."""

    train: list[Example]
    test: list[Example]


# The data sets


def _imdb(data: Path) -> Parts:
    def read(name: str) -> list[Example]:
        rows = [line.split("\t") for line in _lines(data / "imdb" / name)[1:]]
        return [Example(text, NAMES[label]) for _, label, _, text in rows]

    return Parts(read("train.tsv"), read("test.tsv"))


def _sst2(data: Path) -> Parts:
    def read(name: str) -> list[Example]:
        rows = [line.rpartition("\t") for line in _lines(data / "sst2" / name)]
        return [Example(text, NAMES[label]) for text, _, label in rows]

    return Parts(read("train.tsv"), read("dev.tsv"))


def _rt_polarity(data: Path) -> list[Example]:
    files = {"positive": "rt-polarity.pos", "negative": "rt-polarity.neg"}
    return [Example(line, label) for label, name in files.items() for line in _lines(data / "rt-polarity" / name)]


def _hotel(data: Path) -> list[Example]:
    path = data / "chnsenticorp-hotel" / "ChnSentiCorp_htl_all.csv"
    with path.open(encoding="utf-8-sig", newline="") as file:
        examples = [Example(row["review"], NAMES[row["label"]]) for row in csv.DictReader(file)]
    return [example for example in examples if example.text.strip()]


def _lines(path: Path) -> list[str]:
    """The lines of a file, empty ones left out; nothing but a line feed ends one."""
    with path.open(encoding="utf-8", newline="\n") as file:
        return [line for line in file.read().split("\n") if line.strip()]


@dataclass(frozen=True)
class DataSet:
    """A data set, the configuration that suits it, and whether characters are what the others should read."""

    read: Callable[[Path], Parts | list[Example]]
    config: str
    characters: bool = False


SETS = {
    "imdb": DataSet(_imdb, "imdb.toml"),
    "sst2": DataSet(_sst2, "sst2.toml"),
    "rt-polarity": DataSet(_rt_polarity, "rt_polarity.toml"),
    "hotel": DataSet(_hotel, "hotel.toml", characters=True),
}


def cut(examples: Sequence[Example], folds: int) -> list[Parts]:
    """The parts of each fold: of every class the same share is tested on, every text in one fold."""
    fold_of = np.zeros(len(examples), int)
    generator = np.random.default_rng(FOLD_SEED)
    labels = np.array([example.label for example in examples])
    for label in sorted(set(labels)):
        places = generator.permutation(np.flatnonzero(labels == label))
        fold_of[places] = np.arange(len(places)) % folds
    pairs = list(zip(examples, fold_of.tolist(), strict=True))
    return [
        Parts([each for each, own in pairs if own != fold], [each for each, own in pairs if own == fold])
        for fold in range(folds)
    ]


# One training


@dataclass(frozen=True)
class Benchmark:
    """What all trainings of a call share."""

    work: Path
    config: Path
    settings: Sequence[str]
    pretrain: Path | None
    target: float
    int8: bool
    keep_runs: bool

    def fingerprint(self) -> str:
        """Of what decides a result of ours. Settings that are off do not count: textrnn may learn new ones."""
        configs = [load_config(self.config, self.settings), *([load_config(self.pretrain)] if self.pretrain else [])]
        decisive = [
            [
                (section, key, value)
                for section, values in sorted(config.to_dict().items())
                if isinstance(values, dict)
                for key, value in sorted(values.items())
                if value
            ]
            for config in configs
        ]
        return hashlib.sha256(json.dumps([decisive, self.target, self.int8]).encode()).hexdigest()[:8]

    def ours(self, parts: Parts, fold: str, seed: int, core: int | None) -> Row:
        """Train and test textrnn, on one core if it is named."""
        folder = self.work / fold
        files = {name: _write_records(folder / f"{name}.jsonl", part) for name, part in parts._asdict().items()}
        run = self.work / "runs" / f"{self.fingerprint()}-{fold}-seed-{seed}"
        pretrained = run.with_name(f"{run.name}-pretrained")
        for left_over in (run, pretrained):  # by a call that was stopped
            shutil.rmtree(left_over, ignore_errors=True)
        settings = [each.replace("{fold}", fold).replace("{seed}", str(seed)) for each in self.settings]
        settings += ["data.label=label", "data.label_names=[]", "data.validation=[]"]
        shared = [str(files["train"]), "--set", "data.text=text", "--set", f"seed={seed}", "--quiet"]
        row: Row = {"cores": 1 if core is not None else cores()}
        if self.pretrain:
            began = time.perf_counter()
            _textrnn(["train", "--config", str(self.pretrain), "--out", str(pretrained), *shared], core)
            row["pretraining_seconds"] = time.perf_counter() - began
            settings.append(f"model.init_from={json.dumps(str(pretrained))}")
        options = [word for setting in settings for word in ("--set", setting)]
        command = ["train", "--config", str(self.config), "--out", str(run), *options, *shared]
        reached = Reached(run / "history.jsonl", self.target)
        _textrnn(command, core, reached.look)
        seconds = reached.passed
        history = read_history(run / "history.jsonl")
        best = min((line for line in history if "held_out_loss" in line), key=lambda line: float(line["held_out_loss"]))
        row |= {
            **_evaluate(run, files["test"], core),
            "held_out_accuracy": best["held_out_accuracy"],
            "epoch": best["epoch"],
            "epochs_trained": history[-1]["epoch"],
            "seconds": seconds,
            "seconds_to_target": reached.seconds,
        }
        if self.int8:
            _textrnn(["export", str(run), "--quantize", "int8"], core)
            small = run / "bundle-int8"
            row["int8_accuracy"] = _evaluate(small, files["test"], core)["accuracy"]
            row["int8_megabytes"] = sum(file.stat().st_size for file in small.iterdir()) / 1e6
        if not self.keep_runs:
            shutil.rmtree(run)
            shutil.rmtree(pretrained, ignore_errors=True)
        return row


class Reached:
    """When a training was first as good on held-out texts as is aimed at; counted from its start, loading included."""

    def __init__(self, history: Path, target: float) -> None:
        self.history, self.target = history, target
        self.began = time.perf_counter()
        self.seconds: float | None = None

    @property
    def passed(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self.began

    def look(self) -> None:
        """See whether it is by now."""
        if self.seconds is None and self.history.exists():
            best = max((line.get("held_out_accuracy", 0.0) for line in read_history(self.history)), default=0.0)
            self.seconds = self.passed if best >= self.target else None


def theirs(candidate: Peer, parts: Parts, seed: int) -> Row:
    """Train and test one of the others."""
    predict, setting, seconds = train(candidate, parts.train, seed)
    texts, labels = zip(*parts.test, strict=True)
    predicted = predict(texts)
    right = sum(label == found for label, found in zip(labels, predicted, strict=True))
    return {
        "texts": len(texts),
        "accuracy": right / len(texts),
        "macro_f1": macro_f1(predicted, labels),
        "seconds": seconds,
        "setting": dict(setting),
    }


def _write_records(path: Path, examples: Sequence[Example]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(example._asdict(), ensure_ascii=False) + "\n" for example in examples)
    return path


def _evaluate(model: Path, test: Path, core: int | None) -> Row:
    command = ["evaluate", str(model), str(test), "--text", "text", "--label", "label", "--json"]
    document = json.loads(_textrnn(command, core))
    return {name: document[name] for name in ("texts", "accuracy", "macro_f1", "calibration_error")}


def _textrnn(arguments: Sequence[str], core: int | None, look: Callable[[], object] = lambda: None) -> str:
    """What a command of the product prints, run in a process of its own; `look` is called again and again meanwhile.

    Raises:
        UserError: it fails.
    """
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as output,
        tempfile.TemporaryFile("w+", encoding="utf-8") as errors,
    ):
        with subprocess.Popen([sys.executable, "-m", "textrnn", *arguments], stdout=output, stderr=errors) as process:
            try:
                if core is not None:
                    os.sched_setaffinity(process.pid, {core})  # before it has started any thread
                while process.poll() is None:
                    time.sleep(POLL_SECONDS)
                    look()
            except BaseException:
                process.terminate()
                raise
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            last_line = (errors.read().strip().splitlines() or ["without a word"])[-1]
            raise UserError(f"{last_line} (textrnn {arguments[0]}, exit code {process.returncode})")
        return output.read()


# All of them


def our_results(
    benchmark: Benchmark, parts: Mapping[str, Parts], seeds: Sequence[int], jobs: int
) -> Iterator[Row | None]:
    """A row for each fold and seed, as they come; None for one that failed, which is told."""
    name = f"{OURS}-{benchmark.fingerprint()}"
    free = sorted(os.sched_getaffinity(0)) if jobs > 1 and hasattr(os, "sched_setaffinity") else []
    places: Queue[int | None] = Queue()
    for place in range(jobs):
        places.put(free[place % len(free)] if free else None)

    def do(fold: str, seed: int) -> Row | None:
        core = places.get()
        try:
            return _kept(benchmark.work, name, fold, seed, lambda: benchmark.ours(parts[fold], fold, seed, core))
        except UserError as error:
            print(f"{fold}, seed {seed} failed: {error}", file=sys.stderr)
            return None
        finally:
            places.put(core)

    with ThreadPoolExecutor(jobs) as pool:
        tasks = [pool.submit(do, fold, seed) for seed in seeds for fold in parts]
        for task in as_completed(tasks):
            row = task.result()
            yield row and {"candidate": OURS, **row}


def peer_results(
    work: Path, parts: Mapping[str, Parts], seeds: Sequence[int], candidates: Sequence[Peer]
) -> Iterator[Row]:
    """A row for each of the others, fold and seed; one that a seed changes nothing of is trained once a fold."""
    for candidate in candidates:
        name = re.sub(r"\W+", "-", candidate.name.lower())
        for seed in seeds if candidate.seeded else seeds[:1]:
            for fold, part in parts.items():
                row = _kept(work, name, fold, seed, partial(theirs, candidate, part, seed))
                yield {"candidate": candidate.name, **row}


def _kept(work: Path, name: str, fold: str, seed: int, measure: Callable[[], Row]) -> Row:
    """The result of an earlier call, or a new one, which is kept."""
    path = work / "results" / f"{name}-{fold}-seed-{seed}.json"
    if path.exists():
        found: Row = json.loads(path.read_text(encoding="utf-8"))
        return found
    row = {"fold": fold, "seed": seed, **measure()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    return row


def summary(rows: Sequence[Row]) -> list[Row]:
    """A row a candidate: means over the folds of each seed, then the mean over seeds and the seeds' range.

    A seed that lacks a fold which another one has is left out.
    """
    by_candidate: dict[str, dict[int, list[Row]]] = {}
    for row in rows:
        by_candidate.setdefault(row["candidate"], {}).setdefault(row["seed"], []).append(row)
    table = []
    for candidate, by_seed in by_candidate.items():
        folds = max(map(len, by_seed.values()))
        whole = [found for found in by_seed.values() if len(found) == folds]
        kinds = {name: value for row in chain(*whole) for name, value in row.items() if value is not None}
        names = [name for name, value in kinds.items() if isinstance(value, float)]
        accuracies = [statistics.fmean(row["accuracy"] for row in found) for found in whole]
        means = {name: _mean(row[name] for found in whole for row in found) for name in names}
        table.append(
            {
                "candidate": candidate,
                "accuracy": means.pop("accuracy"),
                "lowest": min(accuracies),
                "highest": max(accuracies),
                "seeds": len(whole),
                "folds": folds,
                **means,
            }
        )
    return table


def _mean(values: Iterable[float | None]) -> float | None:
    """None where one is not known."""
    known = list(values)
    return None if None in known else statistics.fmean(value for value in known if value is not None)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="where the data sets are")
    parser.add_argument("--set", choices=SETS, required=True, dest="name")
    parser.add_argument("--work", type=Path, required=True, metavar="FOLDER", help="where results are kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], metavar="N")
    parser.add_argument("--folds", type=int, default=10, metavar="N", help="of a set without a split (%(default)s)")
    parser.add_argument("--only-folds", type=int, nargs="+", metavar="N", help="these alone, counted from 0")
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="of ours (default: the set's, in configs/)")
    parser.add_argument("--set-value", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="of ours")
    parser.add_argument("--pretrain", type=Path, metavar="FILE.toml", help="of a language model that ours starts from")
    parser.add_argument(
        "--target", type=float, default=0.9, metavar="F", help="held-out accuracy to time (%(default)s)"
    )
    parser.add_argument("--int8", action="store_true", help="test ours in 8 bits too")
    parser.add_argument("--keras", action="store_true", help="the Keras book's network too: minutes an epoch")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="trainings of ours side by side, a core each")
    parser.add_argument("--keep-runs", action="store_true", help="those of folds too, which are else removed")
    parser.add_argument("--json", type=Path, metavar="FILE")
    sides = parser.add_mutually_exclusive_group()
    sides.add_argument("--ours-only", action="store_true")
    sides.add_argument("--peers-only", action="store_true")
    arguments = parser.parse_args(argv)
    try:
        return _measure(arguments)
    except (UserError, OSError) as error:
        print(f"sentiment: {error}", file=sys.stderr)
        return 1


def _measure(arguments: argparse.Namespace) -> int:
    chosen = SETS[arguments.name]
    found = chosen.read(arguments.data)
    split = isinstance(found, Parts)
    parts = {"split": found} if isinstance(found, Parts) else _folds(found, arguments.folds, arguments.only_folds)
    benchmark = Benchmark(
        work=arguments.work / arguments.name,
        config=arguments.config or CONFIGS / chosen.config,
        settings=arguments.set_value,
        pretrain=arguments.pretrain,
        target=arguments.target,
        int8=arguments.int8,
        keep_runs=split or arguments.keep_runs,
    )
    results: list[Iterator[Row | None]] = []
    if not arguments.peers_only:
        results.append(our_results(benchmark, parts, arguments.seeds, arguments.jobs))
    if not arguments.ours_only:
        others = peers(chosen.characters, arguments.keras)
        results.append(peer_results(benchmark.work, parts, arguments.seeds, others))
    rows: list[Row] = []
    failed = 0
    for row in chain.from_iterable(results):
        if row is None:
            failed += 1
            continue
        rows.append(row)
        print(f"{row['candidate']}, {row['fold']}, seed {row['seed']}: {row['accuracy']:.2%}", flush=True)
    print()
    table = summary(rows)
    print_table(table)
    if arguments.json:
        facts = {"set": arguments.name, "texts": {name: [len(part) for part in both] for name, both in parts.items()}}
        facts |= {"shared_texts": {name: _shared(both) for name, both in parts.items()}}
        facts |= {"config": benchmark.config.name, "settings": arguments.set_value, "jobs": arguments.jobs}
        facts |= {"pretrain": arguments.pretrain and arguments.pretrain.name, "target": arguments.target}
        write_json(arguments.json, "sentiment", table, **facts, results=rows)
    return 1 if failed else 0


def _folds(examples: Sequence[Example], folds: int, only: Sequence[int] | None) -> dict[str, Parts]:
    """Those that are asked for, by name.

    Raises:
        UserError: there are none such.
    """
    if folds < 2 or (only and not all(0 <= fold < folds for fold in only)):
        raise UserError(f"--folds must be 2 or more and --only-folds among them, were: {folds} and {only}")
    parts = cut(examples, folds)
    return {f"fold-{fold}-of-{folds}": parts[fold] for fold in (only if only is not None else range(folds))}


def _shared(parts: Parts) -> int:
    """How many texts that are tested on are in what is trained on too, to the letter."""
    known = {example.text for example in parts.train}
    return sum(example.text in known for example in parts.test)


if __name__ == "__main__":
    raise SystemExit(main())
