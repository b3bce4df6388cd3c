"""Training by several replicas: which rows of a batch each reads, and what all of them agree on.

A replica is what reads some of the rows of each batch: a GPU of this machine (`tf.distribute.MirroredStrategy`), or one
worker of a cluster (`tf.distribute.MultiWorkerMirroredStrategy`). Each carries the state of its own rows, gradients are
averaged over all, and every replica makes the same update of the same weights: the result is that of one process.

Workers of a cluster hold plain variables, equal in all because they begin as the chief's and are updated by the same
numbers; the strategy is what they meet through. So their update is the compiled one of a single process, whereas the
variables of several GPUs of one process are the strategy's.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from textrnn.errors import UserError
from textrnn.training.distributed.cluster import Cluster

T = TypeVar("T")
Tensor = Any

# Messages of TensorFlow when another worker is gone, or a collective was cancelled because of it.
LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)
REMOTE = re.compile(r"/job:(\w+)/replica:\d+/task:(\d+)")  # the worker that a message is about


class WorkerLost(UserError):
    """Another worker cannot be reached any more."""


class Distribution:
    """The replicas that train one model.

    Args:
        strategy: of tf.distribute; None for one device.
        cluster: the workers, if there are several; each has one replica.

    Attributes:
        replicas: how many there are.
        is_chief: whether this process writes files.
    """

    def __init__(self, strategy: tf.distribute.Strategy | None = None, cluster: Cluster | None = None) -> None:
        self._strategy = strategy or tf.distribute.get_strategy()
        self._cluster = cluster
        self.replicas: int = self._strategy.num_replicas_in_sync
        self.is_chief = cluster is None or cluster.is_chief
        self._asked = tf.Variable(np.zeros(2, np.float32)) if cluster else None
        self._answers = tf.Variable(np.zeros(2, np.float32)) if cluster else None

    @property
    def has_workers(self) -> bool:
        """Whether there are several processes."""
        return self._cluster is not None

    @property
    def is_mirrored(self) -> bool:
        """Whether this process has several replicas, so that a variable has a copy on each."""
        return self.replicas > 1 and self._cluster is None

    def scope(self) -> AbstractContextManager[Any]:
        """Where variables are made."""
        return self._strategy.scope() if self.is_mirrored else nullcontext()

    # Rows

    def require_divisible(self, batch_size: int) -> None:
        """Refuse a global batch that replicas cannot share evenly.

        Raises:
            UserError: they do not divide it.
        """
        if batch_size % self.replicas:
            below, above = (batch_size // self.replicas + more for more in (0, 1))
            near = " or ".join(str(rows * self.replicas) for rows in (below, above) if rows)
            raise UserError(
                f"train.batch_size is shared by {self.replicas} replicas and must be a multiple of that, was: "
                f"{batch_size}; {near} is"
            )

    def rows(self, array: Any, axis: int = 0) -> Tensor:
        """Of an array ``(..., batch, ...)``, what each replica of this process reads; one without rows is kept."""
        if self.replicas == 1 or np.ndim(array) <= axis:
            return tf.constant(array)
        parts = np.split(np.asarray(array), self.replicas, axis)
        if self._cluster:
            return tf.constant(parts[self._cluster.index])
        return self._strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(parts[context.replica_id_in_sync_group])
        )

    def all_rows(self, value: Tensor, axis: int = 0) -> NDArray[Any]:
        """The rows of all replicas of what `rows` gave or a step made of it; every worker must ask."""
        mine = self._strategy.experimental_local_results(value)[0]
        if self.replicas == 1 or len(mine.shape) <= axis:
            return np.asarray(mine)
        return np.asarray(self._strategy.gather(value, axis))

    def of_replica(self, array: Tensor, axis: int) -> Tensor:
        """Within a step: of a tensor ``(..., global batch, ...)``, the rows of the replica that asks."""
        if self.replicas == 1:
            return array
        size = array.shape[axis] // self.replicas
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        begin = tf.one_hot(axis, array.shape.rank, replica * size, 0, dtype=tf.int32)
        shape = array.shape.as_list()
        shape[axis] = size
        return tf.slice(array, begin, shape)

    # Steps

    def run(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """Call a function for each replica of this process."""
        return function(*arguments) if self.replicas == 1 else self._strategy.run(function, arguments)

    def mean(self, loss: Tensor, gradients: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Within a step: the means over all replicas, in one message; what workers ask each other travels with it."""
        if self.replicas == 1:
            return loss, gradients
        local = self._strategy.experimental_local_results
        shapes = [local(gradient)[0].shape for gradient in gradients]
        total = self._strategy.reduce(tf.distribute.ReduceOp.SUM, self.run(self._pack, (loss, gradients)), axis=None)
        *flat, loss, answer = tf.split(total, [*(shape.num_elements() for shape in shapes), 1, 2])
        if self._answers is not None:
            self._answers.assign(answer)
        means = [tf.reshape(each, shape) / self.replicas for each, shape in zip(flat, shapes, strict=True)]
        return loss[0] / self.replicas, means

    def _pack(self, loss: Tensor, gradients: list[Tensor]) -> Tensor:
        asked = tf.zeros(2) if self._asked is None else self._asked.read_value()
        return tf.concat([*(tf.reshape(gradient, [-1]) for gradient in gradients), [loss], asked], 0)

    def ask(self, stop: bool, save: bool) -> None:
        """Before a step: what this worker wants after it. Every one may stop all, the chief alone says when to save."""
        if self._asked is not None:
            self._asked.assign([float(stop), float(save and self.is_chief)])

    def answer(self, stop: bool, save: bool) -> tuple[bool, bool]:
        """After a step: whether all stop now, and whether they save; alone, what is wanted now."""
        if self._answers is None:
            return stop, save
        answer = self._answers.numpy()
        return bool(answer[0] > 0), bool(answer[1] > 0)

    # Agreement of workers; every one must call these, in the same order

    def gather_text(self, text: str) -> list[str]:
        """A text of each worker, in their order."""
        if self._cluster is None:
            return [text]
        codes = np.frombuffer(text.encode(), np.uint8).astype(np.int32)
        lengths = np.asarray(self._strategy.gather(tf.constant([len(codes)]), 0))
        padded = np.zeros((1, max(1, lengths.max())), np.int32)
        padded[0, : len(codes)] = codes
        rows = np.asarray(self._strategy.gather(tf.constant(padded), 0)).astype(np.uint8)
        return [row[:length].tobytes().decode() for row, length in zip(rows, lengths, strict=True)]

    def broadcast(self, array: Any) -> NDArray[Any]:
        """The chief's array; those of the others must have its shape and type."""
        own: NDArray[Any] = np.asarray(array)
        if self._cluster is None:
            return own
        given = tf.constant(own if self.is_chief else np.zeros_like(own))
        return np.asarray(self._strategy.reduce(tf.distribute.ReduceOp.SUM, given, axis=None))

    def chief_first(self, work: Callable[[], T], then: Callable[[], T]) -> T:
        """What the chief's `work` gives, and when that is done, for the others what `then` gives.

        Raises:
            UserError: the chief's, at every worker.
        """
        if self._cluster is None:
            return work()
        failure, result = None, None
        if self.is_chief:
            try:
                result = work()
            except UserError as error:
                failure = error
        answer = self.gather_text(str(failure or ""))[0]
        if failure:
            raise failure
        if answer:
            raise UserError(f"worker 0 could not go on: {answer}")
        return result if self.is_chief else then()  # type: ignore[return-value]

    @contextmanager
    def explain_lost_workers(self, resume: str) -> Iterator[None]:
        """Raise one line when another worker is gone, where TensorFlow prints many.

        Args:
            resume: what to do, at the end of the line.

        Raises:
            WorkerLost: instead of what TensorFlow raises.
        """
        try:
            yield
        except tf.errors.OpError as error:
            found = REMOTE.search(error.message)
            if self._cluster is None or not (found or isinstance(error, LOST)):
                raise
            who = f"worker {self._cluster.number(found[1], int(found[2]))}" if found else "another worker"
            raise WorkerLost(f"all workers must run, {who} does not answer any more; {resume}") from error

    def require_same(self, facts: Mapping[str, Any]) -> None:
        """Refuse workers that would not train the same.

        Args:
            facts: what must be the same, JSON values by name.

        Raises:
            UserError: a fact of some worker is not the chief's; at every worker.
        """
        all_facts = [json.loads(text) for text in self.gather_text(json.dumps(facts))]
        for worker, others in enumerate(all_facts):
            for name, value in all_facts[0].items():
                if others.get(name) != value:
                    raise UserError(
                        f"every worker must train the same, worker {worker} has another {name}, "
                        f"{_short(others.get(name))} instead of worker 0's {_short(value)}; "
                        "give all of them the same command and the same text"
                    )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:97]}..."


