"""The bytes that headers have in common: stretches of equal bytes with gaps between them.

A gap is the length and value of one element at the top; all else of the header, that element's
tag and VR included, is a stretch. A data set matches if every stretch is equal to the last byte, so
that its elements are known without being looked for.

What may be a gap stands alone: a date, time, number or UID at the top, by file and by dictionary,
or private data of a block. Nothing else of the instance is judged by it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from stages.ingest.raw import UNDEFINED, Buffer, Element, Syntax, has_long_length

_ALONE: Final = frozenset(("DA", "DS", "DT", "FD", "FL", "IS", "SL", "TM", "UI", "UL"))
_FOR_ALL: Final = frozenset((0x00080016, 0x00280008))
"""SOP Class UID and Number of Frames, by which the whole instance is judged."""
_PIXELS_OWN: Final = frozenset((0x00280106, 0x00280107))
"""Smallest and Largest Image Pixel Value, which say nothing of the pixels' layout."""


class Gap(NamedTuple):
    """Length and value of an element, and the bytes before them."""

    tag: int
    stretch: bytes
    """From the last gap through this element's VR (and what is reserved behind it)."""
    head: int
    """How many of the stretch's bytes are this element's."""
    width: int
    """Bytes of the length."""


@dataclass(frozen=True)
class Layout:
    """The stretches and gaps of a header."""

    gaps: tuple[Gap, ...]
    last: bytes
    """The stretch after the last gap."""

    def match(self, data: Buffer, at: int) -> tuple[list[bytes], int] | None:
        """Hold the bytes from offset `at` against the stretches.

        Returns:
            Length and value of each gap as they stand, and the offset after the last stretch.
        """
        values = []
        size = len(data)
        for gap in self.gaps:
            start = at + len(gap.stretch)
            if data[at:start] != gap.stretch:
                return None
            at = start + gap.width
            length = int.from_bytes(data[start:at], "little")
            at += length
            if at > size or length == UNDEFINED:
                return None
            values.append(bytes(data[start:at]))
        stop = at + len(self.last)
        return (values, stop) if data[at:stop] == self.last else None


def layout_of(
    data: Buffer, start: int, stop: int, syntax: Syntax, gaps: Collection[Element]
) -> Layout:
    """The layout of a little endian header.

    Args:
        data: the file.
        start: offset of the header, bytes.
        stop: offset behind it.
        syntax: of the data set.
        gaps: the elements whose values vary, in the order of the file.
    """
    found = []
    for element in gaps:
        width = 4 if not syntax.explicit or has_long_length(element.vr) else 2
        head = element.value - width
        stretch = bytes(data[start:head])
        found.append(Gap(element.tag, stretch, head - element.start, width))
        start = element.stop
    return Layout(tuple(found), bytes(data[start:stop]))


@lru_cache(maxsize=50_000)
def stands_alone(tag: int, vr: bytes) -> bool:
    """Whether what becomes of an element depends on nothing but itself and its frame.

    Args:
        tag: group and element as one integer.
        vr: of the file; empty in implicit VR.
    """
    from pydicom.datadict import dictionary_VR

    if tag >> 16 & 1:
        return tag & 0xFFFF >= 0x1000 and vr not in (b"SQ", b"PN")
    try:
        listed = dictionary_VR(tag)
    except KeyError:
        return False
    said = vr.decode("ascii")
    if said in ("US", "SS"):
        return tag in _PIXELS_OWN or (listed == said and tag >> 16 < 0x0028)
    return listed in _ALONE and said in ("", listed) and tag not in _FOR_ALL
