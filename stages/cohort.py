"""The cohort as training and assessment read it: cases, by split, and their volumes.

Rules:

- COH-1  Cases come in the order of subject and series; excluded subjects, series of another
         modality than the task's and series that ingestion flagged are none.
- COH-2  A case has a reference only where the cohort holds a consensus for its series, and a class
         only where it holds one for the case.
- COH-3  Where the task has classes and no structures, each instance of a series of pictures of the
         task's modality is a case of its own, beside the volumes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.params import Task, Volume
from stages.picture import read_picture
from stages.segmentation import read_labels
from stages.series import Series, read_series
from stages.stack import Fit, fit_of
from stages.table import read_table
from stages.volume import Prepared, prepare, restore

Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Case:
    """One image series of one subject, or one picture of one, and where it lies."""

    subject: str
    split: str
    vendor: str
    series: str
    image: Path
    consensus: Path | None
    label: str | None = None
    """Name of the case's class, one of the task's; None if nobody gave it one."""
    resample: bool = False
    """Whether the series becomes a volume by resampling (SER-4)."""
    sop: str = ""
    """The instance, for a picture; empty for a volume."""


@dataclass(frozen=True)
class Sample:
    """A case in memory."""

    case: Case
    prepared: Prepared
    labels: Labels | None
    """(slices, rows, columns) on the series' own grid; None without structures or consensus."""

    @property
    def prepared_labels(self) -> Labels | None:
        """The labels on the grid of `prepared.array` (nearest neighbor)."""
        if self.labels is None:
            return None
        return restore(self.labels, replace(self.prepared, grid=self.prepared.array.shape))


def read_cases(tree: Path, task: Task) -> tuple[Case, ...]:
    """List the cases of a cohort's tree (COH-1 to COH-3)."""
    splits = {row["subject"]: row for row in read_table(tree / "splits.parquet")}
    instances = _instances(tree, task)
    classes = _classes(tree, task)
    cases = []
    for row in read_table(tree / "series.parquet"):
        split, series = splits.get(row["subject"]), row["series"]
        if row["kind"] not in task.kinds or row["modality"] != task.modality:
            continue
        if split is None or split["split"] == "excluded":
            continue
        fit = fit_of(row)
        if fit is Fit.FLAGGED:
            continue
        folder = tree / row["subject"]
        consensus = folder / "consensus" / f"{series}.dcm"
        cases += [
            Case(
                subject=row["subject"],
                split=split["split"],
                vendor=split["vendor"],
                series=series,
                image=folder / f"{series}.zip",
                consensus=consensus if consensus.is_file() else None,
                label=classes.get((series, sop)),
                resample=fit is Fit.RESAMPLE,
                sop=sop,
            )
            for sop in (instances.get(series, ()) if row["kind"] == "picture" else ("",))
        ]
    return tuple(sorted(cases, key=lambda case: (case.subject, case.series, case.sop)))


def labeled_cases(cases: Iterable[Case], task: Task, split: str) -> list[Case]:
    """Cases of a split with a reference: a consensus, or a class."""
    return [
        case
        for case in cases
        if case.split == split and ((task.structures and case.consensus) or case.label is not None)
    ]


def load_case(case: Case, task: Task, volume: Volume) -> tuple[Series | None, Sample]:
    """Read a case's image and reference, and prepare the volume.

    Returns:
        The series, None for a picture; and the sample. A picture's prepared array is (frames, rows,
        columns).

    Raises:
        Unreadable: the series is no volume, the picture cannot be read, or the consensus is not
            the series' segmentation.
    """
    if case.sop:
        picture = read_picture(case.image, case.sop)
        return None, Sample(case, prepare(picture.pixels, picture.spacing_mm, volume), None)
    series = read_series(case.image, resample=case.resample)
    assert series.voxels is not None  # noqa: S101 - read with pixels
    prepared = prepare(series.voxels, series.geometry.spacing_mm, volume)
    labels = None
    if case.consensus is not None and task.structures:
        labels = read_labels(case.consensus, series, task).map
    return series, Sample(case, prepared, labels)


def _instances(tree: Path, task: Task) -> dict[str, list[str]]:
    """Series of pictures → its instances."""
    pictures = {
        row["series"]
        for row in read_table(tree / "series.parquet")
        if row["kind"] == "picture" and row["kind"] in task.kinds
    }
    found: dict[str, list[str]] = {uid: [] for uid in pictures}
    for row in read_table(tree / "ingest.parquet", ("series", "sop")) if pictures else ():
        if row["series"] in pictures:
            found[row["series"]].append(row["sop"])
    return found


def _classes(tree: Path, task: Task) -> dict[tuple[str, str], str]:
    """Series and instance → class, where there is one."""
    rows = read_table(tree / "classes.parquet") if task.classes else []
    return {(row["series"], row["sop"]): row["class"] for row in rows if row["class"]}
