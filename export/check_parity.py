"""Check that the graphs of a bundle compute the same as the trained Keras model; exit with 1 if they do not.

python export/check_parity.py runs/demo                      the run's own bundle
python export/check_parity.py runs/demo --bundle elsewhere
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from textrnn.bundle import Bundle, find_bundle, read_bundle
from textrnn.errors import UserError
from textrnn.training.tasks.runs import open_run
from textrnn.training.tensorflow_setup import import_tensorflow


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="a run folder, which holds the trained weights")
    parser.add_argument("--bundle", type=Path, help="the bundle to check (default: RUN/bundle)")
    arguments = parser.parse_args(argv)
    try:
        what, difference = largest_difference(arguments.run, arguments.bundle)
        print(f"largest difference of a {what}: {difference:.3g}")
    except UserError as error:
        print(f"check_parity: {error}", file=sys.stderr)
        return 1
    return 0


def largest_difference(folder: Path, bundle_folder: Path | None) -> tuple[str, float]:
    """Compute the largest difference between a bundle and its Keras model on random and on held-out sequences.

    Returns:
        Name of the compared output, and the largest difference of any logit or state. For a bundle without logits it is
        the difference of standardised values.

    Raises:
        UserError: the difference is above the tolerance, the bundle is damaged, or its weights are int8, which always
            differ.
    """
    bundle = read_bundle(find_bundle(bundle_folder or folder))
    if bundle.manifest.precision != "float32":
        raise UserError(
            f"parity is checked for float32 bundles, {bundle.folder} is {bundle.manifest.precision};"
            " its manifest says what 8 bits cost"
        )
    run = open_run(folder, quiet=True)
    import_tensorflow()
    from textrnn.training.tasks.table import trainer_of

    trainer = trainer_of(run)
    trainer.best_weights()
    return "logit" if "logits" in _outputs(bundle) else "standardised value", trainer.exporter().check(bundle)


def _outputs(bundle: Bundle) -> set[str]:
    return {tensor.name for graph in bundle.manifest.graphs.values() for tensor in graph.outputs}


if __name__ == "__main__":
    sys.exit(main())
