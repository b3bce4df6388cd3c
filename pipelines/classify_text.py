"""Stage 6 of a classifier: predict the labels of some held-out texts, and explain the first.

python pipelines/classify_text.py configs/sentiment.toml --out runs/sentiment
"""

from __future__ import annotations

import sys

from stage import stage

from textrnn.cli import main as textrnn
from textrnn.data.labelled_texts import texts_of_records
from textrnn.data.records import labelled_options
from textrnn.errors import UserError
from textrnn.training.loop.run import Run
from textrnn.training.tasks.table import prepare

TEXTS = 5


@stage
def main(run: Run) -> int:
    if run.config.data.reads == "vectors":
        raise UserError("this stage is for texts, the run reads vectors; use classify_vectors.py")
    small = run.folder / "bundle-int8"
    model = str(small if small.exists() else run.folder)
    data = run.config.data
    _, held_out = prepare(run).parts
    records = held_out.records[:TEXTS].tolist()
    texts = list(texts_of_records(data.validation or data.source, labelled_options(data), records).values())
    return textrnn(["classify", model, "--", *texts]) or textrnn(["classify", model, "--why", "--", texts[0]])


if __name__ == "__main__":
    sys.exit(main())
