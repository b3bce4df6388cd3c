"""One recording to log-mel frames: decoding, mixing to mono, resampling, mel filters. The same in training and use.

libsndfile decodes, soxr resamples, and kaldi-native-fbank computes the frames. They come with the extra `audio`.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn.data.records import first_line
from textrnn.errors import UserError, shown

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
FRAME_MS, SHIFT_MS = 25.0, 10.0
LONGEST_SECONDS = 600
LOWEST_RATE, HIGHEST_RATE = 1000, 768_000  # Hz
LOUD = 0.95  # quantile of the values of a recording that is its level
DYNAMIC_RANGE = 10.0  # nepers of energy, 43 dB: what is further below the level is background
QUIETEST = 1e-4  # peak below which a recording is silent: -80 dB, 3 steps of 16 bits

Recording = str | PathLike[str] | bytes | tuple[NDArray[Any], int]
"""A file, the bytes of one, or samples ``(time,)`` or ``(time, channels)`` between -1 and 1 with their rate in Hz."""


class SilentRecording(UserError):
    """A recording without sound."""


@dataclass(frozen=True)
class AudioFormat:
    """How recordings become frames.

    Args:
        sample_rate: samples a second, to which every recording is resampled.
        mel_bins: values of a frame.
    """

    sample_rate: int
    mel_bins: int

    def __post_init__(self) -> None:
        if self.sample_rate < LOWEST_RATE:
            raise UserError(
                f"data.sample_rate must be {LOWEST_RATE:,} or more, was: {self.sample_rate}; 8000 or 16000 suit speech"
            )

    def frames(self, recording: Recording, place: str) -> NDArray[np.float32]:
        """Return the log-mel frames of a recording, ``(time, mel_bins)``: one every 10 ms, each of 25 ms.

        The level of the recording, the 0.95 quantile of its values, is subtracted. Values below -10 become -10.

        Args:
            recording: the recording, of any sample rate and number of channels.
            place: name of the recording, for messages.

        Raises:
            UserError: the recording cannot be read, is too long, silent or empty, or the extra `audio` is missing.
        """
        samples, rate = _samples(recording, place)
        mono = samples.mean(axis=1, dtype=np.float32) if samples.ndim == 2 else samples
        if not mono.size or np.ptp(mono) < 2 * QUIETEST:
            what = "silent: its loudest sample is below -80 dB" if mono.size else "empty"
            raise SilentRecording(f"a recording must have sound, {place} is {what}; record it again, or leave it out")
        if rate != self.sample_rate:
            mono = _package("soxr").resample(mono, rate, self.sample_rate)
        frames = self._log_mel(mono)
        frames -= np.float32(np.quantile(frames, LOUD))
        return np.maximum(frames, np.float32(-DYNAMIC_RANGE), out=frames)

    def _log_mel(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        fbank = _package("kaldi_native_fbank")
        options = fbank.FbankOptions()
        options.frame_opts.samp_freq = self.sample_rate
        options.frame_opts.frame_length_ms, options.frame_opts.frame_shift_ms = FRAME_MS, SHIFT_MS
        options.frame_opts.dither = 0.0  # no noise: the same recording always gives the same frames
        options.frame_opts.snip_edges = False  # a recording shorter than a frame gives a frame too
        options.mel_opts.num_bins = self.mel_bins
        try:
            computed = fbank.OnlineFbank(options)
        except ValueError as error:
            raise UserError(
                f"data.mel_bins must be fewer at {self.sample_rate:,} samples a second, was: {self.mel_bins}; 40 suits "
                "8,000 and more"
            ) from error
        computed.accept_waveform(self.sample_rate, samples)
        computed.input_finished()
        count = computed.num_frames_ready
        if not count:  # less than half a step long
            return self._log_mel(np.pad(samples, (0, round(self.sample_rate * SHIFT_MS / 1000))))
        return np.stack([computed.get_frame(number) for number in range(count)]).astype(np.float32)


def sample_rate_of(path: Path) -> int:
    """Return the sample rate of a file in Hz, from its header.

    Raises:
        UserError: the file is no recording, or the extra `audio` is missing.
    """
    soundfile = _package("soundfile")
    try:
        return int(soundfile.info(fspath(path)).samplerate)
    except soundfile.LibsndfileError as error:
        raise _unreadable(str(path), error) from error


def _samples(recording: Recording, place: str) -> tuple[NDArray[np.float32], int]:
    """Return samples, ``(time,)`` or ``(time, channels)``, and their rate."""
    if isinstance(recording, tuple):
        return _checked(recording, place)
    if not isinstance(recording, str | PathLike | bytes):
        raise UserError(
            f"a recording must be a file, its bytes, or (samples, rate), {place} is: {shown(recording)}; give one"
        )
    soundfile = _package("soundfile")
    if not isinstance(recording, bytes) and not Path(recording).is_file():
        raise UserError(f"a recording must be a file that exists, was: {fspath(recording)!r}; check its name")
    try:
        with soundfile.SoundFile(io.BytesIO(recording) if isinstance(recording, bytes) else fspath(recording)) as file:
            rate = int(file.samplerate)
            _require_short(file.frames / rate, place)
            samples = file.read(dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise _unreadable(place, error) from error
    return _checked((samples, rate), place)


def _checked(recording: tuple[Any, Any], place: str) -> tuple[NDArray[np.float32], int]:
    is_pair = len(recording) == 2 and isinstance(recording[1], int | np.integer)
    if not is_pair or not LOWEST_RATE <= recording[1] <= HIGHEST_RATE:
        raise UserError(
            f"samples need their rate of 1,000 Hz or more, {place} is: {shown(recording)}; give (samples, 16000)"
        )
    try:
        samples = np.asarray(recording[0])
    except ValueError:
        samples = np.empty((), object)
    if samples.ndim not in (1, 2) or samples.dtype.kind != "f" or not np.isfinite(samples).all():
        raise UserError(
            f"samples must be finite numbers from -1 to 1, (time,) or (time, channels), those of {place} are: "
            f"{shown(recording[0])}; divide whole numbers of 16 bits by 32768"
        )
    _require_short(len(samples) / recording[1], place)
    return samples.astype(np.float32), int(recording[1])


def _require_short(seconds: float, place: str) -> None:
    if seconds > LONGEST_SECONDS:
        raise UserError(
            f"a recording must take {LONGEST_SECONDS} seconds at most, {place} takes {seconds:,.0f}; cut it"
        )


def _unreadable(place: str, error: Exception) -> UserError:
    reason = str(getattr(error, "error_string", first_line(error))).rstrip(".")
    return UserError(
        f"a recording must be {', '.join(SUFFIXES)} that can be decoded, {place} is not: {reason}; convert "
        "it, or leave it out"
    )


def _package(name: str) -> Any:
    try:
        if name == "soundfile":
            import soundfile

            return soundfile
        if name == "soxr":
            import soxr

            return soxr
        import kaldi_native_fbank

        return kaldi_native_fbank
    except (ImportError, OSError) as error:  # OSError: a library of the system is missing
        raise UserError(
            f"recordings need the extra audio, {name} cannot be imported ({first_line(error)}); run: pip install "
            "'textrnn[audio]'"
        ) from error
