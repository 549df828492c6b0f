"""A series: the slices of one scan as a volume in patient coordinates.

Axis order is (slices, rows, columns); coordinates are DICOM's LPS, in mm; voxels are float32 in
rescaled units (HU for CT).

Rules:

- SER-1  Slices lie in the order of their position along the normal of their plane (the cross
         product of the row's and the column's direction), never of file name or instance number.
- SER-2  A series is a volume or it is refused: at least three grayscale slices, single-frame
         instances or the frames of one enhanced instance, of one shape, orientation and frame of
         reference, evenly spaced along their normal (within 1 % of the spacing + 0.01 mm). A
         missing slice, a double one and a tilted gantry break this.
- SER-3  What cannot be read is refused as `Unreadable`, whose text names no value of the file.
- SER-4  On demand, and never else, slices that are unevenly spaced or tilted are resampled to a
         grid that is neither (`regrid.py`), and of slices at one place that are equal to the last
         voxel one is taken. A gap of missing slices is never filled.
- SER-5  Each frame is rescaled by its own slope and intercept.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from audit.errors import Unreadable
from stages.archive import read_zip
from stages.frames import is_enhanced
from stages.regrid import Regrid
from stages.series_frames import frames_of, grid_of, refusal, stack_of, voxels_of
from stages.stack import FEWEST, Stack

Vector = tuple[float, float, float]

LIMIT_BYTES = 4 * 2**30
LIMIT_ENTRIES = 20_000


@dataclass(frozen=True)
class Geometry:
    """The grid of a volume.

    Voxel (i, j, k) has its center at
    `origin_mm + i·spacing[0]·axes[0] + j·spacing[1]·axes[1] + k·spacing[2]·axes[2]`.
    """

    shape: tuple[int, int, int]
    spacing_mm: Vector
    origin_mm: Vector
    axes: tuple[Vector, Vector, Vector]
    """Unit vectors in LPS along which the slice, row and column index grow."""


@dataclass(frozen=True)
class Series:
    """One series of one scan, its frames sorted along the normal."""

    uid: str
    study_uid: str
    frame_of_reference_uid: str
    modality: str
    manufacturer: str
    model: str
    sop_uids: tuple[str, ...]
    """Of each frame's instance, in the order of the frames; without a grid of its own, frames are
    the slices."""
    geometry: Geometry
    headers: tuple[Dataset, ...]
    """The instances without their pixels, in the order of the frames; one, if it is enhanced."""
    voxels: NDArray[np.float32] | None
    """(slices, rows, columns) in rescaled units; None if read without pixels."""
    frames: tuple[int, ...] = ()
    """Of one enhanced instance: the number (from 0) of each frame, in the order of the frames."""
    regrid: Regrid | None = None
    """How frames lie to the grid, if the frames are not its slices (SER-4)."""

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """(frames, rows, columns) as they were acquired."""
        if self.regrid is None:
            return self.geometry.shape
        return (len(self.regrid.depths), *self.regrid.frame)

    @property
    def frame_places(self) -> NDArray[np.float64]:
        """(frames, 3): where each frame's first voxel lies on the grid, in voxels."""
        if self.regrid is not None:
            down = self.regrid.depths / self.regrid.step_mm
            return np.concatenate([down[:, None], self.regrid.shifts], axis=1)
        places = np.zeros((self.geometry.shape[0], 3))
        places[:, 0] = np.arange(len(places))
        return places


def read_series(path: Path, *, pixels: bool = True, resample: bool = False) -> Series:
    """Read a series from `<series>.zip` or from a folder of `.dcm` files.

    Args:
        path: the archive or folder.
        pixels: whether the voxels are wanted.
        resample: whether a series that is no even volume may be made one (SER-4).

    Raises:
        Unreadable: if the instances are not one evenly spaced volume (SER-2, SER-4).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's warnings quote values
            slices: list[Dataset] = [pydicom.dcmread(BytesIO(data)) for data in _instances(path)]
            return series_of(slices, pixels=pixels, resample=resample)
    except Unreadable:
        raise
    except Exception as error:  # noqa: BLE001 - any fault of a parser or decoder is bad input
        reason = type(error).__name__  # the message may quote values
        raise refusal(f"cannot be read ({reason})") from None


def series_of(slices: list[Dataset], *, pixels: bool = True, resample: bool = False) -> Series:
    """Make a series of its instances, which lose their pixels; as `read_series`.

    Raises:
        Unreadable: SER-2, SER-4.
        Exception: of whatever kind, where an attribute is missing or malformed.
    """
    for keyword, what in (
        ("SeriesInstanceUID", "several series"),
        ("FrameOfReferenceUID", "several frames of reference"),
        ("Modality", "several modalities"),
        ("Rows", "slices of differing shapes"),
        ("Columns", "slices of differing shapes"),
    ):
        if len({str(s[keyword].value) for s in slices}) > 1:
            raise refusal(f"holds {what}")
    frames = frames_of(slices)
    if len(frames) < FEWEST:
        raise refusal(f"has {len(frames)} slices; a volume needs three")
    stack = stack_of(frames)
    regrid = grid_of(stack, frames, resample=resample)
    chosen = [frames[place[0]] for place in stack.places]
    voxels = None
    if pixels:
        voxels = voxels_of(chosen)
        voxels = regrid.values(voxels) if regrid else voxels
    for header in slices:
        del header.PixelData
    first = chosen[0].instance
    enhanced = is_enhanced(first.get)
    return Series(
        uid=str(first.SeriesInstanceUID),
        study_uid=str(first.StudyInstanceUID),
        frame_of_reference_uid=str(first.FrameOfReferenceUID),
        modality=str(first.Modality),
        manufacturer=str(first.get("Manufacturer", "") or ""),
        model=str(first.get("ManufacturerModelName", "") or ""),
        sop_uids=tuple(str(frame.instance.SOPInstanceUID) for frame in chosen),
        geometry=_geometry(stack, regrid, int(first.Rows), int(first.Columns)),
        headers=(first,) if enhanced else tuple(frame.instance for frame in chosen),
        voxels=voxels,
        frames=tuple(frame.number for frame in chosen) if enhanced else (),
        regrid=regrid,
    )


def _instances(path: Path) -> Iterator[bytes]:
    if path.is_dir():
        yield from (file.read_bytes() for file in sorted(path.glob("*.dcm")))
    else:
        for _, data in read_zip(path, limit_bytes=LIMIT_BYTES, limit_entries=LIMIT_ENTRIES):
            yield data


def _geometry(stack: Stack, regrid: Regrid | None, rows: int, columns: int) -> Geometry:
    axes = (_vector(stack.normal), _vector(stack.along_column), _vector(stack.along_row))
    if regrid:
        spacing = (round(regrid.step_mm, 6), *stack.spacing)
        return Geometry(regrid.shape, spacing, _vector(regrid.origin_mm), axes)
    step = round(float(np.median(stack.steps)), 6)
    shape = (len(stack.places), rows, columns)
    return Geometry(shape, (step, *stack.spacing), _vector(stack.positions[0]), axes)


def _vector(values: NDArray[np.float64]) -> Vector:
    x, y, z = (round(float(value), 9) + 0.0 for value in values)
    return x, y, z
