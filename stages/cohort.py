"""The cohort as training and assessment read it: cases, by split, and their volumes.

Rules:

- COH-1  Cases come in the order of subject and series; excluded subjects, series of another
         modality than the task's and series that ingestion flagged are none.
- COH-2  A case has a reference only where the cohort holds a consensus for its series.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.params import Task, Volume
from stages.segmentation import read_labels
from stages.series import Series, read_series
from stages.stack import Fit, fit_of
from stages.table import read_table
from stages.volume import Prepared, prepare, restore

Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Case:
    """One image series of one subject, and where it lies."""

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


@dataclass(frozen=True)
class Sample:
    """A case in memory."""

    case: Case
    prepared: Prepared
    labels: Labels | None
    """(slices, rows, columns) on the series' own grid."""

    @property
    def prepared_labels(self) -> Labels | None:
        """The labels on the grid of `prepared.array` (nearest neighbor)."""
        if self.labels is None:
            return None
        return restore(self.labels, replace(self.prepared, grid=self.prepared.array.shape))


def read_cases(tree: Path, task: Task) -> tuple[Case, ...]:
    """List the cases of a cohort's tree (COH-1, COH-2)."""
    splits = {row["subject"]: row for row in read_table(tree / "splits.parquet")}
    cases = []
    for row in read_table(tree / "series.parquet"):
        split = splits.get(row["subject"])
        if row["kind"] != "image" or row["modality"] != task.modality or split is None:
            continue
        fit = fit_of(row)
        if fit is Fit.FLAGGED:
            continue
        folder = tree / row["subject"]
        consensus = folder / "consensus" / f"{row['series']}.dcm"
        cases.append(
            Case(
                subject=row["subject"],
                split=split["split"],
                vendor=split["vendor"],
                series=row["series"],
                image=folder / f"{row['series']}.zip",
                consensus=consensus if consensus.is_file() else None,
                resample=fit is Fit.RESAMPLE,
            )
        )
    kept = (case for case in cases if case.split != "excluded")
    return tuple(sorted(kept, key=lambda case: (case.subject, case.series)))


def load_case(case: Case, task: Task, volume: Volume) -> tuple[Series, Sample]:
    """Read a case's series and reference, and prepare the volume.

    Raises:
        Unreadable: the series is no volume, or the consensus is not its segmentation.
    """
    series = read_series(case.image, resample=case.resample)
    assert series.voxels is not None  # noqa: S101 - read with pixels
    prepared = prepare(series.voxels, series.geometry.spacing_mm, volume)
    labels = None if case.consensus is None else read_labels(case.consensus, series, task).map
    return series, Sample(case, prepared, labels)
