"""Lazy AdamW for large embeddings: a step costs as many rows as it reads.

A row that a step does not read has a gradient of zero, but AdamW still changes it: its moments shrink, its weights
decay and move by the remaining momentum. These changes depend only on the state of the row at its last update. One
formula therefore applies them all at once, before the row is read again or the whole table is needed. The result is
that of AdamW, except for rounding and for ``epsilon``, which is not scaled as the root of the second moment shrinks.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from textrnn.training.network.products import Tensor

# Lazy updates are worthwhile from this number of rows for each row that a step reads; below, a pass over the whole
# table is as fast.
ROWS_PER_READ = 4
SMALLEST = 2**20  # minimum number of weights in a table


class Table:
    """A table that is updated by rows.

    Attributes:
        variable: the table, ``(rows, n)``.
        place: its place among the trainable variables.
        updates: int32 ``(rows,)``: number of the last update of each row.
    """

    def __init__(self, variable: Any, place: int) -> None:
        self.variable, self.place = variable, place
        self.updates = tf.Variable(tf.zeros(variable.shape[0], tf.int32), trainable=False)


class RowwiseAdamW(keras.optimizers.AdamW):  # type: ignore[misc]
    """AdamW that updates tables by the rows that were read; the gradient of a table is a ``tf.IndexedSlices``.

    After t updates, a row that was last updated at t0, with weights w and moments m, v, has the moments and weights::

        m b1^(t - t0)        v b2^(t - t0)        w D - (D B(t0) - r^(t - t0) B(t)) m / (sqrt(v) + epsilon)

    with ``r = b1 / sqrt(b2)``, ``D`` the product of all ``1 - learning rate * weight decay`` since t0, and ``B`` the
    total movement by momentum in all later updates, ``B(s - 1) = r / (1 - l_s d) * (a_s + B(s))``. Here ``l_s`` is the
    learning rate of update s, ``d`` the weight decay, and ``a_s`` is ``l_s`` with Adam's bias corrections.

    Args:
        rates: the learning rate of every update of the run, ``(updates,)``.
        gradient_clip: the largest norm of the whole gradient.
        settings: keyword arguments of ``keras.optimizers.AdamW``.
    """

    def __init__(self, rates: np.ndarray[Any, Any], gradient_clip: float, **settings: Any) -> None:
        super().__init__(**settings)
        self.gradient_clip = gradient_clip
        self._rates = rates.astype(np.float32)
        self._ratio = self.beta_1 / self.beta_2**0.5
        number = np.arange(1, len(rates) + 1)
        adam = rates * np.sqrt(1 - self.beta_2**number) / (1 - self.beta_1**number)
        kept = 1 - rates * (self.weight_decay or 0.0)
        to_come = np.zeros(len(rates) + 1)
        for update in range(len(rates), 0, -1):
            to_come[update - 1] = self._ratio / kept[update - 1] * (adam[update - 1] + to_come[update])
        self._to_come = to_come
        self._log_kept = np.concatenate([[0.0], np.cumsum(np.log(kept))])
        self._dense_part = tf.function(self._update_dense, autograph=False, jit_compile=True)

    def build_rows(self, variables: list[Any], tables: list[Any]) -> None:
        """Create the moments of all variables, which include `tables`."""
        self.build(variables)
        self.tables = [Table(table, self._get_variable_index(table)) for table in tables]

    @property
    def variables(self) -> list[Any]:
        """All state variables: those of Keras's own property, and the last update of each row."""
        own = list(super().variables)
        return own + [table.updates for table in getattr(self, "tables", [])]

    def sync_rows(self, ids: list[Tensor]) -> None:
        """Apply the pending updates to the rows of the ids, which have any shape, of each table."""
        for table, read in zip(self.tables, ids, strict=True):
            rows, _ = tf.unique(tf.reshape(read, (-1,)))
            w, m, v = (tf.gather(variable, rows) for variable in self._of(table))
            self._scatter(table, rows, *self._caught_up(tf.gather(table.updates, rows), w, m, v))

    def catch_up_all(self) -> None:
        """Apply the pending updates to the whole of each table."""
        for table in self.tables:
            variables = self._of(table)
            now = self._caught_up(table.updates.read_value(), *(variable.read_value() for variable in variables))
            for variable, value in zip(variables, now, strict=True):
                variable.assign(value)
            table.updates.assign(tf.fill(tf.shape(table.updates), tf.cast(self.iterations, tf.int32)))

    def apply_by_rows(self, gradients: list[Any]) -> None:
        """Update all variables from their gradients, in the order of `build_rows`; call `sync_rows` first."""
        places = [table.place for table in self.tables]
        dense = [gradient for place, gradient in enumerate(gradients) if place not in places]
        read = []
        for place in places:
            rows, number = tf.unique(gradients[place].indices)
            read.append((rows, tf.math.unsorted_segment_sum(gradients[place].values, number, tf.shape(rows)[0])))
        number = tf.cast(self.iterations, tf.int32)
        scale = self._dense_part(dense, sum(tf.reduce_sum(tf.square(gradient)) for _, gradient in read))
        rate, step = tf.gather(self._rates, number), tf.cast(number + 1, tf.float32)
        adam = rate * tf.sqrt(1 - self.beta_2**step) / (1 - self.beta_1**step)
        for table, (rows, gradient) in zip(self.tables, read, strict=True):
            gradient = gradient * scale
            w, m, v = (tf.gather(variable, rows) for variable in self._of(table))
            m += (gradient - m) * (1 - self.beta_1)
            v += (tf.square(gradient) - v) * (1 - self.beta_2)
            w = w * (1 - rate * (self.weight_decay or 0.0)) - adam * m / (tf.sqrt(v) + self.epsilon)
            # Only now may the rows be marked as updated, because the table was read above.
            self._scatter(table, rows, w, m, v)

    def _update_dense(self, gradients: list[Tensor], square_of_rows: Tensor) -> Tensor:
        """Update all variables except the table, and return the factor that clips the whole gradient."""
        norm = tf.sqrt(sum((tf.reduce_sum(tf.square(gradient)) for gradient in gradients), square_of_rows))
        scale = self.gradient_clip / tf.maximum(norm, self.gradient_clip)
        places = [table.place for table in self.tables]
        variables = [variable for place, variable in enumerate(self._trainable_variables) if place not in places]
        self.apply([gradient * scale for gradient in gradients], variables)
        return scale

    def _of(self, table: Table) -> list[Any]:
        """Return a table and its two moments."""
        variables = (table.variable, self._momentums[table.place], self._velocities[table.place])
        return [variable.value for variable in variables]

    def _caught_up(self, had: Tensor, w: Tensor, m: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return rows ``(rows, n)`` after all updates so far, from their values after `had` updates, ``(rows,)``."""
        now = tf.cast(self.iterations, tf.int32)
        gap = tf.cast(now - had, tf.float64)
        kept = tf.exp(tf.gather(self._log_kept, now) - tf.gather(self._log_kept, had))
        drift = kept * tf.gather(self._to_come, had) - self._ratio**gap * tf.gather(self._to_come, now)
        kept, drift, first, second = (
            tf.cast(factor, tf.float32)[:, None] for factor in (kept, drift, self.beta_1**gap, self.beta_2**gap)
        )
        return w * kept - drift * m / (tf.sqrt(v) + self.epsilon), m * first, v * second

    def _scatter(self, table: Table, rows: Tensor, *values: Tensor) -> None:
        """Write rows of a table and its moments, and mark them as up to date."""
        for variable, value in zip(self._of(table), values, strict=True):
            variable.scatter_update(tf.IndexedSlices(value, rows))
        now = tf.fill(tf.shape(rows), tf.cast(self.iterations, tf.int32))
        table.updates.scatter_update(tf.IndexedSlices(now, rows))


def is_worthwhile(rows: int, width: int, read: int) -> bool:
    """Return whether updating a table by rows is faster for a step that reads `read` rows."""
    return rows >= ROWS_PER_READ * read and rows * width >= SMALLEST
