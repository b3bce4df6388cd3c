"""Runtime of a forecaster; it needs onnxruntime, but not TensorFlow.

It runs two graphs over the same weights, which read and predict values in units of the data:

    step      vectors float32 (batch, features), state float32 (layers, batch, hidden)
              -> forecast float32 (batch, horizon, features), next_state of the shape of state
    sequence  vectors float32 (batch, time, features), state
              -> forecast float32 (batch, time, horizon, features), next_state
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from textrnn.bundle import Bundle
from textrnn.data.vectors import require_width, to_numbers
from textrnn.errors import UserError, require_whole_number
from textrnn.runtime.sessions import OfBundle, Sessions, checked_state

READ_AT_ONCE = 1 << 20  # predicted numbers in memory while a series is read, 4 MB

Array = NDArray[np.float32]


class Forecaster(OfBundle):
    """Forecaster of time series.

    Attributes:
        manifest: manifest of the bundle.
        horizon: number of steps predicted at each step.
        features: number of values per step.
        columns: their names; those that the training stated, or none, in a bundle of an early version.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        super().__init__(bundle, threads=threads)
        if lacking := {"step", "sequence"} - set(self.manifest.graphs):
            raise UserError(f"a forecaster must have a {min(lacking)} graph, {bundle.folder} has none; export it again")
        runtime = self.manifest.runtime
        self.columns = tuple(runtime.get("columns", runtime["sources"]["values"]))
        self._sessions = Sessions(bundle, threads)
        for use in ("step", "sequence"):  # loaded now, so that a broken bundle fails now
            self._sessions(use)
        step = self.manifest.graphs["step"]
        match [step.inputs[1].shape, step.outputs[0].shape]:
            case [(int(layers), str(), int(hidden)), (str(), int(horizon), int(features))]:
                self._layers, self._hidden, self.horizon, self.features = layers, hidden, horizon, features
            case shapes:
                raise UserError(
                    f'state and forecast must be (layers, "batch", hidden) and ("batch", horizon, features), those of '
                    f"{bundle.folder} are {shapes}; export it again"
                )

    def forecast(self, values: ArrayLike, steps: int | None = None) -> Array:
        """Forecast the steps after a history.

        >>> textrnn.load("runs/series").forecast([100, 103, 105, 107], steps=5).shape
        (5, 1)

        Args:
            values: history ``(time, features)``, or ``(time,)`` for one feature, the latest last. A longer history
                gives a better forecast, as far back as the model remembers.
            steps: number of steps to forecast; None: `horizon`. For more steps, the model reads its own forecasts as
                history, one horizon at a time.

        Returns:
            Forecast, float32 ``(steps, features)``.

        Raises:
            UserError: there are no values, they are not finite numbers, or their number of features is not the model's.
        """
        steps = self.horizon if steps is None else steps
        require_whole_number("steps", steps, 1, f"the model predicts {self.horizon} at once")
        parts: list[Array] = []
        history, state = self._checked(values, "the history"), self.initial_state(1)
        while len(parts) * self.horizon < steps:
            for predicted, after in self._parts(parts[-1] if parts else history, state):
                latest, state = predicted[-1], after
            parts.append(latest)
        return np.concatenate(parts)[:steps]

    def forecasts(self, values: ArrayLike) -> Array:
        """Forecast after each step of a series ``(time, features)`` or ``(time,)``.

        Returns:
            Forecasts, float32 ``(time, horizon, features)``.

        Raises:
            UserError: the conditions of `forecast`.
        """
        series = self._checked(values, "the series")
        return np.concatenate([predicted for predicted, _ in self._parts(series, self.initial_state(1))])

    def step(self, values: ArrayLike, state: Array) -> tuple[Array, Array]:
        """Read one step of each series in a batch.

        Args:
            values: one step of each series, ``(batch, features)``.
            state: float32 ``(layers, batch, hidden)``; `initial_state` before the first step.

        Returns:
            Forecasts, float32 ``(batch, horizon, features)``, and the next state.

        Raises:
            UserError: the values are not finite numbers, their number of features is not the model's, or the state has
                another shape.
        """
        vectors = self._checked(values, "the step")
        state = checked_state(state, self.initial_state(len(vectors)))
        forecast, state = self._sessions("step").run(["forecast", "next_state"], {"vectors": vectors, "state": state})
        return forecast, state

    def initial_state(self, batch: int) -> Array:
        """Return the state before the first step: zeros, float32 ``(layers, batch, hidden)``."""
        return np.zeros((self._layers, batch, self._hidden), np.float32)

    def _parts(self, values: Array, state: Array) -> Iterator[tuple[Array, Array]]:
        """Yield forecasts ``(time, horizon, features)`` for chunks of steps, and the state after each chunk."""
        at_once = max(1, READ_AT_ONCE // (self.horizon * self.features))
        for begin in range(0, len(values), at_once):
            feeds = {"vectors": values[None, begin : begin + at_once], "state": state}
            forecast, state = self._sessions("sequence").run(["forecast", "next_state"], feeds)
            yield forecast[0], state

    def _checked(self, values: ArrayLike, place: str) -> Array:
        """Return values as float32 ``(steps, features)``; raise a UserError if they are not valid."""
        array = to_numbers(values, place).astype(np.float32)
        if array.ndim == 1 and self.features == 1:
            array = array[:, None]
        if array.ndim != 2 or not len(array):
            raise UserError(
                f"values must be (time, features) of a step or more, {place} is {array.shape}; the model reads "
                f"{self.features} values a step"
            )
        require_width(array, self.features, place)
        return array
