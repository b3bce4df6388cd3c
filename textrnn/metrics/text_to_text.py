"""Outputs of translators beside the targets: exact matches, token errors by edit distance, and BLEU and chrF."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from textrnn.errors import UserError
from textrnn.files import write_atomically


def edit_distance(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    """Return the least number of tokens to insert, delete or replace to make one sequence the other (Levenshtein)."""
    before = np.arange(len(other) + 1)
    places = np.arange(len(other) + 1)
    for number, token in enumerate(one, 1):
        changed = before[:-1] + np.array([token != each for each in other], np.int64)
        row = np.concatenate([[number], np.minimum(changed, before[1:] + 1)])
        before = np.minimum.accumulate(row - places) + places  # insertions, from left to right
    return int(before[-1])


def compare_tokens(
    targets: Sequence[Sequence[Hashable]], outputs: Sequence[Sequence[Hashable]]
) -> dict[str, int | float]:
    """Compare outputs with targets, both as tokens.

    Returns:
        ``pairs``; ``exact_match``, the share of outputs that equal their target; ``error_rate``, the share of those
        that do not, the word error rate where a text is a word; ``token_error_rate``, the edit distance over the number
        of tokens of the targets.

    Raises:
        UserError: there is no pair.
    """
    if not targets:
        raise UserError("pairs are needed to evaluate on, there are none; give another SOURCE")
    exact = sum(list(one) == list(other) for one, other in zip(targets, outputs, strict=True)) / len(targets)
    edits = sum(edit_distance(one, other) for one, other in zip(targets, outputs, strict=True))
    return {
        "pairs": len(targets),
        "exact_match": exact,
        "error_rate": 1.0 - exact,
        "token_error_rate": edits / max(1, sum(map(len, targets))),
    }


def evaluate_pairs(
    pairs: Sequence[tuple[str, str]],
    transform: Callable[[list[str]], list[str]],
    tokens_of: Callable[[str], list[str]],
) -> dict[str, Any]:
    """Compare the outputs of a model with targets. A source with several targets counts once, by the nearest of them.

    Args:
        pairs: sources and targets.
        transform: the model.
        tokens_of: tokens of a target text, for the token error rate.

    Returns:
        the figures of `compare_tokens` and, if sacrebleu is installed, ``bleu`` and ``chrf``.

    Raises:
        UserError: there is no pair.
    """
    targets = dict[str, list[str]]()
    for source, target in pairs:
        targets.setdefault(source, []).append(target)
    outputs = transform(list(targets))
    nearest, found = list[list[str]](), list[list[str]]()
    for output, several in zip(outputs, targets.values(), strict=True):
        tokens = tokens_of(output)
        found.append(tokens)
        nearest.append(min((tokens_of(each) for each in several), key=lambda target: edit_distance(target, tokens)))
    return {**compare_tokens(nearest, found), **compare_texts(list(targets.values()), outputs)}


def compare_texts(targets: Sequence[Sequence[str]], outputs: Sequence[str]) -> dict[str, float]:
    """Return BLEU and chrF of output texts; nothing if the package sacrebleu is not installed.

    Args:
        targets: right texts of each output: one or several.
        outputs: the outputs.
    """
    try:
        import sacrebleu
    except ImportError:
        return {}
    most = max(map(len, targets))
    # A reference stream for each number; a missing one is None, which sacrebleu skips.
    streams: Any = [[each[number] if number < len(each) else None for each in targets] for number in range(most)]
    chinese = any("\u4e00" <= character <= "\u9fff" for each in targets[:100] for character in each[0])
    bleu = sacrebleu.corpus_bleu(list(outputs), streams, tokenize="zh" if chinese else "13a")
    return {"bleu": bleu.score, "chrf": sacrebleu.corpus_chrf(list(outputs), streams).score}


def write_report(folder: Path, figures: Mapping[str, Any], errors: Sequence[Mapping[str, Any]]) -> None:
    """Write ``report.json`` and ``report.txt``.

    Args:
        folder: where they go.
        figures: figures, by name.
        errors: wrong outputs, each with ``source``, ``target``, ``output`` and ``score``, the most confident first.
    """
    with write_atomically(folder / "report.json") as temporary:
        document = {**figures, "errors": list(errors)}
        temporary.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    lines = [
        f"{name.replace('_', ' '):20} {value:,.4f}"
        if isinstance(value, float)
        else f"{name.replace('_', ' '):20} {value}"
        for name, value in figures.items()
    ]
    if errors:
        lines += ["", "The most confident wrong outputs: source, target, output, mean log-probability of a token"]
        lines += [f"{each['source']}\t{each['target']}\t{each['output']}\t{each['score']:.3f}" for each in errors]
    with write_atomically(folder / "report.txt") as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def draw_alignment(
    source: Sequence[str], output: Sequence[str], weights: Sequence[Sequence[float]], path: Path
) -> None:
    """Draw the attention of each output token to each source token as a picture, a PNG.

    Raises:
        UserError: matplotlib is missing, or the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("a picture needs matplotlib, it is missing; run: pip install matplotlib") from error
    from textrnn.fonts import installed_fonts

    families, _ = installed_fonts("DejaVu Sans")
    figure = Figure(figsize=(1.5 + 0.35 * len(source), 1 + 0.3 * len(output)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(np.array(weights).reshape(len(output), len(source)), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(source)), source, fontfamily=families, rotation=90 if max(map(len, source)) > 2 else 0)
    axes.set_yticks(range(len(output)), output, fontfamily=families)
    axes.set(xlabel="source", ylabel="output")
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    with write_atomically(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
