"""Which class a case gets, if any, and how far its readers agree: no I/O.

Rules are those of the stage (ANN-9 to ANN-11).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from stages.annotate.consensus import vote
from stages.annotate.params import AnnotateParams

Row = dict[str, Any]


@dataclass(frozen=True)
class ClassDecision:
    """What becomes of one case's class."""

    label: str
    """Empty if it is withheld."""
    votes: int
    readers: int
    method: str
    """`majority`, `expert` or `single`; empty if withheld."""
    agreement: tuple[Row, ...]
    """A row a pair of readers: reader_a, reader_b, label_a, label_b, in the order of names."""
    queue: tuple[tuple[str, str], ...]
    """Rule and reason, for each reason to look at the case."""

    @property
    def row(self) -> Row:
        """Columns of `classes.parquet`."""
        return {
            "class": self.label,
            "votes": self.votes,
            "readers": self.readers,
            "method": self.method,
        }


def decide_class(
    said: Mapping[str, Set[str]], allowed: Sequence[str], params: AnnotateParams
) -> ClassDecision:
    """Decide on one case.

    Args:
        said: reader → labels; of a reader who gave several none is taken.
        allowed: names of the task's classes.
        params: the declared method and limits.
    """
    labels = {reader: min(own) for reader, own in sorted(said.items()) if len(own) == 1}
    queue = [
        ("ANN-6", f"class labels of {reader} left out: several on one case")
        for reader, own in sorted(said.items())
        if len(own) > 1
    ]
    queue += [
        ("ANN-6", f"reader missing: {reader}") for reader in params.readers if reader not in labels
    ]
    pairs = tuple(
        {"reader_a": a, "reader_b": b, "label_a": labels[a], "label_b": labels[b]}
        for a, b in combinations(labels, 2)
    )
    count = len(labels)
    if count < max(params.min_readers, 1):
        reason = f"{count} readers of the class; annotate.min_readers is {params.min_readers}"
        return _withheld(count, pairs, [*queue, ("ANN-4", reason)])
    voters = labels
    if params.consensus == "expert":
        voters = {reader: one for reader, one in labels.items() if reader == params.expert}
        if not voters:
            return _withheld(count, pairs, [*queue, ("ANN-4", "the expert's class is missing")])
    label, votes = vote(voters, allowed)
    if not label:
        return _withheld(count, pairs, [*queue, ("ANN-5", "readers tie on the class of the case")])
    alone = {1: "single"}.get(count, "majority")
    method = "expert" if params.consensus == "expert" else alone
    return ClassDecision(label, votes, len(voters), method, pairs, tuple(queue))


def summarize(rows: Sequence[Row]) -> list[Row]:
    """Agreement of each pair of readers over the cases that both labeled.

    Args:
        rows: of `class_agreement.parquet`.

    Returns:
        readers (two names), pairs, share (of the cases with one label) and kappa.
    """
    found = []
    for readers in sorted({(row["reader_a"], row["reader_b"]) for row in rows}):
        own = [
            (row["label_a"], row["label_b"])
            for row in rows
            if (row["reader_a"], row["reader_b"]) == readers
        ]
        share = round(sum(a == b for a, b in own) / len(own), 6)
        line = {"readers": list(readers), "pairs": len(own), "share": share}
        found.append(line | {"kappa": kappa(own)})
    return found


def kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Cohen's kappa: agreement beyond what the readers' own frequencies would give by chance.

    Returns:
        Rounded to six decimals; None where chance alone would agree always, or without pairs.

    Source: Cohen, *A coefficient of agreement for nominal scales* (1960).
    """
    n = len(pairs)
    labels = {label for pair in pairs for label in pair}
    same = sum(a == b for a, b in pairs)
    by_chance = sum(
        sum(a == label for a, _ in pairs) * sum(b == label for _, b in pairs) for label in labels
    )
    if n == 0 or by_chance == n * n:
        return None
    return round((same * n - by_chance) / (n * n - by_chance), 6)


def _withheld(
    readers: int, pairs: tuple[Row, ...], queue: Sequence[tuple[str, str]]
) -> ClassDecision:
    return ClassDecision("", 0, readers, "", pairs, tuple(queue))
