"""Makes finished models of the package: trains, exports in 8 bits, writes the card, and puts them into textrnn/models.

python pipelines/make_models.py shakespeare tang --data DIR

DIR holds the public data that the configs of configs/models name. The same machine and packages give the same files,
bit for bit. Weights stay in float32 if 8 bits cost too much on held-out data. An interrupted run is resumed; to train
again, remove its folder in --runs.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

from model_data import write_tables

from textrnn.actions.training import train_run
from textrnn.bundle import CARD, Manifest, read_bundle, write_bundle
from textrnn.cli import main as textrnn
from textrnn.config import Config
from textrnn.errors import Stopped, UserError
from textrnn.models.card import card_of, cost_of_8_bits
from textrnn.models.places import FINISHED
from textrnn.training.tasks.configuration import from_dict, stated_values
from textrnn.training.tasks.runs import create_run, open_run

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CONFIGS = Path(__file__).resolve().parent.parent / "configs" / "models"
MOST_NATS = 0.01  # a token, that 8 bits may cost
MOST_ACCURACY = 0.003
FIGURES = ("accuracy", "macro_f1", "nats_per_token")  # of tests


def main(argv: Sequence[str] | None = None) -> int:
    names = sorted(path.stem for path in CONFIGS.glob("*.toml"))
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the folder of the public data")
    parser.add_argument("--out", type=Path, default=FINISHED, metavar="DIR", help="where the models go")
    parser.add_argument("--runs", type=Path, default=Path("runs/models"), metavar="DIR", help="where the runs go")
    parser.add_argument("--set", action="append", default=[], metavar="KEY.PATH=VALUE", help="one setting")
    arguments = parser.parse_args(argv)
    try:
        for name in arguments.names:
            make(name, arguments.data, arguments.runs / name, arguments.out / name, arguments.set)
    except UserError as error:
        print(f"make_models: {error}", file=sys.stderr)
        return 1
    except Stopped as stopped:
        print(f"make_models: {stopped}", file=sys.stderr)
        return 130
    return 0


def make(name: str, data: Path, run_folder: Path, target: Path, settings: Sequence[str]) -> None:
    """Make one model.

    Args:
        name: name of the model.
        data: folder of the public data.
        run_folder: folder of the training run, which is resumed; its tables and its 8-bit export are beside it.
        target: folder of the finished model, which is replaced.
        settings: settings to change, as ``KEY=VALUE``.

    Raises:
        UserError: as the stages raise it.
    """
    tables, small = (run_folder.with_name(f"{name}-{part}") for part in ("tables", "int8"))
    write_tables(name, data, tables)
    values = tomllib.loads((CONFIGS / f"{name}.toml").read_text(encoding="utf-8"))
    facts = values.pop("card")
    config = _config(values, settings, tables if tables.exists() else data)
    full = train_run((open_run if run_folder.exists() else create_run)(run_folder, config, quiet=True))
    if not small.exists():
        _run("export", run_folder, "--quantize", "int8", "--out", small)
    chosen = small if is_worthwhile(read_bundle(small).manifest) else full
    print(f"{name}: 8 bits cost {cost_of_8_bits(read_bundle(small).manifest)}; took {chosen.name}", file=sys.stderr)
    tests = [
        {"data": test.pop("data"), **measured(chosen, (tables if tables.exists() else data) / test.pop("source"))}
        for test in facts.pop("tests", [])
    ]
    manifest = replace(read_bundle(chosen).manifest, card={**facts, **({"tests": tests} if tests else {})})
    shutil.rmtree(target, ignore_errors=True)
    write_bundle(target, manifest, chosen)
    (target / CARD).write_text(card_of(manifest, name), encoding="utf-8")
    size = sum(path.stat().st_size for path in target.iterdir())
    print(f"{target} {size / 1e6:.2f} MB {' '.join(json.dumps(test, ensure_ascii=False) for test in tests)}".rstrip())


def _config(values: Mapping[str, Any], settings: Sequence[str], folder: Path) -> Config:
    """Return the configuration of a file with settings changed; its sources are in `folder`."""
    changed = stated_values(None, settings)
    sections: dict[str, Any] = {
        name: {**value, **changed.get(name, {})} if isinstance(value, Mapping) else changed.get(name, value)
        for name, value in values.items()
    }
    sections |= {name: value for name, value in changed.items() if name not in values}
    data = sections["data"]
    for places in ("source", "validation"):
        if places in data:
            data[places] = [str((folder / place).absolute()) for place in data[places]]
    return from_dict(sections)


def is_worthwhile(manifest: Manifest) -> bool:
    """Return whether a model in 8 bits is about as good on held-out data as in float32."""
    full, small = (manifest.metrics.get(precision, {}) for precision in ("float32", "int8"))
    if "loss" in small:
        return bool(small["loss"] <= MOST_NATS)
    return bool(full["accuracy"] - small["accuracy"] <= MOST_ACCURACY)


def measured(model: Path, source: Path) -> dict[str, float]:
    """Measure a model on data that neither training nor the choices within it saw."""
    return {
        name: value for name, value in json.loads(_run("evaluate", model, source, "--json")).items() if name in FIGURES
    }


def _run(*argv: object) -> str:
    """Run a command of textrnn and return its output."""
    out = io.StringIO()
    with redirect_stdout(out):
        code = textrnn([str(argument) for argument in argv])
    if code:
        raise SystemExit(code)
    return out.getvalue()


if __name__ == "__main__":
    sys.exit(main())
