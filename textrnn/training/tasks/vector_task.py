"""What tasks over sequences of vectors share: how they are read, split and kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from textrnn.config import Config, DataConfig
from textrnn.data.audio.sources import reading_options
from textrnn.data.labelled_vectors import VectorDataset, prepare_vectors
from textrnn.data.labels import Labels
from textrnn.data.vector_sources import vectors_fingerprint
from textrnn.training.loop.run import Run
from textrnn.training.loop.small_data import fit_to_records, fitted
from textrnn.training.loop.warm_start import classes_before
from textrnn.training.tasks.moves import Move, moves_of_vectors
from textrnn.training.tasks.task import Digests, Prepared, Task

if TYPE_CHECKING:
    from textrnn.training.distributed.distribution import Distribution


class VectorTask(Task):
    """Learns one answer for a whole sequence of vectors."""

    reads = "vectors"

    def defaults(self, stated: Mapping[str, Any]) -> Mapping[str, Any]:
        return {
            "data": {"reads": "vectors"},
            "model": {
                "hidden_dim": 128,
                "layers": 3,
                "recurrence": "rotation",
                "activation": "linear",
                "mixing": "glu",
                "normalization": "layer",
                "pooling": "mean",
            },
            "train": {"learning_rate": 4e-3, "weight_decay": 0.05},
        }

    def digest(self, run: Run, sources: tuple[str, ...]) -> str:
        return vectors_fingerprint(sources, reading_options(run.config.data))

    def prepare(self, run: Run, digests: Digests) -> Prepared:
        data, folder = run.config.data, run.folder / "data"
        options = reading_options(data)
        labels = self.labels(data)
        shared: dict[str, Any] = {"labels": labels, "quiet": run.quiet}
        before = classes_before(run.initial) if labels else ()
        held_out = None if data.validation else data.held_out
        known, known_validation = digests.get("data.source"), digests.get("data.validation")
        train, *rest = prepare_vectors(
            data.source,
            options,
            folder,
            before=before,
            always_before=bool(data.mix),
            held_out=held_out,
            fingerprint=known,
            **shared,
        )
        shared |= {"classes": train.labels or None, "scaling": (train.mean, train.scale)}
        mixed: list[VectorDataset] = []
        if data.validation:
            rest = prepare_vectors(data.validation, options, folder, fingerprint=known_validation, **shared)
        if data.mix:
            known = digests.get("data.mix")
            mixed = prepare_vectors(data.mix, options, folder, held_out=data.held_out, fingerprint=known, **shared)
        return Prepared(None, (train, rest[0], *mixed))

    def labels(self, data: DataConfig) -> Labels | None:
        """Return what the labels mean; None where they are values."""
        return None

    def fitted(self, run: Run, prepared: Prepared, distribution: Distribution) -> Run:
        """Return a run whose batches suit the number of its records."""
        records = len(prepared.parts[0])
        config = fit_to_records(run.config, self.default_config(), records, distribution.replicas)
        return fitted(run, config, f"{records:,} training records", distribution.is_chief)

    def moves(self, config: Config) -> Sequence[Move]:
        return moves_of_vectors(config)

    def what_to_try(self, folder: str) -> str:
        return f"textrnn predict {folder} --input FILE"


def default_cepstra(data: object) -> int:
    """Return the default of `model.cepstra`: 13, or the mel bins if the user states fewer in `data`."""
    mel_bins = data.get("mel_bins") if isinstance(data, Mapping) else None
    return min(13, mel_bins) if isinstance(mel_bins, int) else 13
