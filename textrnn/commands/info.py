"""`textrnn info`: describe a bundle."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from textrnn.commands.arguments import add_command, number


def add_info(commands: Any) -> None:
    """Add the command and its arguments."""
    info = add_command(commands, "info", info_command, "describe a model", model=True)
    info.add_argument("--json", action="store_true", help="print the manifest")


def info_command(arguments: argparse.Namespace) -> None:
    from textrnn.bundle import read_bundle
    from textrnn.models.places import find_model
    from textrnn.runtime.sessions import load_bundled_tokenizer

    bundle = read_bundle(find_model(arguments.model))
    manifest = bundle.manifest
    if arguments.json:
        print(manifest.to_json(), end="")
        return
    size = sum(entry.bytes for entry in manifest.files.values())
    print(f"bundle     {bundle.folder}")
    print(f"kind       {manifest.kind}, {manifest.precision}, {size / 1e6:.2f} MB in {len(manifest.files)} files")
    if manifest.labels:
        print(f"labels     {', '.join(manifest.labels)}")
    if manifest.tokenizer:
        print(f"tokenizer  {manifest.tokenizer.kind}, {load_bundled_tokenizer(bundle).vocabulary_size:,} tokens")
    for name, graph in manifest.graphs.items():
        for way, tensors in (("in", graph.inputs), ("out", graph.outputs)):
            for tensor in tensors:
                print(f"{name:10} {way:3} {tensor.name}: {tensor.dtype} ({', '.join(map(str, tensor.shape))})")
    for name, metrics in manifest.metrics.items():
        if isinstance(metrics, Mapping):
            figures = ", ".join(
                f"{key.replace('_', ' ')} {number(value)}"
                for key, value in metrics.items()
                if isinstance(value, (int, float))
            )
            print(f"{name:10} {figures}")
    print("made with  " + ", ".join(f"{name} {version}" for name, version in manifest.created_with.items()))
