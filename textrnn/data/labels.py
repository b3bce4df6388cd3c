"""Labels of records: their names, their classes, and splits that keep the share of every class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from textrnn.errors import UserError

LIST_SEPARATOR = "\x1f"  # between the labels of a list, as JSON and Hugging Face datasets have them
AUTO = "auto"
SEPARATORS = ("|", ";", ",")
SPLIT_SEED = 0  # the same records are held out whatever the seed of a run, so that runs can be compared


class Labels:
    """Labels of which each is one class.

    Args:
        names: better names of labels, as in ``"0=negative"``.

    Raises:
        UserError: a name is not of this form.
    """

    dtype: ClassVar[type] = np.int32
    """Type of the targets."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.renamed = renaming(names)

    @property
    def decides(self) -> list[Any]:
        """What decides the targets of records, ready for JSON."""
        return [self.renamed]

    def classes(self, labels: Sequence[str], what: str) -> tuple[str, ...]:
        """Return the classes of records, in order.

        Args:
            labels: label of each record.
            what: the records, for messages.

        Raises:
            UserError: there are too few.
        """
        return class_names([self.renamed.get(label, label) for label in labels], what)

    def names(self, labels: Sequence[str]) -> tuple[str, ...]:
        """Return the classes that labels name, in order."""
        return in_order(self.renamed.get(label, label) for label in labels)

    def classes_with(
        self, before: Sequence[str], labels: Sequence[str], what: str, always: bool = False
    ) -> tuple[str, ...]:
        """Return the classes of records for a model that has classes already.

        Args:
            before: classes of the model.
            labels: label of each record.
            what: the records, for messages.
            always: whether the classes of the model are kept in any case.

        Returns:
            the classes of the model, then new ones; those of the records alone if no record has one of the model.

        Raises:
            UserError: there are too few.
        """
        found = self.names(labels)
        if not always and not set(found) & set(before):
            return self.classes(labels, what)
        return (*before, *(name for name in found if name not in before))

    def split(self, labels: Sequence[str], share: float, what: str) -> NDArray[np.bool_]:
        """Return which records are held out, bool ``(records,)``; see `stratified_split`."""
        return stratified_split([self.renamed.get(label, label) for label in labels], share, what)

    def target(self, label: str, places: Mapping[str, int]) -> Any:
        """Return what is learned of a record, None where its label is no class.

        Args:
            label: its label.
            places: number of each class.
        """
        return places.get(self.renamed.get(label, label))

    def require_names(self, labels: Iterable[str]) -> None:
        """Refuse a name for a label that does not occur.

        Args:
            labels: labels of the records.

        Raises:
            UserError: a label that is to be renamed is not among them.
        """
        found = sorted(set(labels))
        if missing := sorted(set(self.renamed) - set(found)):
            raise UserError(
                f"data.label_names must rename labels that occur, which are {', '.join(found)!r:.200}, was: "
                f"'{missing[0]}={self.renamed[missing[0]]}'; correct or remove it"
            )


