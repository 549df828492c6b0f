"""Private elements: those that the standard's list knows to be safe, and their creators.

Rules:

- PRI-1  A private element passes if Table E.3.10-1 lists its creator, exactly as the block reserves
         it, with its group and last byte. A creator's name alone proves nothing: all other
         elements of its block are removed.
- PRI-2  Its value has the VR (or UN with bytes of that VR) and the number of values that the table
         gives, and is no text beyond a technical name; sequences are treated like any.
- PRI-3  A creator stays where its block holds an element of the list, whatever its value.

Source: PS3.15 Section E.3.10; PS3.5 Section 7.8.1 for blocks.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from stages.ingest.tables import SafePrivate, safe_private
from stages.ingest.values import parts

_BINARY: Final = {"FL": "f", "FD": "d", "SL": "i", "SS": "h", "UL": "I", "US": "H"}


def safe(source: Dataset, tag: int) -> SafePrivate | None:
    """What the list says of a private element; None if it is not in it (PRI-1)."""
    creator = creator_of(source, tag)
    return safe_private().get((creator, tag >> 16, tag & 0xFF)) if creator else None


def creator_tag(tag: int) -> int:
    """Where the block of a private element is reserved."""
    return (tag & 0xFFFF0000) | ((tag & 0xFF00) >> 8)


def is_creator(tag: int) -> bool:
    """Whether a tag reserves a private block."""
    return bool((tag >> 16) % 2) and 0x10 <= tag & 0xFFFF <= 0xFF


def creator_of(source: Dataset, tag: int) -> str:
    """Who reserved the block of a private element; "" if nobody did."""
    if tag & 0xFFFF < 0x1000:
        return ""
    try:
        named = parts(source[creator_tag(tag)].value)
    except Exception:  # noqa: BLE001 - any fault of the parser: then nobody reserved it
        return ""
    return named[0] if len(named) == 1 else ""


def read(element: DataElement, listed: SafePrivate) -> DataElement | None:
    """The element in the VR of the list; None where it cannot be or has other values (PRI-2)."""
    value: Any = element.value
    if element.VR == "UN" and isinstance(value, bytes):
        value = _decode(value, listed.vr)
    elif listed.vr != element.VR:
        return None
    if value is None:
        return None
    if listed.vr == "SQ":
        return DataElement(element.tag, "SQ", value)
    several = value if isinstance(value, list | tuple) or hasattr(value, "append") else [value]
    if len(several) < listed.low or (listed.high is not None and len(several) > listed.high):
        return None
    try:
        return DataElement(
            element.tag, listed.vr, several[0] if len(several) == 1 else list(several)
        )
    except (ValueError, TypeError, ArithmeticError):
        return None


def _decode(data: bytes, vr: str) -> list[Any] | None:
    """Values of an element whose VR the file does not tell, little endian."""
    if vr == "SQ":
        return None
    if vr not in _BINARY:
        try:
            return [text.strip(" \0") for text in data.decode("ascii").split("\\")]
        except UnicodeDecodeError:
            return None
    size = struct.calcsize(_BINARY[vr])
    if not data or len(data) % size:
        return None
    return list(struct.unpack(f"<{len(data) // size}{_BINARY[vr]}", data))
