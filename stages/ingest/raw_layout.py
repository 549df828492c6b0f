"""The bytes that headers have in common: stretches of equal bytes with gaps between them.

A gap is the length and value of one element at the top; all else of the header, that element's
tag and VR included, is a stretch. A data set matches if every stretch is equal to the last byte, so
that its elements are known without being looked for.

What may be a gap stands alone: a date, time, number or UID at the top, by file and by dictionary,
or private data of a block. Nothing else of the instance is judged by it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
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


class Found(NamedTuple):
    """A header that matches."""

    values: list[tuple[int, bytes]]
    """(number of the gap, length and value as they stand) of gaps that differ from the first's."""
    stop: int
    """Offset behind the header, bytes."""


class Layout:
    """The stretches and gaps of a header, and what stands in the gaps of the first one.

    Gaps that have not differed yet are compared as parts of the stretches between those that have,
    so that a header like those before takes few comparisons.
    """

    def __init__(self, gaps: Sequence[Gap], values: Sequence[bytes], last: bytes) -> None:
        """Take the first header apart.

        Args:
            gaps: in the order of the file.
            values: length and value of each gap as they stand.
            last: the stretch after the last gap.
        """
        self.gaps = tuple(gaps)
        self._values = tuple(values)
        self._last = last
        self._differed: frozenset[int] = frozenset()
        self._all = self._runs(frozenset(range(len(gaps))))
        self._few = self._runs(self._differed)

    def match(self, data: Buffer, at: int) -> Found | None:
        """Hold the bytes from offset `at` against the stretches; None if they do not match."""
        found = _walk(self._few, data, at)
        if found is not None:
            return found
        found = _walk(self._all, data, at)
        if found is None:
            return None
        values = [
            (number, value) for number, value in found.values if value != self._values[number]
        ]
        self._differed |= {number for number, _ in values}
        self._few = self._runs(self._differed)
        return found._replace(values=values)

    def _differs(self, number: int, value: bytes) -> bool:
        return value != self._values[number]

    def _runs(self, chosen: frozenset[int]) -> _Runs:
        """Stretches with only the chosen gaps between them."""
        found, run = [], b""
        for number, (gap, value) in enumerate(zip(self.gaps, self._values, strict=True)):
            run += gap.stretch
            if number in chosen:
                found.append((run, number, gap.width))
                run = b""
            else:
                run += value
        return _Runs(found, run + self._last)


class _Runs(NamedTuple):
    gaps: list[tuple[bytes, int, int]]
    """The stretch before a gap, the gap's number, and the bytes of its length."""
    last: bytes


def _walk(runs: _Runs, data: Buffer, at: int) -> Found | None:
    values = []
    size = len(data)
    for stretch, number, width in runs.gaps:
        start = at + len(stretch)
        if data[at:start] != stretch:
            return None
        at = start + width
        length = int.from_bytes(data[start:at], "little")
        at += length
        if at > size or length == UNDEFINED:
            return None
        values.append((number, bytes(data[start:at])))
    stop = at + len(runs.last)
    return Found(values, stop) if data[at:stop] == runs.last else None


def layout_of(
    data: Buffer, start: int, stop: int, syntax: Syntax, gaps: Collection[Element]
) -> Layout:
    """The layout of a little endian header, the first of its kind.

    Args:
        data: the file.
        start: offset of the header, bytes.
        stop: offset behind it.
        syntax: of the data set.
        gaps: the elements whose values vary, in the order of the file.
    """
    found, values = [], []
    for element in gaps:
        width = 4 if not syntax.explicit or has_long_length(element.vr) else 2
        head = element.value - width
        stretch = bytes(data[start:head])
        found.append(Gap(element.tag, stretch, head - element.start, width))
        values.append(bytes(data[head : element.stop]))
        start = element.stop
    return Layout(found, values, bytes(data[start:stop]))


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