class MultiLabels(Labels):
    """Labels of records that have any number of classes, or none.

    Args:
        separator: what is between the labels of a record; `AUTO`: the first of `SEPARATORS` that a label has.
        names: better names of labels, as in ``"0=negative"``.
    """

    dtype = np.uint8

    def __init__(self, separator: str = AUTO, names: Sequence[str] = ()) -> None:
        super().__init__(names)
        self.separator = separator

    @property
    def decides(self) -> list[Any]:
        return [self.renamed, self.separator]

    def parts(self, label: str) -> tuple[str, ...]:
        """Return the labels that a cell of the label column holds, each once, in order and without renaming."""
        candidates = (LIST_SEPARATOR, *(SEPARATORS if self.separator == AUTO else (self.separator,)))
        separator = next((mark for mark in candidates if mark in label), LIST_SEPARATOR)
        return tuple(dict.fromkeys(part.strip() for part in label.split(separator) if part.strip()))

    def classes(self, labels: Sequence[str], what: str) -> tuple[str, ...]:
        found = self.names(labels)
        if not found:
            raise UserError(f"a label at least is needed, all {len(labels)} {what} have none; name the label column")
        return found

    def names(self, labels: Sequence[str]) -> tuple[str, ...]:
        return in_order(self.renamed.get(part, part) for label in set(labels) for part in self.parts(label))

    def split(self, labels: Sequence[str], share: float, what: str) -> NDArray[np.bool_]:
        # Records with the same labels are one class of the split; those whose labels no other has are one together.
        sets = ["|".join(sorted(self.parts(label))) for label in labels]
        counts = Counter(sets)
        return stratified_split([each if counts[each] > 1 else "" for each in sets], share, what)

    def target(self, label: str, places: Mapping[str, int]) -> Any:
        parts = [self.renamed.get(part, part) for part in self.parts(label)]
        known = [places[part] for part in parts if part in places]
        if parts and not known:
            return None
        target = np.zeros(len(places), np.uint8)
        target[known] = 1
        return target

    def require_names(self, labels: Iterable[str]) -> None:
        super().require_names(part for label in set(labels) for part in self.parts(label))


def renaming(names: Sequence[str]) -> dict[str, str]:
    """Return better names by label, of ``["0=negative", ...]``.

    Raises:
        UserError: one is not of this form.
    """
    pairs = [name.partition("=") for name in names]
    for name, (label, _, better) in zip(names, pairs, strict=True):
        if not (label and better):
            raise UserError(f"data.label_names must be LABEL=NAME, was: {name!r}; for example 1=positive")
    return {label: better for label, _, better in pairs}


def class_names(labels: Sequence[str], what: str = "texts") -> tuple[str, ...]:
    """Return the classes: numbers in their order, then the others by the alphabet.

    Raises:
        UserError: there is only one.
    """
    found = in_order(labels)
    if len(found) < 2:
        raise UserError(
            f"classification needs two labels or more, all {len(labels)} {what} have: {found[0]!r}; "
            f"give {what} of the other classes too, or another label column"
        )
    return found


def in_order(labels: Iterable[str]) -> tuple[str, ...]:
    """Return labels, each once: numbers in their order, then the others by the alphabet."""
    return tuple(
        sorted(set(labels), key=lambda label: (not label.isdecimal(), int(label) if label.isdecimal() else 0, label))
    )


def of_the_same_spelling(labels: Sequence[str]) -> tuple[str, ...]:
    """Return a hint where two labels differ in capitals or blanks alone."""
    seen: dict[str, str] = {}
    for label in labels:
        other = seen.setdefault("".join(label.split()).casefold(), label)
        if other != label:
            return (
                f"the classes {other!r} and {label!r} differ in spelling alone; to join them: --set "
                f"'data.label_names=[\"{label}={other}\"]'",
            )
    return ()


def stratified_split(labels: Sequence[str], share: float, what: str = "texts") -> NDArray[np.bool_]:
    """Return which records are held out, bool ``(records,)``: of every class the same share, always the same ones.

    Of a class of two records or more, at least one is held out and at least one is not.

    Args:
        labels: class of each record.
        share: the share that is held out.
        what: the records, for messages.

    Raises:
        UserError: no class has two records.
    """
    places: dict[str, list[int]] = {}
    for place, label in enumerate(labels):
        places.setdefault(label, []).append(place)
    held_out = np.zeros(len(labels), bool)
    generator = np.random.default_rng(SPLIT_SEED)
    for name in sorted(places):
        shuffled = generator.permutation(places[name])
        count = min(max(1, round(share * len(shuffled))), len(shuffled) - 1)
        held_out[shuffled[:count]] = True
    if not held_out.any():
        raise UserError(
            f"a class needs two {what} or more, one of them to be held out, each of the {len(places)} labels has one; "
            f"give more {what}, another label column, or data.validation"
        )
    return held_out


def describe(skipped: Mapping[str, int]) -> str:
    """Return what was left out, for people; empty where nothing was."""
    return ", ".join(f"{count:,} {reason}" for reason, count in skipped.items())