_current: list[Distribution] = []


def current() -> Distribution:
    """The distribution that trainers made now belong to: one device, unless `use` says otherwise."""
    return _current[-1] if _current else Distribution()


@contextmanager
def use(distribution: Distribution) -> Iterator[None]:
    """Trainers made in this block are parts of a distribution."""
    _current.append(distribution)
    try:
        yield
    finally:
        _current.pop()


def of_this_process() -> Distribution:
    """One replica for each GPU that is visible; one in all where there is no more than one."""
    if len(tf.config.list_logical_devices("GPU")) > 1:
        return Distribution(tf.distribute.MirroredStrategy())
    return Distribution()


def join(cluster: Cluster) -> Distribution:
    """Meet the other workers; comes back when all are there. Nothing may have been computed before.

    A worker takes one GPU, the first that no other worker of its host has.

    Raises:
        UserError: this worker's address cannot be used.
    """
    if gpus := tf.config.list_physical_devices("GPU"):
        tf.config.set_visible_devices(gpus[cluster.index_on_host % len(gpus)], "GPU")
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except (tf.errors.OpError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"worker {cluster.index} could not join as {cluster.workers[cluster.index]} ({reason}); see that the port"
            " is free and that every worker has the same list"
        ) from error
    # TensorFlow has put a handler of its own in place, which only notes that the signal came.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return Distribution(strategy, cluster)
