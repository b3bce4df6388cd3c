"""Stage 6 of a classifier or regressor: predict labels or values of some held-out records, beside the true ones.

python pipelines/predict_labels.py configs/sentiment.toml --out runs/sentiment
"""

from __future__ import annotations

import json
import sys
from typing import Any

from stage import stage

import textrnn
from textrnn.cli import main as command
from textrnn.data.labelled_texts import TextDataset, texts_of_records
from textrnn.data.labelled_vectors import VectorDataset
from textrnn.data.records import labelled_options
from textrnn.errors import UserError
from textrnn.training.loop.run import Run
from textrnn.training.tasks.table import prepare

RECORDS = 5


@stage
def main(run: Run) -> int:
    held_out = prepare(run).parts[1]
    small = run.folder / "bundle-int8"
    folder = str(small if small.exists() else run.folder)
    if isinstance(held_out, TextDataset):
        data = run.config.data
        wanted = held_out.records[:RECORDS].tolist()
        texts = list(texts_of_records(data.validation or data.source, labelled_options(data), wanted).values())
        return command(["predict", folder, "--", *texts]) or command(["predict", folder, "--why", "--", texts[0]])
    if not isinstance(held_out, VectorDataset):
        raise UserError(f"this stage is for classifiers and regressors, the run is a {run.config.task}; leave it out")
    model = textrnn.load(folder)
    sequences = [held_out.sequence(index) for index in range(min(RECORDS, len(held_out)))]
    targets = held_out.targets[: len(sequences)].tolist()
    predictions: list[dict[str, Any]]
    if held_out.labels:
        predictions = [prediction.to_dict() for prediction in model.classify(sequences, arranged=True)]
        true = [held_out.labels[target] for target in targets]
    else:
        predictions = [{"values": values} for values in model.predict(sequences, arranged=True).tolist()]
        true = targets
    records = (held_out.records[: len(sequences)] + 1).tolist()
    for record, facts, truth in zip(records, predictions, true, strict=True):
        print(json.dumps({"record": record, **facts, "true": truth}, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
