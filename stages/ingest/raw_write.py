"""A pseudonymized data set as bytes, element by element: what pydicom would write, in pieces.

Explicit VR little endian throughout; the preamble is zero and the file meta is our own.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.multival import MultiValue

from stages.ingest.raw import PIXEL_DATA, UNDEFINED

CHARACTER_SET: Final = "ISO_IR 192"
_PADDING: Final = {**dict.fromkeys(("DA", "DS", "DT", "IS", "TM"), b" "), "UI": b"\0"}
"""VRs of one plain text, and what makes its length even (PS3.5 Section 6.2)."""
_HEAD: Final = struct.Struct("<HH2s")
IMPLEMENTATION: Final = (
    f"2.25.{int.from_bytes(hashlib.sha256(b'Kette ingest').digest()[:16])}",
    "KETTE_INGEST_1",
)


def elements_of(result: Dataset) -> dict[int, bytes]:
    """Each element at the top, encoded."""
    return {int(tag): encode(result[tag]) for tag in result.keys()}  # noqa: SIM118


def encode(element: DataElement) -> bytes:
    """One element, encoded."""
    if element.VR in _PADDING and not isinstance(element.value, MultiValue | list):
        value = element.value
        text = "" if value is None else str(getattr(value, "original_string", value))
        raw = text.encode("latin-1")
        raw += _PADDING[element.VR] * (len(raw) % 2)
        if len(raw) < 1 << 16:
            head = head_of(int(element.tag), element.VR)
            return head + len(raw).to_bytes(2, "little") + raw
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_data_element(buffer, element, CHARACTER_SET)
    return buffer.getvalue()


def head_of(tag: int, vr: str) -> bytes:
    """What stands before the length of an element whose VR has a length of two bytes."""
    return _HEAD.pack(tag >> 16, tag & 0xFFFF, vr.encode("ascii"))


def pixel_head(vr: str, length: int | None) -> bytes:
    """What stands before the value of Pixel Data.

    Args:
        vr: OB or OW.
        length: of the value, bytes; None for encapsulated pixel data.
    """
    group, element = PIXEL_DATA >> 16, PIXEL_DATA & 0xFFFF
    size = UNDEFINED if length is None else length
    return struct.pack("<HH2sHI", group, element, vr.encode("ascii"), 0, size)


def preamble(sop_class: str, sop: str, transfer_syntax: str) -> bytes:
    """Preamble, prefix and file meta (PS3.10 Section 7.1)."""
    uids = ((0x02, sop_class), (0x03, sop), (0x10, transfer_syntax), (0x12, IMPLEMENTATION[0]))
    group = struct.pack("<HH2sHI2s", 2, 1, b"OB", 0, 2, b"\0\1")
    group += b"".join(_meta(element, b"UI", uid, b"\0") for element, uid in uids)
    group += _meta(0x13, b"SH", IMPLEMENTATION[1], b" ")
    return bytes(128) + b"DICM" + struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(group)) + group


def _meta(element: int, vr: bytes, text: str, pad: bytes) -> bytes:
    value = text.encode("ascii")
    value += pad * (len(value) % 2)
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value
