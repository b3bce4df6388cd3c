"""Writes image sequences for configs/moving_shapes.toml: what moves, and where to?

    python benchmarks/moving_shapes.py data/moving_shapes.npz
    python benchmarks/moving_shapes.py data/moving_shapes_test.npz --records 2000 --seed 2

A record is 16 noisy frames of 16 x 16 pixels. A square, a disc or a cross moves to the left, right, up or down, at one
of many speeds; another of the three stands still and may be crossed. The label is "square left", "disc up" and so on:
one frame alone does not show the direction.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FRAMES, SIDE, SIZE = 16, 16, 5
_ROWS, _COLUMNS = np.mgrid[-2:3, -2:3]
SHAPES = {
    "square": np.maximum(abs(_ROWS), abs(_COLUMNS)) == 2,
    "disc": _ROWS**2 + _COLUMNS**2 <= 5,
    "cross": (_ROWS == 0) | (_COLUMNS == 0),
}
DIRECTIONS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}
NOISE = 20.0  # standard deviation, of 255


def record(random: np.random.Generator) -> tuple[NDArray[np.uint8], str]:
    """Draw the frames, ``(FRAMES, SIDE * SIDE)``, and the label of one record."""
    moving, still = random.choice(list(SHAPES), 2, replace=False)
    direction = str(random.choice(list(DIRECTIONS)))
    step = np.array(DIRECTIONS[direction]) * random.uniform(0.3, 0.7)
    path = step * np.arange(FRAMES)[:, None]
    low, high = -path.min(0), SIDE - SIZE - path.max(0)  # so that it never leaves the frame
    path += random.uniform(low, high)
    place = random.integers(0, SIDE - SIZE + 1, 2)
    frames = random.normal(0.0, NOISE, (FRAMES, SIDE, SIDE))
    brightness = random.uniform(120, 230, 2)
    for frame, corner in zip(frames, path.round().astype(int), strict=True):
        for shape, (row, column), value in ((still, place, brightness[0]), (moving, corner, brightness[1])):
            frame[row : row + SIZE, column : column + SIZE][SHAPES[shape]] += value
    return frames.clip(0, 255).astype(np.uint8).reshape(FRAMES, -1), f"{moving} {direction}"


def records(count: int, seed: int) -> dict[str, NDArray[Any]]:
    """Draw ``x``, uint8 ``(count, FRAMES, SIDE * SIDE)``, and ``y``, the labels."""
    random = np.random.default_rng(seed)
    frames, labels = zip(*(record(random) for _ in range(count)), strict=True)
    return {"x": np.stack(frames), "y": np.array(labels)}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, metavar="FILE.npz")
    parser.add_argument("--records", type=int, default=20_000, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    options = parser.parse_args(argv)
    options.file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(options.file, **records(options.records, options.seed))


if __name__ == "__main__":
    main()
