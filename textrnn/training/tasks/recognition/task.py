"""Recognition of speech: learns the transcripts of recordings, some of which are held out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from textrnn.config import Config, DataConfig
from textrnn.data.audio.sources import Labelled, with_sample_rate
from textrnn.data.audio.transcripts import (
    TranscribedDataset,
    find_transcripts,
    is_held_out,
    open_transcripts,
    transcript_columns,
    transcript_paths,
    transcripts_fingerprint,
    write_transcripts,
)
from textrnn.data.labels import describe
from textrnn.tokenizers import train_tokenizer
from textrnn.training.loop.run import Run
from textrnn.training.loop.small_data import fit_to_records, fitted
from textrnn.training.tasks.moves import Move, moves_of_vectors
from textrnn.training.tasks.task import Digests, Prepared, Task
from textrnn.training.tasks.tokenizer import kept_tokenizer
from textrnn.training.tasks.vector_task import default_cepstra

if TYPE_CHECKING:
    from textrnn.training.distributed.distribution import Distribution
    from textrnn.training.loop.trainer import Trainer


class Recognition(Task):
    """Learns the text that is said in a recording."""

    name, reads, model = "recognition", "audio", "recognizer"
    answers = "text"

    def defaults(self, stated: Mapping[str, Any]) -> Mapping[str, Any]:
        return {
            "data": {"reads": "audio"},
            "model": {
                "hidden_dim": 128,
                "layers": 2,
                "recurrence": "rotation",
                "activation": "linear",
                "mixing": "glu",
                "normalization": "layer",
                "bidirectional": True,
                "memory": 20.0,
                "dropout": 0.3,
                "frame_stack": 3,
                "cepstra": default_cepstra(stated.get("data")),
            },
            "train": {"batch_size": 16, "learning_rate": 4e-3, "weight_decay": 0.05},
        }

    def find_columns(self, data: DataConfig) -> tuple[DataConfig, Sequence[str]]:
        return with_sample_rate(data)

    def digest(self, run: Run, sources: tuple[str, ...]) -> str:
        return transcripts_fingerprint(sources, run.config.data)

    def prepare(self, run: Run, digests: Digests) -> Prepared:
        data = run.config.data
        skipped = Counter[str]()

        @cache
        def parts() -> list[list[tuple[int, Labelled]]]:
            found = find_transcripts(data.source, transcript_columns(data), skipped)
            if data.validation:
                return [list(enumerate(found))]
            chosen = is_held_out(found, data.held_out)
            return [[each for each in enumerate(found) if chosen[each[0]] == part] for part in (False, True)]

        def texts() -> list[str]:
            return [recording.label for _, recording in parts()[0]]

        tokenizer = kept_tokenizer(run, lambda _: train_tokenizer("char", texts()))

        def prepared(name: str, sources: tuple[str, ...], held_out: bool, found: Any, scaling: Any = None) -> Any:
            fingerprint = digests.get(name) or self.digest(run, sources)
            stack = run.config.model.frame_stack
            given = scaling and [array.tolist() for array in scaling]
            decides = [fingerprint, tokenizer.fingerprint, held_out and data.held_out, stack, given]
            paths = transcript_paths(run.folder / "data", decides, held_out)
            return open_transcripts(paths) or write_transcripts(
                paths, found(), data, tokenizer, stack, skipped, fingerprint, scaling, run.quiet
            )

        made = prepared("data.source", data.source, not data.validation, parts)
        if data.validation:
            skipped.clear()
            scaling = made[0].mean, made[0].scale
            made += prepared(
                "data.validation",
                data.validation,
                False,
                lambda: [list(enumerate(find_transcripts(data.validation, transcript_columns(data), skipped)))],
                scaling,
            )
        return Prepared(tokenizer, tuple(made))

    def notes(self, prepared: Prepared) -> Sequence[str]:
        train: TranscribedDataset = prepared.parts[0]
        return [f"left out: {describe(train.skipped)}"] if train.skipped else []

    def trainer(self, run: Run, prepared: Prepared, distribution: Distribution) -> Trainer:
        from textrnn.training.tasks.recognition.trainer import RecognizerTrainer

        if prepared.tokenizer is None:
            raise TypeError("recognition has a tokenizer")
        train, held_out = prepared.parts
        config = fit_to_records(run.config, self.default_config(), len(train), distribution.replicas)
        run = fitted(run, config, f"{len(train):,} training recordings", distribution.is_chief)
        return RecognizerTrainer(run, prepared.tokenizer, train, held_out, distribution)

    def moves(self, config: Config) -> Sequence[Move]:
        return moves_of_vectors(config)

    def what_to_try(self, folder: str) -> str:
        return f"textrnn transcribe {folder} RECORDING.wav"
