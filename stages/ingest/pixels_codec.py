"""Pixel data to frames and back, within the guarded child: bits in, the same bits out.

Rules:

- PXC-1  Native pixel data is viewed, not decoded; it goes back in its own layout.
- PXC-2  What was compressed goes back as JPEG-LS lossless (CharLS, BSD), or native where JPEG-LS
         does not take it; what was encoded is decoded again and held against the frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stages.ingest.pixels_frames import READABLE

EXPLICIT: Final = "1.2.840.10008.1.2.1"
JPEG_LS: Final = "1.2.840.10008.1.2.4.80"
LARGEST: Final = 384 * 2**20
"""Bytes of all decoded frames."""

Array = NDArray[np.generic]


class Unreadable(Exception):
    """Raised for pixels that cannot be looked at."""


@dataclass(frozen=True)
class Layout:
    """What the header says of the pixels, and the transfer syntax ("" for native)."""

    transfer_syntax: str
    frames: int
    rows: int
    columns: int
    samples: int
    bits: int
    stored: int
    signed: bool
    photometric: str
    planar: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of a sample, little endian."""
        return np.dtype(f"<{'i' if self.signed else 'u'}{self.bits // 8}")

    @property
    def grid(self) -> tuple[int, ...]:
        """Frames × rows × columns, with × 3 for color."""
        color = (self.samples,) if self.samples > 1 else ()
        return (self.frames, self.rows, self.columns, *color)


def read(layout: Layout, data: bytes) -> tuple[Array, str]:
    """All frames, and their photometric interpretation.

    Raises:
        Unreadable: more than the limit, or of a kind that is not looked at.
    """
    size = int(np.prod(layout.grid)) * layout.bits // 8
    if layout.bits not in (8, 16, 32) or layout.samples not in (1, 3) or size > LARGEST:
        raise Unreadable
    if layout.transfer_syntax:
        frames, photometric = _decoded(layout, data)
    else:
        frames, photometric = _viewed(layout, data[:size]), layout.photometric
    if photometric not in READABLE:
        raise Unreadable
    return frames, photometric


def _viewed(layout: Layout, data: bytes) -> Array:
    array = np.frombuffer(data, layout.dtype)
    if layout.samples == 1 or not layout.planar:
        return array.reshape(layout.grid)
    frames, rows, columns, samples = layout.grid
    return np.moveaxis(array.reshape(frames, samples, rows, columns), 1, -1)


def _decoded(layout: Layout, data: bytes) -> tuple[Array, str]:
    from pydicom.pixels.decoders.base import get_decoder

    decoder: Any = get_decoder(layout.transfer_syntax)
    result = np.empty(layout.grid, layout.dtype)
    photometric = layout.photometric
    for number in range(layout.frames):
        frame, told = decoder.as_array(
            data,
            index=number,
            raw=True,
            number_of_frames=layout.frames,
            planar_configuration=0,
            pixel_keyword="PixelData",
            **_said(layout, layout.photometric),
        )
        result[number] = frame
        photometric = str(told["photometric_interpretation"])
    return result, photometric


def write(layout: Layout, frames: Array, photometric: str) -> tuple[str, bytes]:
    """Transfer syntax and value of Pixel Data for changed frames (PXC-1, PXC-2)."""
    if not layout.transfer_syntax:
        planar = layout.samples > 1 and layout.planar
        array = np.moveaxis(frames, -1, 1) if planar else frames
        return EXPLICIT, _even(array.tobytes())
    encoded = _encoded(layout, frames, photometric)
    return (JPEG_LS, encoded) if encoded else (EXPLICIT, _even(frames.tobytes()))


def _encoded(layout: Layout, frames: Array, photometric: str) -> bytes | None:
    from pydicom.encaps import encapsulate
    from pydicom.pixels.encoders.base import get_encoder

    encoder: Any = get_encoder(JPEG_LS)
    said = {**_said(layout, photometric), "number_of_frames": 1}
    try:
        streams = [
            encoder.encode(frame, index=None, **said, planar_configuration=0) for frame in frames
        ]
    except Exception:  # noqa: BLE001 - whatever the encoder refuses is written native
        return None
    value = encapsulate(streams)
    end = b"\xfe\xff\xdd\xe0\0\0\0\0"
    value = value if value.endswith(end) else value + end
    again, _ = _decoded(_as_jpeg_ls(layout, photometric), value)
    return value if np.array_equal(again, frames) else None


def _as_jpeg_ls(layout: Layout, photometric: str) -> Layout:
    from dataclasses import replace

    return replace(layout, transfer_syntax=JPEG_LS, photometric=photometric)


def _said(layout: Layout, photometric: str) -> dict[str, Any]:
    return {
        "rows": layout.rows,
        "columns": layout.columns,
        "samples_per_pixel": layout.samples,
        "bits_allocated": layout.bits,
        "bits_stored": layout.stored,
        "pixel_representation": int(layout.signed),
        "photometric_interpretation": photometric,
    }


def _even(value: bytes) -> bytes:
    return value + b"\0" * (len(value) % 2)
