"""Rows as few bytes, for what the coordinator holds of every instance until its unit runs."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from typing import Any, Final

_QUICK: Final = 1
"""Level of compression: digests make up most of a row, and no level packs them further."""


def packed(rows: Iterable[list[Any]]) -> bytes:
    """Pack rows of JSON values; `unpacked(packed(rows))` are the rows."""
    return zlib.compress(json.dumps(list(rows)).encode("ascii"), _QUICK)


def unpacked(data: bytes) -> list[list[Any]]:
    """The rows as they were packed."""
    rows: list[list[Any]] = json.loads(zlib.decompress(data))
    return rows
