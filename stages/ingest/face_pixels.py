"""Frames of output instances as arrays and back; what is compressed goes through the guarded child.

Rules: PXC-1 and PXC-2 (`pixels_codec.py`), BOX-1 and BOX-2 (`sandbox.py`).
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from stages.ingest.face_write import header_of
from stages.ingest.params import Limits
from stages.ingest.pixels_box import Looker
from stages.ingest.pixels_codec import EXPLICIT, Layout
from stages.ingest.raw import Syntax, scan
from stages.ingest.raw_file import ENCAPSULATED, meta_of

_ANY = Limits(elements=1 << 40, depth=64)


class Codec:
    """Reads and writes frames; a context manager."""

    def __init__(self) -> None:
        self._child = Looker()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.close()

    def read(self, data: bytes, header: Dataset) -> NDArray[Any]:
        """The stored values of an instance of one gray frame.

        Raises:
            Quarantined: it cannot be decoded.
        """
        layout = _layout(header, _syntax(data))
        value = _value(data)
        if layout.transfer_syntax:
            value = self._child.decode(layout, value)
        size = layout.rows * layout.columns * layout.bits // 8
        return np.frombuffer(value[:size], layout.dtype).reshape(layout.rows, layout.columns)

    def write(self, data: bytes, frame: NDArray[Any]) -> tuple[str, bytes]:
        """Transfer syntax and value of an instance's pixel data, changed.

        Raises:
            Quarantined: it cannot be encoded.
        """
        layout = _layout(header_of(data), _syntax(data))
        value = frame.astype(layout.dtype).tobytes()
        if layout.transfer_syntax:
            return self._child.encode(layout, value)
        return EXPLICIT, value + b"\0" * (len(value) % 2)


def _syntax(data: bytes) -> str:
    syntax = meta_of(data)[0][0x10]
    return syntax if syntax in ENCAPSULATED else ""


def _value(data: bytes) -> bytes:
    pixels = scan(data, meta_of(data)[1], Syntax(explicit=True, little=True), _ANY).pixels
    return data[pixels.value : pixels.stop] if pixels else b""


def _layout(header: Dataset, syntax: str) -> Layout:
    return Layout(
        transfer_syntax=syntax,
        frames=1,
        rows=int(header.Rows),
        columns=int(header.Columns),
        samples=1,
        bits=int(header.BitsAllocated),
        stored=int(header.BitsStored),
        signed=bool(header.PixelRepresentation),
        photometric=str(header.PhotometricInterpretation),
        planar=0,
    )
