"""What a codestream carries beside its image, blanked in place: no length and no sample changes.

Comments, application data (EXIF and thumbnails among them) and what follows an image's end are read
by no decoder, and may hold anything.

Rules:

- BES-1  Of JPEG and JPEG-LS, the values of comments and application segments are filled with zeros,
         but for what a decoder needs: JFIF without its thumbnail, Adobe's and HP's color transform.
- BES-2  Of JPEG 2000, the values of comments.
- BES-3  Of RLE, the unused offsets, and in each segment what follows the plane's last byte (filled
         with the run that means nothing).
- BES-4  What follows the end of an image is filled with zeros.
- BES-5  An offset table that is there is written anew where it is wrong.
- BES-6  A codestream that cannot be walked to its end is quarantined: what of it is image, and what
         is not, cannot be told.

Sources: ITU-T T.81 Annex B, T.87 Annex C, T.800 Annex A, T.871; PS3.5 Annex G.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from typing import Final

from stages.ingest.quarantine import Quarantined, Reason
from stages.ingest.raw import Buffer, Element
from stages.ingest.raw_codec import Shape

Span = tuple[int, int]
"""Offsets of the first byte and of that behind the last."""

_NEEDED: Final = ((0xE0, b"JFIF\0", 14), (0xEE, b"Adobe", 12), (0xE8, b"mrfx", 5))
"""Marker, how its value begins, how many bytes of it are needed (BES-1)."""
_TABLES: Final = frozenset((0xC4, 0xCC, 0xDB, 0xDC, 0xDD, 0xF8))
_FRAMES: Final = frozenset((0xC0, 0xC1, 0xC3, 0xF7))
_APPLICATION: Final = frozenset((*range(0xE0, 0xF0), 0xFE))
_END: Final = 0xD9
_SCAN: Final = 0xDA
_MARKER: Final = {
    "JPEG": re.compile(rb"\xff+[\x01-\xcf\xd8-\xfe]"),
    "JPEG-LS": re.compile(rb"\xff+[\x80-\xcf\xd8-\xfe]"),
}
"""What ends a scan: stuffed bytes and restart intervals do not."""
_SEGMENTS: Final = frozenset(
    (0x50, 0x51, 0x52, 0x53, 0x55, 0x57, 0x58, 0x5C, 0x5D, 0x5E, 0x5F, 0x60, 0x61, 0x63, 0x64)
)
_COMMENT: Final = 0x64
_TILE: Final = 0x90
_DATA: Final = 0x93
_NO_RUN: Final = 0x80
_HEADER: Final = 64
"""Bytes of the header of RLE."""


def image_alone(codec: str, view: memoryview, items: Sequence[Element], shape: Shape) -> Buffer:
    """Encapsulated pixel data with nothing in it beside the image.

    Args:
        codec: its family of codestream.
        view: of what the items' offsets count in.
        items: its offset table, its fragments (one a frame, or all of one frame), its delimiter.
        shape: what the header says.

    Returns:
        A view, or where anything was blanked a copy.

    Raises:
        Quarantined: BES-5 (a table of another size), BES-6.
    """
    table, *parts, last = items
    whole = view[table.start : last.stop]
    pieces = [(table, _offsets(view[table.value : table.stop], parts, shape))]
    for group in [parts] if shape.frames == 1 else [[part] for part in parts]:
        stream = b"".join(view[part.value : part.stop] for part in group)
        if new := blanked(codec, stream, shape):
            rest = BytesIO(new)
            pieces += [(part, rest.read(part.stop - part.value)) for part in group]
    return _written(whole, table.start, [(part, new) for part, new in pieces if new is not None])


def _written(whole: memoryview, at: int, pieces: Sequence[tuple[Element, bytes]]) -> Buffer:
    if not pieces:
        return whole
    copy = bytearray(whole)
    for part, new in pieces:
        copy[part.value - at : part.stop - at] = new
    return bytes(copy)


def _offsets(said: memoryview, parts: Sequence[Element], shape: Shape) -> bytes | None:
    """The offset table anew (BES-5); None where it is right, or empty."""
    starts = [part.start - parts[0].start for part in parts[: shape.frames]]
    right = struct.pack(f"<{len(starts)}I", *starts)
    if len(said) not in (0, len(right)):
        raise Quarantined(Reason.DECODE)
    return right if said and said != right else None


def blanked(codec: str, data: bytes, shape: Shape) -> bytes | None:
    """A codestream with nothing beside its image; None where that is how it is.

    Raises:
        Quarantined: BES-6.
    """
    whole = bytearray()
    try:
        for at, stop in _SPANS[codec](data, shape):
            fill = bytes([_NO_RUN if codec == "RLE" and at >= _HEADER else 0])
            if data[at:stop].strip(b"\0" + fill):
                whole = whole or bytearray(data)
                whole[at:stop] = fill * (stop - at)
    except (struct.error, IndexError):
        raise Quarantined(Reason.DECODE) from None
    return bytes(whole) or None


def _jpeg(data: bytes, _: Shape, codec: str = "JPEG") -> Iterator[Span]:
    at, ends = 2, _MARKER[codec]
    while at < len(data):
        while data[at : at + 2] == b"\xff\xff":
            at += 1
        if data[at : at + 2] == b"\xff\xd9":
            yield at + 2, len(data)
            return
        mark, marker, length = struct.unpack_from(">BBH", data, at)
        if mark != 0xFF or length < 2 or at + 2 + length > len(data):
            raise Quarantined(Reason.DECODE)
        value, at = at + 4, at + 2 + length
        if marker in _APPLICATION:
            yield value + _needed(marker, data[value : value + 5], at - value), at
        elif marker == _SCAN:
            found = ends.search(data, at)
            at = len(data) if found is None else found.end() - 2
        elif marker not in _TABLES and marker not in _FRAMES:
            raise Quarantined(Reason.DECODE)


def _needed(marker: int, start: bytes, length: int) -> int:
    for which, begins, needed in _NEEDED:
        if marker == which and start.startswith(begins):
            return min(needed, length)
    return 0


def _jpeg_ls(data: bytes, shape: Shape) -> Iterator[Span]:
    return _jpeg(data, shape, "JPEG-LS")


def _jpeg_2000(data: bytes, _: Shape) -> Iterator[Span]:
    at, tile, parts = 2, 0, len(data)
    while at + 2 <= len(data):
        mark, marker = data[at], data[at + 1]
        if mark != 0xFF:
            raise Quarantined(Reason.DECODE)
        if marker == _END:
            yield at + 2, len(data)
            return
        if marker == _DATA:
            at = tile + parts if parts else _end_of(data, at)
            if at < tile + 14:
                raise Quarantined(Reason.DECODE)
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        value, stop = at + 4, at + 2 + length
        if length < 2 or stop > len(data) or marker not in (*_SEGMENTS, _TILE):
            raise Quarantined(Reason.DECODE)
        if marker == _TILE:
            tile, parts = at, struct.unpack_from(">I", data, at + 6)[0]
        if marker == _COMMENT:
            yield value + 2, stop
        at = stop


def _end_of(data: bytes, at: int) -> int:
    """Where the last tile ends that does not tell its length."""
    found = data.find(b"\xff\xd9", at)
    return len(data) if found < 0 else found


def _rle(data: bytes, shape: Shape) -> Iterator[Span]:
    count, *offsets = struct.unpack_from("<16I", data)
    if max(offsets[:count], default=0) > len(data):
        raise Quarantined(Reason.DECODE)
    yield 4 + 4 * count, _HEADER
    for start, stop in zip(offsets[:count], (*offsets[1:count], len(data)), strict=True):
        at, left = start, shape.rows * shape.columns
        while left > 0 and at < stop:
            run = data[at]
            literal = run < _NO_RUN
            if run != _NO_RUN:
                left -= run + 1 if literal else 257 - run
            at += 1 + (run + 1 if literal else run != _NO_RUN)
        yield at, stop


_SPANS: Final[dict[str, Callable[[bytes, Shape], Iterator[Span]]]] = {
    "JPEG": _jpeg,
    "JPEG-LS": _jpeg_ls,
    "JPEG 2000": _jpeg_2000,
    "RLE": _rle,
}
