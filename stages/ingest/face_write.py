"""An output instance with other elements or pixel data: all other bytes stay as they are.

Rules:

- FCW-1  `RecognizableVisualFeatures` (0028,0302): YES where a face may be recognized and was left,
         NO and the code 113102 (PS3.16 CID 7050) only where voxels of the series were taken away.
- FCW-2  Where pixel data changed, the values that tell of its range go; what was JPEG stays said to
         be lossy.
"""

from __future__ import annotations

from io import BytesIO
from typing import Final

import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from stages.ingest import codes
from stages.ingest.params import Limits
from stages.ingest.raw import PIXEL_DATA, Syntax, scan
from stages.ingest.raw_file import ENCAPSULATED, meta_of
from stages.ingest.raw_write import encode, pixel_head, preamble

CLEANED: Final = ("113102", "DCM", "Clean Recognizable Visual Features Option")
_JPEG: Final = "1.2.840.10008.1.2.4.50"
_RANGE: Final = (0x00280106, 0x00280107)


def header_of(data: bytes) -> Dataset:
    """The header of an output instance; to be called where the libraries are quiet."""
    return pydicom.dcmread(BytesIO(data), stop_before_pixels=True)


def recognizable(data: bytes, limits: Limits) -> bytes:
    """The instance, said to hold a face."""
    said = Dataset()
    said.RecognizableVisualFeatures = "YES"
    return _written(data, said, limits)


def removed(data: bytes, limits: Limits, pixels: tuple[str, bytes] | None) -> bytes:
    """The instance, said to hold no face any more.

    Args:
        data: an output instance.
        limits: of a header.
        pixels: transfer syntax and value of the changed pixel data; None where it is unchanged.
    """
    said = Dataset()
    said.RecognizableVisualFeatures = "NO"
    before = [*header_of(data).DeidentificationMethodCodeSequence, codes.item_of(CLEANED)]
    said.DeidentificationMethodCodeSequence = Sequence(
        sorted(before, key=lambda item: str(item.CodeValue))
    )
    if pixels and meta_of(data)[0][0x10] == _JPEG:
        said.LossyImageCompression = "01"
    return _written(data, said, limits, pixels)


def _written(
    data: bytes, said: Dataset, limits: Limits, pixels: tuple[str, bytes] | None = None
) -> bytes:
    meta, at = meta_of(data)
    scanned = scan(data, at, Syntax(explicit=True, little=True), limits)
    if scanned.pixels is None:
        raise ValueError("an output image has pixel data")
    elements = {element.tag: data[element.start : element.stop] for element in scanned.elements}
    elements |= {int(element.tag): encode(element) for element in said}
    elements[PIXEL_DATA] = data[scanned.pixels.start : scanned.pixels.stop]
    syntax = meta[0x10]
    if pixels:
        syntax, value = pixels
        packed = syntax in ENCAPSULATED
        vr = "OB" if packed else "OW"
        elements[PIXEL_DATA] = pixel_head(vr, None if packed else len(value)) + value
        for tag in _RANGE:
            elements.pop(tag, None)
    head = preamble(meta[0x02], meta[0x03], syntax)
    return head + b"".join(elements[tag] for tag in sorted(elements))
