"""The workers that train one model together, from `TF_CONFIG` in the environment, the convention of tf.distribute.

::

    TF_CONFIG='{"cluster": {"worker": ["one:12345", "two:12345"]}, "task": {"type": "worker", "index": 0}}'

All workers have the same list; each has its own index.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from textrnn.errors import UserError

VARIABLE = "TF_CONFIG"
EXAMPLE = '{"cluster": {"worker": ["one:12345", "two:12345"]}, "task": {"type": "worker", "index": 0}}'


@dataclass(frozen=True)
class Cluster:
    """A list of workers, and the index of this process in it."""

    workers: tuple[str, ...]
    """``host:port`` of each worker."""
    index: int
    chiefs: int = 0
    """Number of workers, at the start of the list, that are listed as "chief" instead of "worker"."""

    @property
    def is_chief(self) -> bool:
        """Whether this worker writes the run folder; only the first worker does."""
        return self.index == 0

    @property
    def index_on_host(self) -> int:
        """Number of earlier workers on this worker's host, so that each can take a GPU of its own."""
        host, _, _ = self.workers[self.index].rpartition(":")
        return sum(worker.rpartition(":")[0] == host for worker in self.workers[: self.index])

    def number(self, job: str, task: int) -> int:
        """Return the worker index of a task in one of the two lists."""
        return task + (self.chiefs if job == "worker" else 0)


def cluster_of(environment: Mapping[str, str]) -> Cluster | None:
    """Return the cluster that an environment names; None if it names none, or one with a single worker.

    Raises:
        UserError: the value is not a valid cluster of workers, or its task is not in the cluster.
    """
    stated = environment.get(VARIABLE, "").strip()
    if not stated:
        return None
    try:
        document = json.loads(stated)
        jobs, task = dict(document.get("cluster") or {}), dict(document.get("task") or {})
        if not jobs:
            return None
        workers = [(kind, number) for kind in ("chief", "worker") for number in range(len(jobs.get(kind, [])))]
        addresses = tuple(str(address) for kind in ("chief", "worker") for address in jobs.get(kind, []))
        if set(jobs) - {"chief", "worker"}:
            raise ValueError(f"jobs {sorted(jobs)}")
        index = workers.index((task["type"], task["index"]))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{VARIABLE} must name workers and which of them this is, was: {stated[:300]} ({error}); say, of two"
            f" machines, {EXAMPLE}"
        ) from error
    return Cluster(addresses, index, len(jobs.get("chief", []))) if len(addresses) > 1 else None
