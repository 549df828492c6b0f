"""A picture: one instance of no place in the patient (ultrasound, a secondary capture).

Axis order is (frames, rows, columns); pixels are float32, rescaled where the instance says how.

Rules:

- PIC-1  Color becomes luminance by ITU-R BT.601 (0.299 R + 0.587 G + 0.114 B), in integers.
         Inverted grayscale (MONOCHROME1) is turned, so that bright is bright.
- PIC-2  Of an instance of many frames at most `FRAMES` are read, spread evenly from the first to
         the last.
- PIC-3  Pixels without a physical size have sides of 1 mm; frames lie 1 mm apart.
- PIC-4  What cannot be read, or is larger than the limits, is refused as `Unreadable`, whose text
         names no value of the file.
"""

from __future__ import annotations

import warnings
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import iter_pixels

from audit.errors import Unreadable
from stages.archive import ZipReader
from stages.series import LIMIT_BYTES, LIMIT_ENTRIES, Vector

FRAMES = 32
"""Most frames that are read of one instance."""
LIMIT_SAMPLES = 2**26
"""Most samples of one frame."""
_BT_601 = (299, 587, 114)
"""Thousandths of red, green and blue (ITU-R BT.601-7, 2.5.1)."""
_REMEDY = "Export the picture again, or leave it out."


@dataclass(frozen=True)
class Picture:
    """One instance with its pixels."""

    uid: str
    series_uid: str
    study_uid: str
    modality: str
    manufacturer: str
    model: str
    header: Dataset
    """The instance without its pixels."""
    spacing_mm: Vector
    """(frames, rows, columns)."""
    pixels: NDArray[np.float32]
    """(frames, rows, columns)."""


def read_picture(archive: Path, sop: str) -> Picture:
    """Read one instance of a series of pictures, `<sop>.dcm` in `<series>.zip`.

    Raises:
        Unreadable: it is not there, or PIC-4.
    """
    name = f"{sop}.dcm"
    with ZipReader(archive, limit_bytes=LIMIT_BYTES, limit_entries=LIMIT_ENTRIES) as entries:
        if name not in entries.sizes:
            raise _refusal("is not in the archive of its series")
        return picture_of(entries.read(name))


def has_picture(archive: Path) -> bool:
    """Whether a series of pictures holds one that can be read."""
    try:
        with ZipReader(archive, limit_bytes=LIMIT_BYTES, limit_entries=LIMIT_ENTRIES) as entries:
            for name in entries.names:
                with suppress(Unreadable):
                    picture_of(entries.read(name))
                    return True
    except Unreadable:
        pass
    return False


def picture_of(data: bytes) -> Picture:
    """Read an instance from its bytes.

    Raises:
        Unreadable: PIC-4.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's warnings quote values
            return _picture(pydicom.dcmread(BytesIO(data)))
    except Unreadable:
        raise
    except Exception as error:  # noqa: BLE001 - any fault of a parser or decoder is bad input
        reason = type(error).__name__  # the message may quote values
        raise _refusal(f"cannot be read ({reason})") from None


def _picture(instance: Dataset) -> Picture:
    rows, columns = int(instance.Rows), int(instance.Columns)
    if rows * columns * int(instance.SamplesPerPixel) > LIMIT_SAMPLES or min(rows, columns) < 1:
        raise _refusal("has a frame beyond the limit, or none")
    count = int(instance.get("NumberOfFrames") or 1)
    chosen = np.unique(np.linspace(0, count - 1, min(count, FRAMES)).round().astype(int))
    frames = iter_pixels(instance, indices=[int(index) for index in chosen])
    pixels = np.stack([_gray(frame, instance) for frame in frames])
    if pixels.shape != (len(chosen), rows, columns):
        raise _refusal("has pixels of another shape than its header says")
    spacing_mm = (1.0, *_spacing_mm(instance))
    del instance.PixelData
    return Picture(
        uid=str(instance.SOPInstanceUID),
        series_uid=str(instance.SeriesInstanceUID),
        study_uid=str(instance.StudyInstanceUID),
        modality=str(instance.Modality),
        manufacturer=str(instance.get("Manufacturer", "") or ""),
        model=str(instance.get("ManufacturerModelName", "") or ""),
        header=instance,
        spacing_mm=spacing_mm,
        pixels=pixels,
    )


def _gray(frame: NDArray[np.generic], instance: Dataset) -> NDArray[np.float32]:
    """One frame as luminance (PIC-1)."""
    kind = str(instance.PhotometricInterpretation)
    if kind == "PALETTE COLOR":
        frame = apply_color_lut(frame, instance)
    if frame.ndim == 3:  # rows, columns, color: pydicom gives RGB
        red, green, blue = (
            weight * frame[..., place].astype(np.int64) for place, weight in enumerate(_BT_601)
        )
        return ((red + green + blue) / 1000).astype(np.float32)
    slope = float(instance.get("RescaleSlope", 1) or 1)
    intercept = float(instance.get("RescaleIntercept", 0) or 0)
    values = frame.astype(np.float64)
    if kind == "MONOCHROME1":
        bits, signed = int(instance.BitsStored), int(instance.PixelRepresentation)
        values = (2**bits - 1 if not signed else -1) - values
    return (values * slope + intercept).astype(np.float32)


def _spacing_mm(instance: Dataset) -> tuple[float, float]:
    """Row and column spacing, where the instance tells one (PIC-3)."""
    spacing = instance.get("PixelSpacing")
    if spacing is not None and len(spacing) == 2 and min(spacing) > 0:
        return float(spacing[0]), float(spacing[1])
    return 1.0, 1.0


def _refusal(what: str) -> Unreadable:
    return Unreadable(f"The picture {what}.", _REMEDY)
