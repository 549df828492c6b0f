"""Which class each reader gave to which case: from tables of labels, and from structures' classes.

A case is a series that is a volume, or one instance of a series of pictures; a label may have been
given to the case, to its whole series or to its whole study.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from stages.params import Task
from stages.segmentation import Labels
from stages.table import read_table

Row = Mapping[str, Any]


class Key(NamedTuple):
    """A case of one subject."""

    series: str
    sop: str
    """Empty for a volume."""


Said = dict[str, set[str]]
"""Reader → class labels; more than one if they contradict each other."""
Left = tuple[Key, tuple[str, str]]
"""A case, and rule and reason why it must be looked at."""


def read_labels_given(tree: Path, task: Task) -> tuple[dict[Key, Said], list[Left]]:
    """What readers' tables say of a subject's cases.

    Args:
        tree: the subject's tree of the stage ingest.
        task: its classes and modality.

    Returns:
        Case → reader → labels, the most specific of each reader's; and why labels were left out.
    """
    rows = read_table(tree / "class_labels.parquet") if task.classes else []
    if not rows:
        return {}, []
    series = [
        row for row in read_table(tree / "series.parquet") if row["modality"] == task.modality
    ]
    volumes = [Key(row["series"], "") for row in series if row["kind"] == "image"]
    pictures = {
        row["series"] for row in series if row["kind"] == "picture" and row["kind"] in task.kinds
    }
    cases = volumes + [
        Key(row["series"], row["sop"])
        for row in (read_table(tree / "instances.parquet") if pictures else [])
        if row["series"] in pictures
    ]
    study_of = {row["series"]: row["study"] for row in series}
    given: dict[tuple[str, str, str], Said] = {}
    for row in rows:
        place = given.setdefault((row["study"], row["series"], row["sop"]), {})
        place.setdefault(row["reader"], set()).add(row["label"])
    said: dict[Key, Said] = {}
    for case in cases:
        study = study_of[case.series]
        levels = [(study, "", ""), (study, case.series, ""), (study, *case)]
        merged: Said = {}
        for level in levels:  # the later, more specific one stands
            merged |= given.get(level, {})
        if merged:
            said[case] = merged
    known = {case.series for case in volumes}
    slices = {row["series"] for row in rows if row["sop"] and row["series"] in known}
    reason = "labels of single slices left out: the case is the whole series"
    return said, [(Key(uid, ""), ("ANN-6", reason)) for uid in sorted(slices)]


def of_structures(readings: Mapping[str, Labels], task: Task) -> Said:
    """Classes that readers gave to a structure whose classes are the task's own."""
    names = {label.name for label in task.classes}
    same = [one.name for one in task.structures if names and set(one.classes) == names]
    said: Said = {}
    for reader, labels in readings.items():
        found = {labels.classes[name] for name in same if name in labels.classes}
        if found:
            said[reader] = found
    return said


def joined(parts: Iterable[Said]) -> Said:
    """What readers said, from several sources."""
    said: Said = {}
    for part in parts:
        for reader, labels in part.items():
            said.setdefault(reader, set()).update(labels)
    return said
