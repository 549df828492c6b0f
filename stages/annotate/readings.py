"""Reading what the readers drew on one series, and how far they agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from audit.errors import Unreadable
from stages.overlap import dice, hd95_mm, nsd
from stages.params import Task
from stages.segmentation import Labels, read_labels
from stages.series import Series

Row = dict[str, Any]


def read_annotations(
    tree: Path, rows: Sequence[Mapping[str, Any]], series: Series, task: Task
) -> tuple[dict[str, Labels], list[str]]:
    """Read all annotations of a series.

    Args:
        tree: a subject's tree of the stage ingest.
        rows: the rows of its `series.parquet` that annotate this series.
        series: the series.
        task: the structures.

    Returns:
        Reader → labels, sorted by reader; and why others were left out. Of a reader who annotated
        the series twice neither annotation is taken: which one is meant is not ours to say.
    """
    found: dict[str, list[Labels]] = {}
    problems = []
    for row in sorted(rows, key=lambda row: (row["reader"], row["series"])):
        try:
            labels = read_labels(tree / f"{row['series']}.zip", series, task)
        except Unreadable as error:
            problems.append(f"annotation of {row['reader']} left out: {error.what}")
        else:
            found.setdefault(row["reader"], []).append(labels)
    problems += [
        f"annotations of {reader} left out: {len(several)} on one series"
        for reader, several in found.items()
        if len(several) > 1
    ]
    return {reader: one[0] for reader, one in found.items() if len(one) == 1}, problems


def compare(
    labels: Mapping[str, Labels], series: Series, task: Task, tolerance_mm: float
) -> list[Row]:
    """Agreement of each pair of readers on each structure that one of the two drew (ANN-1).

    Returns:
        Rows of structure, reader_a, reader_b, dice, hd95_mm, nsd; the surface metrics are None
        where only one of the two drew it.
    """
    spacing = series.geometry.spacing_mm
    rows = []
    for structure in task.structures:
        masks = {reader: one.map == structure.label for reader, one in sorted(labels.items())}
        for (reader_a, a), (reader_b, b) in combinations(masks.items(), 2):
            if a.any() or b.any():
                rows.append(
                    {
                        "structure": structure.name,
                        "reader_a": reader_a,
                        "reader_b": reader_b,
                        "dice": dice(a, b),
                        "hd95_mm": hd95_mm(a, b, spacing),
                        "nsd": nsd(a, b, spacing, tolerance_mm),
                    }
                )
    return rows
