"""Where a segmentation of any grid lies on a volume's: the union of its segments, by position."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from stages.ingest.face_mask import Floats, Grid, Mask


def segmented(data: bytes, grid: Grid, shape: tuple[int, ...]) -> Mask:
    """Voxels of a volume in which a SEG object holds any segment.

    Args:
        data: the object.
        grid: of the volume.
        shape: of the volume.

    Raises:
        Exception: a frame cannot be placed; to be called where that is caught.
    """
    seg = pydicom.dcmread(BytesIO(data))
    frames = seg.pixel_array.reshape(-1, int(seg.Rows), int(seg.Columns))
    groups = seg.PerFrameFunctionalGroupsSequence
    shared = seg.SharedFunctionalGroupsSequence[0]
    kept = np.zeros(shape, np.bool_)
    for frame, group in zip(frames, groups, strict=True):
        points = _points(frame, group, shared)
        index = np.linalg.solve(grid.steps.T, (points - grid.origin).T)
        i, j, k = np.rint(index).astype(np.int64)
        sizes = np.array(shape)[:, None]
        inside = ((np.stack([i, j, k]) >= 0) & (np.stack([i, j, k]) < sizes)).all(axis=0)
        kept[i[inside], j[inside], k[inside]] = True
    return kept


def _points(frame: Any, group: Dataset, shared: Dataset) -> Floats:
    """Centers of a frame's pixels that are not zero (LPS, mm)."""
    place = _macro(group, shared, "PlanePositionSequence").ImagePositionPatient
    cosines = _macro(group, shared, "PlaneOrientationSequence").ImageOrientationPatient
    down, across = (
        float(size) for size in _macro(group, shared, "PixelMeasuresSequence").PixelSpacing
    )
    row, column = np.array(cosines, np.float64).reshape(2, 3)
    rows, columns = np.nonzero(frame)
    found: Floats = (
        np.array(place, np.float64)
        + rows[:, None] * (column * down)
        + columns[:, None] * (row * across)
    )
    return found


def _macro(group: Dataset, shared: Dataset, keyword: str) -> Any:
    """One functional group of a frame: its own, else the shared one."""
    return (group.get(keyword) or shared[keyword].value)[0]
