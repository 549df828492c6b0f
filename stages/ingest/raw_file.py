"""A DICOM file from its first byte to its data set: preamble, file meta, transfer syntax.

Rules:

- RWF-1  The file meta is read by hand (PS3.10 Section 7.1: always explicit VR little endian), so
         that nothing is inflated or decoded before the transfer syntax is known.
- RWF-2  A deflated data set (PS3.5 Section A.5) inflates within the limit of a file's size, or not
         at all.
- RWF-3  Only transfer syntaxes of the tables below pass on.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from stages.ingest.params import Limits
from stages.ingest.quarantine import Quarantined, Reason
from stages.ingest.raw import Buffer, Syntax

EXPLICIT: Final = "1.2.840.10008.1.2.1"
IMPLICIT: Final = "1.2.840.10008.1.2"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
NATIVE: Final = {
    IMPLICIT: Syntax(explicit=False, little=True),
    EXPLICIT: Syntax(explicit=True, little=True),
    DEFLATED: Syntax(explicit=True, little=True),
    BIG_ENDIAN: Syntax(explicit=True, little=False),
}
ENCAPSULATED: Final = {
    "1.2.840.10008.1.2.4.50": "JPEG",
    "1.2.840.10008.1.2.4.80": "JPEG-LS",
    "1.2.840.10008.1.2.4.81": "JPEG-LS",
    "1.2.840.10008.1.2.4.90": "JPEG 2000",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.5": "RLE",
}
"""Transfer syntax → family of codestream, of those that permissively licensed decoders read."""
_TRANSFER_SYNTAX: Final = 0x0010
_PIECE: Final = 2**20
_LONG: Final = (b"OB", b"UN", b"OW", b"SQ", b"UT")


@dataclass(frozen=True)
class RawFile:
    """A file whose data set can be scanned."""

    data: Buffer = field(repr=False)
    at: int
    """Offset of the data set in `data`, bytes."""
    transfer_syntax: str
    syntax: Syntax
    codec: str = ""
    """Family of codestream of encapsulated pixel data; empty for native."""


def meta_of(data: Buffer) -> tuple[dict[int, str], int]:
    """UIDs of the file meta group by element number, and where the data set starts.

    Raises:
        Quarantined: no DICOM file, or a damaged group.
    """
    if data[128:132] != b"DICM":
        raise Quarantined(Reason.NOT_DICOM)
    found: dict[int, str] = {}
    at = 132
    while data[at : at + 2] == b"\x02\x00" and len(data) >= at + 12:
        element, vr = struct.unpack_from("<H2s", data, at + 2)
        long = vr in _LONG
        (length,) = struct.unpack_from("<I" if long else "<H", data, at + (8 if long else 6))
        at += 12 if long else 8
        if at + length > len(data):
            raise Quarantined(Reason.CORRUPT)
        if vr == b"UI":
            found[element] = bytes(data[at : at + length]).decode("ascii", "replace").strip(" \0")
        at += length
    return found, at


def open_file(data: Buffer, limits: Limits) -> RawFile:
    """Find the data set of a file, inflated if need be.

    Raises:
        Quarantined: no DICOM file, damaged, or a transfer syntax that is not accepted.
    """
    meta, at = meta_of(data)
    if _TRANSFER_SYNTAX not in meta:
        raise Quarantined(Reason.CORRUPT)
    uid = meta[_TRANSFER_SYNTAX]
    if uid in ENCAPSULATED:
        return RawFile(data, at, uid, NATIVE[EXPLICIT], ENCAPSULATED[uid])
    if uid not in NATIVE:
        raise Quarantined(Reason.TRANSFER_SYNTAX)
    if uid == DEFLATED:
        return RawFile(inflate(data[at:], limits.file_bytes - len(data)), 0, uid, NATIVE[uid])
    return RawFile(data, at, uid, NATIVE[uid])


def inflate(data: Buffer, limit: int) -> bytearray:
    """Inflate a data set of at most `limit` bytes; it is measured before there is room for it.

    Raises:
        Quarantined: more bytes, or damaged.
    """
    size = 0
    for piece in _inflated(data):
        size += len(piece)
        if size > limit:
            raise Quarantined(Reason.TOO_LARGE)
    whole, at = bytearray(size), 0
    for piece in _inflated(data):
        whole[at : at + len(piece)] = piece
        at += len(piece)
    return whole


def _inflated(data: Buffer) -> Iterator[bytes]:
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for start in range(0, len(data), _PIECE):
            left: Buffer = data[start : start + _PIECE]
            while left and not stream.eof:
                yield stream.decompress(left, _PIECE)
                left = stream.unconsumed_tail
    except zlib.error:
        raise Quarantined(Reason.CORRUPT) from None
    yield stream.flush()
    if not stream.eof:
        raise Quarantined(Reason.CORRUPT)
