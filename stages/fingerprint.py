"""A cohort's fingerprint: what decides how a network should see it.

Rules:

- FPR-1  Series of the test split are not looked at.
- FPR-2  The same cohort gives the same fingerprint: intensities are taken evenly, never by chance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.errors import Refused, Unreadable
from stages.cohort import Case, read_cases
from stages.params import Task
from stages.segmentation import read_labels
from stages.series import read_series

Triple = tuple[float, float, float]
_TAKEN = 10_000
"""Intensities that are taken from a series, at most (nnU-Net takes as many)."""


@dataclass(frozen=True)
class SeriesPrint:
    """One series."""

    subject: str
    shape: tuple[int, int, int]
    spacing_mm: Triple
    """(slice, row, column)."""
    intensities: NDArray[np.float32]
    """Some of the voxels within structures, or of all where nothing is labeled."""
    voxels: dict[str, int] | None
    """Of each structure; None if the series is not labeled."""


@dataclass(frozen=True)
class Fingerprint:
    """A cohort, test subjects left out."""

    modality: str
    subjects: int
    labeled: int
    """Series with a reference."""
    shapes: tuple[tuple[int, int, int], ...]
    spacings_mm: tuple[Triple, ...]
    low: float
    high: float
    """0.5th and 99.5th percentile of the intensities within structures."""
    mean: float
    deviation: float
    shares: dict[str, float]
    """Structure → its share of the labeled series' voxels."""

    def summary(self) -> dict[str, Any]:
        """As JSON: medians and ranges, no series by itself."""
        shapes, spacings = np.array(self.shapes), np.array(self.spacings_mm)
        return {
            "modality": self.modality,
            "subjects": self.subjects,
            "series": len(self.shapes),
            "labeled": self.labeled,
            "shape": {name: _rounded(of(shapes, axis=0)) for name, of in _OF.items()},
            "spacing_mm": {name: _rounded(of(spacings, axis=0)) for name, of in _OF.items()},
            "intensity": {
                "percentiles_0.5_99.5": [round(self.low, 3), round(self.high, 3)],
                "mean": round(self.mean, 3),
                "deviation": round(self.deviation, 3),
            },
            "shares": {name: round(share, 6) for name, share in self.shares.items()},
        }


_OF: dict[str, Any] = {"lowest": np.min, "median": np.median, "highest": np.max}


def read_fingerprint(tree: Path, task: Task) -> Fingerprint:
    """Read the series of a cohort's tree one by one (FPR-1).

    Raises:
        Refused: none can be read.
    """
    cases = [case for case in read_cases(tree, task) if case.split != "test"]
    return fingerprint(list(_prints(cases, task)), task)


def fingerprint(series: list[SeriesPrint], task: Task) -> Fingerprint:
    """Put the series' figures together.

    Raises:
        Refused: there is no series.
    """
    if not series:
        raise Refused(
            "The cohort has no series outside its test split that can be read.",
            "Run the chain until `dataset` with more studies.",
        )
    labeled = [one for one in series if one.voxels is not None]
    values = np.concatenate([one.intensities for one in labeled or series]).astype(np.float64)
    total = sum(int(np.prod(one.shape)) for one in labeled)
    low, high = np.percentile(values, (0.5, 99.5))
    return Fingerprint(
        modality=task.modality,
        subjects=len({one.subject for one in series}),
        labeled=len(labeled),
        shapes=tuple(one.shape for one in series),
        spacings_mm=tuple(one.spacing_mm for one in series),
        low=float(low),
        high=float(high),
        mean=float(values.mean()),
        deviation=float(values.std()),
        shares={
            structure.name: sum((one.voxels or {})[structure.name] for one in labeled) / total
            for structure in task.structures
            if labeled
        },
    )


def _prints(cases: list[Case], task: Task) -> Iterator[SeriesPrint]:
    for case in cases:
        try:
            series = read_series(case.image)
            labels = None
            if case.consensus is not None and task.structures:
                labels = read_labels(case.consensus, series, task).map
        except Unreadable:
            continue  # training leaves it out and says so
        if series.voxels is None:
            raise TypeError("a series that was read with its pixels has none")
        inside = series.voxels.ravel()
        if labels is not None and labels.any():
            inside = series.voxels[labels > 0]
        yield SeriesPrint(
            subject=case.subject,
            shape=series.geometry.shape,
            spacing_mm=series.geometry.spacing_mm,
            intensities=inside[:: max(1, -(-inside.size // _TAKEN))].copy(),
            voxels=None
            if labels is None
            else {one.name: int((labels == one.label).sum()) for one in task.structures},
        )


def _rounded(values: NDArray[np.float64]) -> list[float]:
    return [round(float(value), 4) for value in values]
