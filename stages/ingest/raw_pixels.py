"""Pixel data as bytes: whether they are what the header says, and how they pass on undecoded.

Rules:

- PIX-1  Native pixel data has the length that the header gives, to the byte.
- PIX-2  Encapsulated pixel data holds as many codestreams as frames, each of the header's size, so
         that nobody downstream is led to allocate more (`raw_codec.py`).
- PIX-3  Little endian pixel data passes on as it stands; big endian words are turned.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from pydicom.dataset import Dataset

from stages.ingest.params import Limits
from stages.ingest.quarantine import Quarantined, Reason
from stages.ingest.raw import Buffer, fragments
from stages.ingest.raw_beside import image_alone
from stages.ingest.raw_codec import Shape, check_codestream, frames_of
from stages.ingest.raw_file import RawFile

_OVERHEAD: Final = 64 * 1024
"""Bytes that a codestream may have beyond twice its frame's; the worst that scanners write is less
than a tenth more than the frame."""
_WORDS: Final = {"OW": "u2", "OL": "u4", "OF": "u4", "OV": "u8", "OD": "u8"}
"""VR → the words of which its value consists, which big endian turns (PS3.5 Section 7.3)."""


@dataclass(frozen=True)
class Pixels:
    """Pixel data as it stands in the source."""

    value: Buffer = field(repr=False)
    """For encapsulated pixel data, all items with their delimiter."""
    shape: Shape


def shape_of(source: Dataset, limits: Limits) -> Shape:
    """Read an instance's shape.

    Raises:
        Quarantined: it is missing or beyond the limits.
    """
    rows, columns, samples, bits, stored, signed = (
        int(source.get(keyword) or 0)
        for keyword in (
            "Rows",
            "Columns",
            "SamplesPerPixel",
            "BitsAllocated",
            "BitsStored",
            "PixelRepresentation",
        )
    )
    frames = int(source.get("NumberOfFrames") or 1)
    if not (0 < rows <= limits.rows and 0 < columns <= limits.rows and 0 < frames <= limits.frames):
        raise Quarantined(Reason.SIZE)
    photometric = str(source.get("PhotometricInterpretation") or "")
    return Shape(rows, columns, frames, samples, bits, stored, bool(signed), photometric)


def pixels_at(file: RawFile, at: int, shape: Shape, limits: Limits) -> Pixels:
    """The pixel data whose value starts at offset `at`, held against the header (PIX-1, PIX-2).

    Raises:
        Quarantined: it has another length or its codestreams another size than the header says.
    """
    view = memoryview(file.data)
    if not file.codec:
        value = view[at : at + shape.length]
        if not shape.length or len(value) != shape.length:
            raise Quarantined(Reason.PIXELS)
        return Pixels(value, shape)
    items = fragments(file.data, at, limits)
    value = view[at : items[-1].stop]
    frames = frames_of([view[item.value : item.stop] for item in items[:-1]], shape.frames)
    if len(value) > 2 * shape.length + _OVERHEAD * shape.frames:
        raise Quarantined(Reason.DECODE)
    for frame in frames:
        check_codestream(file.codec, frame, shape)
    return Pixels(image_alone(file.codec, view, items, shape), shape)


def turned(value: Buffer, vr: str) -> bytes:
    """A big endian value in little endian (PIX-3)."""
    if vr not in _WORDS:
        return bytes(value)
    return np.frombuffer(value, _WORDS[vr]).byteswap().tobytes()


def turn(result: Dataset) -> None:
    """Turn every value of words in a data set that was read as big endian."""
    for element in result:
        if element.VR == "SQ":
            for item in element.value:
                turn(item)
        elif element.VR in _WORDS and isinstance(element.value, bytes):
            element.value = turned(element.value, element.VR)
