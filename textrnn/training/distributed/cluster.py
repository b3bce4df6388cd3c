"""The workers that train one model together, as the environment names them: `TF_CONFIG`, tf.distribute's convention.

::

    TF_CONFIG='{"cluster": {"worker": ["one:12345", "two:12345"]}, "task": {"type": "worker", "index": 0}}'

The list is the same for all workers, the index each worker's own.
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
    """Workers, and which of them this process is."""

    workers: tuple[str, ...]
    """``host:port`` of each."""
    index: int
    chiefs: int = 0
    """How many of them, the first, are listed as "chief", not as "worker"."""

    @property
    def is_chief(self) -> bool:
        """Whether this worker writes the run folder: the first one does, and no other."""
        return self.index == 0

    @property
    def index_on_host(self) -> int:
        """How many workers before this one run on its host, so that each can take a GPU of its own there."""
        host, _, _ = self.workers[self.index].rpartition(":")
        return sum(worker.rpartition(":")[0] == host for worker in self.workers[: self.index])

    def number(self, job: str, task: int) -> int:
        """The index of a task of one of the two lists."""
        return task + (self.chiefs if job == "worker" else 0)


def cluster_of(environment: Mapping[str, str]) -> Cluster | None:
    """The cluster that an environment names; None where it names none, or one of a single worker.

    Raises:
        UserError: what it says is no cluster of workers, or names no task in it.
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
