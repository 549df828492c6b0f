"""Overlays within the pixels: bits beside the stored ones, cleared.

Overlay planes and curves as elements of their own go by the profile (PRO-4). Until 2004 an overlay
could also lie in bits of the pixel data that the image does not use; the group 60xx then tells the
bit (PS3.5-2001 Section 8.1.2, since retired).

Rules:

- OVL-1  Where a header tells of such an overlay, every bit that is none of the stored bits is
         cleared, whichever bit it names; signed samples keep their sign.
- OVL-2  The stored bits keep their value and their place.
- OVL-3  In compressed pixel data, or in other than 8 and 16 bits, it is not cleared: quarantined.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from stages.ingest.raw import Buffer

_GROUPS: Final = range(0x6000, 0x6020, 2)
_BITS_ALLOCATED: Final = 0x0100
_BIT_POSITION: Final = 0x0102


def in_pixels(source: Dataset) -> bool:
    """Whether the header tells of an overlay within the pixel data."""
    return any(
        _number(source, group, _BITS_ALLOCATED, 1) > 1 or _number(source, group, _BIT_POSITION) > 0
        for group in _GROUPS
    )


def clear(value: Buffer, *, bits: int, stored: int, high: int, signed: bool) -> bytes | None:
    """Native little endian pixel data with every unused bit cleared; None if it cannot be.

    Args:
        value: the pixel data.
        bits: allocated.
        stored: of them, used.
        high: the highest of those.
        signed: whether they are two's complement.
    """
    if bits not in (8, 16) or not 0 < stored <= high + 1 <= bits:
        return None
    words: NDArray[Any] = np.frombuffer(value, f"<u{bits // 8}")
    low = high + 1 - stored
    mask = ((1 << stored) - 1) << low
    cleared = words & words.dtype.type(mask)
    if signed and high + 1 < bits:
        sign = (words >> words.dtype.type(high)) & words.dtype.type(1)
        above = ((1 << bits) - 1) ^ ((1 << (high + 1)) - 1)
        cleared |= sign * words.dtype.type(above)
    return bytes(cleared.tobytes())


def _number(source: Dataset, group: int, element: int, default: int = 0) -> int:
    found = source.get((group, element))
    return default if found is None or found.value is None else int(found.value)
