"""Data-parallel training: the rows of a batch that each replica reads, and the communication between replicas.

A replica reads some of the rows of each batch. It is a GPU of this machine (`tf.distribute.MirroredStrategy`), or one
worker of a cluster (`tf.distribute.MultiWorkerMirroredStrategy`). Each replica carries the state of its own rows. The
gradients are averaged over all replicas, and every replica makes the same update of the same weights. The result is
that of one process.

Workers of a cluster hold plain variables. They are equal in all workers, because they start as the chief's and get the
same updates; the strategy only handles the communication. Workers therefore use the compiled update of a single
process. With several GPUs in one process, the variables belong to the strategy.
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

# Errors of TensorFlow when another worker is lost, or when a collective was cancelled for that reason.
LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)
REMOTE = re.compile(r"/job:(\w+)/replica:\d+/task:(\d+)")  # the worker that an error message names


class WorkerLost(UserError):
    """The error for another worker that no longer responds."""


class Distribution:
    """The replicas that train one model.

    Args:
        strategy: strategy of tf.distribute; None for one device.
        cluster: the workers, if there are several; each has one replica.

    Attributes:
        replicas: number of replicas.
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
        """Return the context in which variables must be created."""
        return self._strategy.scope() if self.is_mirrored else nullcontext()

    # Rows

    def require_divisible(self, batch_size: int) -> None:
        """Raise an error if replicas cannot share a global batch evenly.

        Raises:
            UserError: the batch size is not a multiple of the number of replicas.
        """
        if batch_size % self.replicas:
            below, above = (batch_size // self.replicas + more for more in (0, 1))
            near = " or ".join(str(rows * self.replicas) for rows in (below, above) if rows)
            raise UserError(
                f"train.batch_size is shared by {self.replicas} replicas and must be a multiple of that, was: "
                f"{batch_size}; {near} is"
            )

    def rows(self, array: Any, axis: int = 0) -> Tensor:
        """Return the rows of an array ``(..., batch, ...)`` for each replica of this process.

        An array without a batch axis is returned whole.
        """
        if self.replicas == 1 or np.ndim(array) <= axis:
            return tf.constant(array)
        parts = np.split(np.asarray(array), self.replicas, axis)
        if self._cluster:
            return tf.constant(parts[self._cluster.index])
        return self._strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(parts[context.replica_id_in_sync_group])
        )

    def all_rows(self, value: Tensor, axis: int = 0) -> NDArray[Any]:
        """Gather the rows of all replicas from a value like that of `rows`; every worker must call it."""
        mine = self._strategy.experimental_local_results(value)[0]
        if self.replicas == 1 or len(mine.shape) <= axis:
            return np.asarray(mine)
        return np.asarray(self._strategy.gather(value, axis))

    def of_replica(self, array: Tensor, axis: int) -> Tensor:
        """Return the calling replica's rows of a tensor ``(..., global batch, ...)`` within a step."""
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
        """Return the means of loss and gradients over all replicas, within a step.

        One message carries all of them and the requests that `ask` set.
        """
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
        """Set this worker's requests before a step: any worker can request a stop, only the chief a checkpoint."""
        if self._asked is not None:
            self._asked.assign([float(stop), float(save and self.is_chief)])

    def answer(self, stop: bool, save: bool) -> tuple[bool, bool]:
        """Return, after a step, whether all workers stop and whether they save.

        A single process gets its own requests.
        """
        if self._answers is None:
            return stop, save
        answer = self._answers.numpy()
        return bool(answer[0] > 0), bool(answer[1] > 0)

    # Communication of workers: all must call these methods in the same order

    def gather_text(self, text: str) -> list[str]:
        """Return a text from each worker, in the order of workers."""
        if self._cluster is None:
            return [text]
        codes = np.frombuffer(text.encode(), np.uint8).astype(np.int32)
        lengths = np.asarray(self._strategy.gather(tf.constant([len(codes)]), 0))
        padded = np.zeros((1, max(1, lengths.max())), np.int32)
        padded[0, : len(codes)] = codes
        rows = np.asarray(self._strategy.gather(tf.constant(padded), 0)).astype(np.uint8)
        return [row[:length].tobytes().decode() for row, length in zip(rows, lengths, strict=True)]

    def broadcast(self, array: Any) -> NDArray[Any]:
        """Return the chief's array; the arrays of other workers must have its shape and dtype."""
        own: NDArray[Any] = np.asarray(array)
        if self._cluster is None:
            return own
        given = tf.constant(own if self.is_chief else np.zeros_like(own))
        return np.asarray(self._strategy.reduce(tf.distribute.ReduceOp.SUM, given, axis=None))

    def chief_first(self, work: Callable[[], T], then: Callable[[], T]) -> T:
        """Return the result of `work` at the chief and, once that is done, the result of `then` at the other workers.

        Raises:
            UserError: the chief's work failed; raised at every worker.
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
        """Replace TensorFlow's long error by one line when another worker is lost.

        Args:
            resume: advice at the end of the line.

        Raises:
            WorkerLost: another worker is lost.
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
        """Raise an error if the workers would not train the same model.

        Args:
            facts: values that must be equal, JSON values by name.

        Raises:
            UserError: a value of some worker differs from the chief's; raised at every worker.
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


ALONE = Distribution()
"""One device of one process."""


def of_this_process() -> Distribution:
    """Return a distribution with one replica for each visible GPU, or one replica if there is at most one GPU."""
    if len(tf.config.list_logical_devices("GPU")) > 1:
        return Distribution(tf.distribute.MirroredStrategy())
    return Distribution()


def join(cluster: Cluster) -> Distribution:
    """Join the other workers, and return when all have joined; nothing may be computed before.

    A worker takes one GPU, the first one that no other worker of its host has.

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
    # Replace TensorFlow's own handler, which only records the signal.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return Distribution(strategy, cluster)
