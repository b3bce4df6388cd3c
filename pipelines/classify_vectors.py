"""Stage 6 of a run that reads vectors: predict the labels or values of some held-out sequences, beside the true ones.

python pipelines/classify_vectors.py configs/digits_rows.toml --out runs/digits_rows
"""

from __future__ import annotations

import json
import sys

from stage import stage

import textrnn
from textrnn.errors import UserError
from textrnn.training.loop.run import Run
from textrnn.training.tasks.table import prepare

SEQUENCES = 5


@stage
def main(run: Run) -> int:
    if run.config.data.reads != "vectors":
        raise UserError(f"this stage is for vectors, the run reads {run.config.data.reads}; use classify_text.py")
    small = run.folder / "bundle-int8"
    model = textrnn.load(small if small.exists() else run.folder)
    _, held_out = prepare(run).parts
    sequences = [held_out.sequence(index) for index in range(min(SEQUENCES, len(held_out)))]
    records = (held_out.records[: len(sequences)] + 1).tolist()
    if run.config.task == "classification":
        predictions = [prediction.to_dict() for prediction in model.classify(sequences, arranged=True)]
        true = [held_out.labels[target] for target in held_out.targets[: len(sequences)]]
    else:
        predictions = [{"values": values} for values in model.predict(sequences, arranged=True).tolist()]
        true = held_out.targets[: len(sequences)].tolist()
    for record, facts, truth in zip(records, predictions, true, strict=True):
        print(json.dumps({"record": record, **facts, "true": truth}, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
