"""How many entries a ZIP archive's directory holds, counted before a library makes room for them.

`zipfile` reads a directory whole and makes an object for each entry, whatever the archive says of
their number, so that few bytes on the disk take many times as many in memory.

Source: APPNOTE.TXT 6.3.10, Sections 4.3.12 (directory), 4.3.14 and 4.3.15 (ZIP64), 4.3.16 (end).
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO, Final

_END: Final = struct.Struct("<4s4H2LH")
_LOCATOR: Final = struct.Struct("<4sLQL")
_END_64: Final = struct.Struct("<4sQ2H2L4Q")
_ENTRY: Final = struct.Struct("<4s24x3H12x")
_COMMENT: Final = 2**16
_AVERAGE: Final = 1024
"""Bytes of an entry in the directory, on average, beyond which it is read no further."""


def exceeds(path: Path, limit: int) -> bool:
    """Whether an archive's directory has more entries than a limit, or is larger than so many are.

    Args:
        path: the archive; what is none exceeds nothing.
        limit: number of entries.
    """
    with path.open("rb") as file:
        start, size = _directory(file)
        if size > (limit + 1) * _AVERAGE:
            return True
        file.seek(start)
        directory = file.read(size)
    at = count = 0
    while at + _ENTRY.size <= len(directory) and count <= limit:
        mark, *lengths = _ENTRY.unpack_from(directory, at)
        if mark != b"PK\1\2":
            return False  # damaged: the library says so
        at += _ENTRY.size + sum(lengths)
        count += 1
    return count > limit


def _directory(file: BinaryIO) -> tuple[int, int]:
    """Where the directory starts, and its bytes; (0, 0) where there is none."""
    end = file.seek(0, os.SEEK_END)
    first = max(0, end - _COMMENT - _END.size)
    file.seek(first)
    tail = file.read()
    found = len(tail) - _END.size
    if found < 0 or tail[found : found + 4] != b"PK\5\6" or tail[-2:] != b"\0\0":
        found = tail.rfind(b"PK\5\6")  # with a comment behind it
    if found < 0 or found + _END.size > len(tail):
        return 0, 0
    at = first + found
    size = _END.unpack_from(tail, found)[5]
    before = at - _LOCATOR.size - _END_64.size
    if before >= 0:
        file.seek(before)
        record = file.read(_END_64.size + _LOCATOR.size)
        if record[:4] == b"PK\6\6" and record[_END_64.size :][:4] == b"PK\6\7":
            at, size = before, _END_64.unpack_from(record)[8]
    return max(0, at - size), min(size, at)
