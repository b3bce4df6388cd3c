"""The direct path of a classifier as ONNX nodes: the graph itself hashes n-grams, looks them up and adds their weights.

The nodes compute what `DirectPath.logits` does, with standard operators: products, sums and remainders of int64 for the
hashes, ``Gather`` for the table, and ``TopK`` as a sort, after which equal n-grams of a text are neighbours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from textrnn.training.direct.model import SMALLEST_SQUARE, DirectPath
from textrnn.training.direct.ngrams import FACTORS, FINGERPRINTS, PRIME, TERMS
from textrnn.training.export.cell_graphs import Nodes


def direct_constants(direct: DirectPath) -> dict[str, NDArray[Any]]:
    """Return the constants of `add_direct_path`, by name."""
    order = direct.table.order
    return {
        **{f"hash_factors_{back}": FACTORS[back] for back in range(order)},
        **{f"hash_terms_{back}": TERMS[back] for back in range(order)},
        "hash_prime": np.array(PRIME),
        "hash_slots": np.array(len(direct.table.numbers)),
        "hash_fingerprints": np.array(FINGERPRINTS),
        "no_token": np.array(0),  # padding, and what is before the first token
        "no_ngram": np.array(0),
        "below_any": np.array(-1),
        "time_axis": np.array([1]),
        "hash_axis": np.array([2]),
        "from_start": np.array([0]),
        "before_last": np.array([-1]),
        "one_before_tokens": np.array([0, 1, 0, 0, 0, 0]),
        "one_before_numbers": np.array([0, 1, 0, 0]),
        "smallest_square": np.array(SMALLEST_SQUARE, np.float32),
        "signs": np.array([[-0.5, 0.5]], np.float32),
    }


def add_direct_path(nodes: Nodes, direct: DirectPath) -> str:
    """Add nodes from ``ids`` int32 ``(batch, time)`` to logits ``(batch, classes)``, and return the name of these.

    The graph must hold `DirectPath.arrays` and `direct_constants`.
    """
    last = tokens = nodes.add("Unsqueeze", nodes.add("Cast", "ids", to=TensorProto.INT64), "hash_axis")
    hashed, whole, sums = [], [], ""
    for back in range(direct.table.order):
        if back:
            tokens = _one_later(nodes, tokens, "one_before_tokens", "no_token")
        product = nodes.add("Mul", tokens, f"hash_factors_{back}")
        sums = nodes.add("Add", sums, product) if back else product
        hashed.append(nodes.add("Mod", nodes.add("Add", sums, f"hash_terms_{back}"), "hash_prime"))
        whole.append(nodes.add("Greater", nodes.add("Min", last, tokens), "no_token"))
    each = [f"hash_{number}" for number in range(3)]
    nodes.append("Split", [nodes.add("Concat", *hashed, axis=1)], each, axis=2)
    prints = nodes.add("Mod", each[2], "hash_fingerprints")
    numbers = "no_ngram"
    for place in (each[1], each[0]):
        slot = nodes.add("Mod", place, "hash_slots")
        found = nodes.add("Cast", nodes.add("Gather", "direct_fingerprints", slot, axis=0), to=TensorProto.INT64)
        number = nodes.add("Cast", nodes.add("Gather", "direct_numbers", slot, axis=0), to=TensorProto.INT64)
        numbers = nodes.add("Where", nodes.add("Equal", found, prints), number, numbers)
    numbers = nodes.add("Where", nodes.add("Concat", *whole, axis=1), numbers, "no_ngram")
    numbers = nodes.add("Squeeze", numbers, "hash_axis")
    length = nodes.add("Gather", nodes.add("Shape", numbers), "time_axis")
    nodes.append("TopK", [numbers, length], ["sorted_numbers", "sorted_places"], axis=1)
    before = _one_later(nodes, "sorted_numbers", "one_before_numbers", "below_any")
    once = nodes.add("Where", nodes.add("Equal", "sorted_numbers", before), "no_ngram", "sorted_numbers")
    squares = nodes.add("ReduceSum", nodes.add("Gather", "direct_squares", once, axis=0), "time_axis")
    norm = nodes.add("Sqrt", nodes.add("Max", squares, "smallest_square"))
    sums = nodes.add("ReduceSum", nodes.add("Gather", "direct_weights", once, axis=0), "time_axis", keepdims=0)
    scores = nodes.add("Add", nodes.add("Div", sums, norm), "direct_bias")
    return nodes.add("Mul", scores, "signs") if direct.weights.shape[1] == 1 else scores


def _one_later(nodes: Nodes, x: str, padding: str, filler: str) -> str:
    """Shift along the time axis: the last step is left out, `filler` comes before the first."""
    return nodes.add("Slice", nodes.add("Pad", x, padding, filler), "from_start", "before_last", "time_axis")
