"""A series: the slices of one scan as a volume in patient coordinates.

Axis order is (slices, rows, columns); coordinates are DICOM's LPS, in mm; voxels are float32 in
rescaled units (HU for CT).

Rules:

- SER-1  Slices lie in the order of their position along the normal of their plane (the cross
         product of the row's and the column's direction), never of file name or instance number.
- SER-2  A series is a volume or it is refused: at least three single-frame grayscale slices of one
         shape, orientation and frame of reference, evenly spaced along their normal (within 1 % of
         the spacing + 0.01 mm). A missing slice, a double one and a tilted gantry break this.
- SER-3  What cannot be read is refused as `Unreadable`, whose text names no value of the file.
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

Vector = tuple[float, float, float]

LIMIT_BYTES = 4 * 2**30
LIMIT_ENTRIES = 20_000
_REMEDY = "Export the series again, complete and as single-frame instances, or leave it out."


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
    """One series of one scan, its slices sorted along the normal."""

    uid: str
    study_uid: str
    frame_of_reference_uid: str
    modality: str
    manufacturer: str
    model: str
    sop_uids: tuple[str, ...]
    geometry: Geometry
    headers: tuple[Dataset, ...]
    """The instances without their pixels, in the order of the slices."""
    voxels: NDArray[np.float32] | None
    """(slices, rows, columns) in rescaled units; None if read without pixels."""


def read_series(path: Path, *, pixels: bool = True) -> Series:
    """Read a series from `<series>.zip` or from a folder of `.dcm` files.

    Raises:
        Unreadable: if the instances are not one evenly spaced volume (SER-2).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's warnings quote values
            slices: list[Dataset] = [pydicom.dcmread(BytesIO(data)) for data in _instances(path)]
            return _series(slices, pixels=pixels)
    except Unreadable:
        raise
    except Exception as error:  # noqa: BLE001 - any fault of a parser or decoder is bad input
        reason = type(error).__name__  # the message may quote values
        raise _refusal(f"cannot be read ({reason})") from None


def _instances(path: Path) -> Iterator[bytes]:
    if path.is_dir():
        yield from (file.read_bytes() for file in sorted(path.glob("*.dcm")))
    else:
        for _, data in read_zip(path, limit_bytes=LIMIT_BYTES, limit_entries=LIMIT_ENTRIES):
            yield data


def _series(slices: list[Dataset], *, pixels: bool) -> Series:
    if len(slices) < 3:
        raise _refusal(f"has {len(slices)} slices; a volume needs three")
    if any(int(s.get("NumberOfFrames", 1)) != 1 or s.SamplesPerPixel != 1 for s in slices):
        raise _refusal("holds multi-frame or color instances")
    for keyword, what in (
        ("SeriesInstanceUID", "several series"),
        ("FrameOfReferenceUID", "several frames of reference"),
        ("Modality", "several modalities"),
        ("Rows", "slices of differing shapes"),
        ("Columns", "slices of differing shapes"),
    ):
        if len({str(s[keyword].value) for s in slices}) > 1:
            raise _refusal(f"holds {what}")
    slices, geometry = _arrange(slices)
    voxels = np.stack([_rescaled(s) for s in slices]) if pixels else None
    for header in slices:
        del header.PixelData
    first = slices[0]
    return Series(
        uid=str(first.SeriesInstanceUID),
        study_uid=str(first.StudyInstanceUID),
        frame_of_reference_uid=str(first.FrameOfReferenceUID),
        modality=str(first.Modality),
        manufacturer=str(first.get("Manufacturer", "") or ""),
        model=str(first.get("ManufacturerModelName", "") or ""),
        sop_uids=tuple(str(s.SOPInstanceUID) for s in slices),
        geometry=geometry,
        headers=tuple(slices),
        voxels=voxels,
    )


def _arrange(slices: list[Dataset]) -> tuple[list[Dataset], Geometry]:
    """Sort slices along their normal and check that they are one volume (SER-1, SER-2)."""
    orientations = np.array([s.ImageOrientationPatient for s in slices], dtype=np.float64)
    pixel_mm = np.array([s.PixelSpacing for s in slices], dtype=np.float64)
    if np.ptp(orientations, axis=0).max() > 1e-3 or np.ptp(pixel_mm, axis=0).max() > 1e-3:
        raise _refusal("mixes orientations or pixel spacings")
    along_row, along_column = orientations[0, :3], orientations[0, 3:]
    if not np.allclose(
        [along_row @ along_row, along_column @ along_column, along_row @ along_column],
        [1, 1, 0],
        atol=1e-3,
    ):
        raise _refusal("has an orientation that is not two perpendicular unit vectors")
    normal = np.cross(along_row, along_column)
    normal /= np.linalg.norm(normal)
    positions = np.array([s.ImagePositionPatient for s in slices], dtype=np.float64)
    order = np.argsort(positions @ normal, kind="stable")
    steps = np.diff(positions[order], axis=0)
    depth = steps @ normal
    spacing = float(np.median(depth))
    tolerance = 0.01 * spacing + 0.01
    if depth.min() <= 1e-3:
        raise _refusal("holds two slices at one position")
    if np.abs(depth - spacing).max() > tolerance:
        raise _refusal("is unevenly spaced: a slice is missing or misplaced")
    if np.linalg.norm(steps - np.outer(depth, normal), axis=1).max() > tolerance:
        raise _refusal("has slices shifted in their plane (a tilted gantry)")
    first = slices[int(order[0])]
    geometry = Geometry(
        shape=(len(slices), int(first.Rows), int(first.Columns)),
        spacing_mm=(round(spacing, 6), float(pixel_mm[0, 0]), float(pixel_mm[0, 1])),
        origin_mm=_vector(positions[order[0]]),
        axes=(_vector(normal), _vector(along_column), _vector(along_row)),
    )
    return [slices[int(i)] for i in order], geometry


def _rescaled(instance: Dataset) -> NDArray[np.float32]:
    slope = float(instance.get("RescaleSlope", 1) or 1)
    intercept = float(instance.get("RescaleIntercept", 0) or 0)
    return (instance.pixel_array * slope + intercept).astype(np.float32)


def _vector(values: NDArray[np.float64]) -> Vector:
    x, y, z = (round(float(value), 9) + 0.0 for value in values)
    return x, y, z


def _refusal(what: str) -> Unreadable:
    return Unreadable(f"The series {what}.", _REMEDY)
