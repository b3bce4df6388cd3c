"""Batches of log-mel frames, changed at random for training: speed, voice, noise, level, shift, masks.

All changes are made on frames. Faster speech has fewer frames. A shorter vocal tract moves energy to higher bins. Noise
adds to the energies, a microphone to their logarithms.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from textrnn.data.labelled import Batch
from textrnn.data.labelled_vectors import VectorBatches
from textrnn.data.vectors import padded

SPEED, VOICE = 0.15, 0.05  # largest logarithm of the factor of time, and of mel frequency
LEVEL, TILT = 0.3, 0.7  # standard deviations of nepers of energy: of a recording, of the ends of its noise's spectrum
COLOUR, WAVES = 1.0, 3  # of the waves that a microphone adds to the spectrum: nepers of the slowest, and their number
NOISY = 0.6  # share of the recordings that get noise
SIGNAL_TO_NOISE = (0.0, 8.0)  # nepers of energy: 0 to 35 dB
SHIFT = 8  # frames of background at most, before and after
MASKED_FRAMES, MASKED_BINS = 0.15, 0.15  # share at most, each twice
FRAMES_A_MASK = 100  # of a long recording
STREAM = 0x5EED  # tells these random numbers from those of the order


class AugmentedBatches(VectorBatches):
    """Batches of frames. `batch`, which training reads, changes them; `all` does not.

    The changes of a step depend on `seed` and the step alone.
    """

    def batch(self, step: int) -> Batch:
        found = super().batch(step)
        generator = np.random.default_rng([STREAM, self.seed, step])
        changed = [self.changed(int(index), generator) for index in found.indices]
        length = self.padded_length(max(map(len, changed)))
        return found._replace(inputs=padded(changed, length, self.batch_size))

    def changed(self, index: int, generator: np.random.Generator) -> NDArray[np.float32]:
        """Return changed frames of a recording, ``(time, bins)``."""
        return augment(self.dataset.sequence(index), self.dataset.mean, generator)


def augment(
    frames: NDArray[np.float32],
    mean: NDArray[np.float32],
    generator: np.random.Generator,
    masked_frames: int = 0,
) -> NDArray[np.float32]:
    """Return a changed copy of the log-mel frames of a recording, ``(time, bins)``; its time differs.

    Args:
        frames: log-mel frames, ``(time, bins)``.
        mean: mean of each bin over all recordings, ``(bins,)``, which masks put in place of frames.
        generator: source of random numbers.
        masked_frames: frames of a mask at most, with a mask a second, so that the words of a long recording stay
            audible. 0: two masks, each of a share of the recording.
    """
    time, bins = frames.shape
    draw = generator.uniform
    speed, voice = np.exp(draw(-SPEED, SPEED)), np.exp(draw(-VOICE, VOICE))
    found = _stretched(frames, max(2, round(time / speed)))
    found = _stretched(found.T, bins, np.arange(bins) / voice).T
    place = np.linspace(-1, 1, bins, dtype=np.float32)
    found = found + generator.normal(0, LEVEL) + _colour(bins, generator)
    quiet = np.quantile(found, 0.05, axis=0)
    before, after = generator.integers(0, SHIFT + 1, 2)
    background = quiet + generator.normal(0, 0.5, (before + len(found) + after, bins))
    background[before : before + len(found)] = found
    found = background
    if generator.random() < NOISY:
        loudest = np.quantile(found, 0.9)
        noise = loudest - draw(*SIGNAL_TO_NOISE) + generator.normal(0, TILT) * place
        found = np.logaddexp(found, noise + generator.normal(0, 0.5, found.shape))
    result: NDArray[np.float32] = found.astype(np.float32)
    most = min(1.0, masked_frames / len(result)) if masked_frames else MASKED_FRAMES
    masks = -(-len(result) // FRAMES_A_MASK) if masked_frames else 2
    for number in range(max(2, masks)):
        if number < masks:
            width = int(draw(0, most) * len(result))
            begin = generator.integers(0, len(result) - width + 1)
            result[begin : begin + width] = mean
        if number < 2:
            width = int(draw(0, MASKED_BINS) * bins)
            begin = generator.integers(0, bins - width + 1)
            result[:, begin : begin + width] = mean[begin : begin + width]
    return result


def _colour(bins: int, generator: np.random.Generator) -> NDArray[np.floating]:
    """Return what a microphone adds to every frame, ``(bins,)``: a few slow waves over the spectrum."""
    waves = np.arange(1, WAVES + 1)
    heights = generator.normal(0, COLOUR, WAVES) / np.sqrt(waves)
    colour: NDArray[np.floating] = np.cos(np.outer(np.linspace(0, np.pi, bins), waves)) @ heights
    return colour


def _stretched(
    values: NDArray[np.floating], length: int, places: NDArray[np.floating] | None = None
) -> NDArray[np.floating]:
    """Return rows ``(length, ...)`` between those of an array, by linear interpolation; or at `places`."""
    if places is None:
        places = np.linspace(0, len(values) - 1, length)
    places = np.clip(places, 0, len(values) - 1)
    lower = np.minimum(places.astype(np.int64), max(len(values) - 2, 0))
    upper = np.minimum(lower + 1, len(values) - 1)
    share = (places - lower)[:, None]
    between: NDArray[np.floating] = values[lower] * (1 - share) + values[upper] * share
    return between
