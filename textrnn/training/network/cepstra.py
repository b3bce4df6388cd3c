"""Cepstral coefficients of log-mel frames and their slopes over time: what the first layer reads of a recording.

Both are linear in the frames. They leave out the fine structure of the spectrum, which is the pitch of a voice, and
differ less between speakers than the frames.
"""

from __future__ import annotations

import numpy as np
from keras import ops
from numpy.typing import NDArray

from textrnn.training.network.products import Tensor

REACH = 2  # frames before and after, over which a slope is fitted


def cepstral_kernel(mel_bins: int, cepstra: int) -> NDArray[np.float32]:
    """Return the matrix from 5 consecutive frames to the coefficients of the middle one and their slopes.

    The coefficients are the first of the orthonormal DCT-II (Davis & Mermelstein 1980), the slopes those of the
    straight line through the coefficients of the 5 frames, a frame (Furui 1986).

    Args:
        mel_bins: values of a frame.
        cepstra: number of coefficients, of `mel_bins` at most.

    Returns:
        float32 ``(5 * mel_bins, 2 * cepstra)``.
    """
    orders, bins = np.arange(cepstra), np.arange(mel_bins)
    transform = np.sqrt(2 / mel_bins) * np.cos(np.pi / mel_bins * np.outer(bins + 0.5, orders))
    transform[:, 0] /= np.sqrt(2)
    offsets = np.arange(-REACH, REACH + 1)
    now, slope = (offsets == 0).astype(float), offsets / np.sum(offsets**2)
    return np.hstack([np.kron(now[:, None], transform), np.kron(slope[:, None], transform)]).astype(np.float32)


def cepstra_of(centred: Tensor, kernel: Tensor) -> Tensor:
    """Compute coefficients and slopes of frames.

    Args:
        centred: frames less their mean, 0 beyond the end of a recording, float32 ``(batch, time, mel_bins)``.
        kernel: from `cepstral_kernel`.

    Returns:
        float32 ``(batch, time, 2 * cepstra)``.
    """
    time = centred.shape[1]
    wide = ops.pad(centred, ((0, 0), (REACH, REACH), (0, 0)))
    joined = ops.concatenate([wide[:, shift : shift + time] for shift in range(2 * REACH + 1)], axis=-1)
    return ops.matmul(joined, kernel)


def cepstral_scaling(
    frames: list[NDArray[np.float32]], mean: NDArray[np.float32], cepstra: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and standard deviation of the coefficients and slopes of recordings, each ``(2 * cepstra,)``.

    Args:
        frames: the recordings, ``(time, mel_bins)`` each.
        mean: mean of their frames, ``(mel_bins,)``.
        cepstra: number of coefficients.
    """
    kernel = cepstral_kernel(len(mean), cepstra)
    # In numpy, because TensorFlow takes 20 times as long for recordings of many lengths, one by one.
    found = np.concatenate([_cepstra(each - mean, kernel) for each in frames])
    return found.mean(axis=0), np.maximum(found.std(axis=0), np.float32(1e-3))


def _cepstra(centred: NDArray[np.float32], kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    wide = np.pad(centred, ((REACH, REACH), (0, 0)))
    joined = np.lib.stride_tricks.sliding_window_view(wide, 2 * REACH + 1, axis=0)
    found: NDArray[np.float32] = joined.transpose(0, 2, 1).reshape(len(centred), -1) @ kernel
    return found
