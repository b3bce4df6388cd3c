"""Recognised texts beside transcripts: word and character error rates, and the report of a training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from textrnn.errors import UserError
from textrnn.files import write_atomically
from textrnn.metrics.text_to_text import edit_distance


def compare_transcripts(targets: Sequence[str], outputs: Sequence[str]) -> dict[str, int | float]:
    """Compare recognised texts with transcripts.

    Returns:
        ``recordings``; ``word_error_rate`` and ``character_error_rate``, the edit distance over the number of words or
        characters of all transcripts, above 1 where more is inserted than said; ``exact_match``, the share of texts
        without an error.

    Raises:
        UserError: there is no recording.
    """
    if not targets:
        raise UserError("recordings are needed to evaluate on, there are none; give another SOURCE")
    pairs = [(" ".join(one.split()), " ".join(other.split())) for one, other in zip(targets, outputs, strict=True)]
    words = [(one.split(" "), other.split()) for one, other in pairs]
    return {
        "recordings": len(pairs),
        "word_error_rate": sum(edit_distance(*each) for each in words) / sum(len(one) for one, _ in words),
        "character_error_rate": sum(edit_distance(*each) for each in pairs) / max(1, sum(len(one) for one, _ in pairs)),
        "exact_match": sum(one == other for one, other in pairs) / len(pairs),
    }


def write_report(folder: Path, figures: Mapping[str, Any], errors: Sequence[Mapping[str, Any]]) -> None:
    """Write ``report.json`` and ``report.txt``.

    Args:
        folder: where they go.
        figures: figures, by name.
        errors: wrongly recognised recordings, each with ``recording``, ``text``, ``output`` and ``score``, the most
            confident first.
    """
    with write_atomically(folder / "report.json") as temporary:
        document = {**figures, "errors": list(errors)}
        temporary.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    lines = [
        f"{name.replace('_', ' '):20} {f'{value:,.4f}' if isinstance(value, float) else value}"
        for name, value in figures.items()
    ]
    if errors:
        lines += ["", "The most confident errors: recording, text, recognised, mean log-probability of a character"]
        lines += ["\t".join(map(str, each.values())) for each in errors]
    with write_atomically(folder / "report.txt") as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
