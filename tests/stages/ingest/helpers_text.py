"""Images with text drawn into them, at places that are known."""

from __future__ import annotations

from typing import Any

import numpy as np
from helpers_ingest import ROOT, change, ct
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset, FileMetaDataset

from stages.ingest.ocr import Box

US, US_MULTIFRAME = "1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.3.1"
TEXT = "KRAEHWINKLER 1943"
Array = NDArray[np.generic]


def speckle(size: int = 160, seed: int = 0, *, color: bool = False) -> Array:
    """Noise of low values, gray or with three equal channels."""
    noise = np.random.default_rng(seed).integers(5, 70, (size, size), dtype=np.uint8)
    return np.repeat(noise[..., None], 3, axis=2) if color else noise


def draw(
    pixels: Array, text: str = TEXT, at: tuple[int, int] = (20, 10), height: int = 14
) -> tuple[Array, Box]:
    """The pixels with a line of text at their highest value, and the box of its glyphs.

    Args:
        pixels: rows × columns, or rows × columns × 3.
        text: one line.
        at: row and column of its top left.
        height: of the font, pixels.
    """
    ink = Image.new("L", pixels.shape[1::-1])
    ImageDraw.Draw(ink).text((at[1], at[0]), text, fill=255, font_size=height)
    mask = np.asarray(ink) > 100
    drawn = pixels.copy()
    drawn[mask] = np.iinfo(pixels.dtype).max if pixels.dtype == np.uint8 else 4000
    rows, columns = np.nonzero(mask)
    return drawn, Box(*map(int, (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)))


def picture(pixels: Array, number: int = 1, **changes: Any) -> Dataset:
    """An ultrasound image: rows × columns [× 3], or frames × those for a multi-frame one."""
    color = pixels.shape[-1] == 3
    frames = pixels.ndim - color == 3
    rows, columns = pixels.shape[frames : 2 + frames]
    dataset = ct(
        SOPClassUID=US_MULTIFRAME if frames else US,
        Modality="US",
        SOPInstanceUID=f"{ROOT}.6.{number}",
        SeriesInstanceUID=f"{ROOT}.6",
        Rows=rows,
        Columns=columns,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        SamplesPerPixel=3 if color else 1,
        PhotometricInterpretation="RGB" if color else "MONOCHROME2",
        PixelData=pixels.tobytes(),
    )
    if color:
        dataset.PlanarConfiguration = 0
    if frames:
        dataset.NumberOfFrames = len(pixels)
    for keyword in ("RescaleIntercept", "RescaleSlope", "RescaleType", "ImagePositionPatient"):
        delattr(dataset, keyword)
    return change(dataset, **changes)


def compressed(dataset: Dataset, transfer_syntax: str) -> Dataset:
    """The same with its pixels compressed."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    dataset.set_original_encoding(False, True)
    dataset.compress(transfer_syntax, generate_instance_uid=False)
    return dataset
