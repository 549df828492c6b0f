"""What repeats within a series is pseudonymized once.

The slices of a series share nearly every byte of their headers. The first is read, pseudonymized
and written in full by pydicom; for those that follow, what became of equal bytes is looked up.

Rules:

- MEM-1  The output is that of the full path, byte for byte; bytes are the only key.
- MEM-2  The frame must be equal to the last byte. What becomes of an element that stands alone
         depends on its own bytes and on its frame; a first instance for which that does not hold
         leaves no frame.
- MEM-3  Memory is bounded, whatever comes: so many frames, so many values of an element.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from stages.ingest.raw_file import RawFile
from stages.ingest.raw_frame import Became, Frame, Header, Single, become
from stages.ingest.raw_layout import Gap

FRAMES: Final = 8
"""Frames that are held; the one unused for longest goes first."""
VALUES: Final = 64
"""Values of one element that are held."""
_LONGEST: Final = 4096
"""Bytes of a value beyond which it is not held."""


class Match(NamedTuple):
    """An instance of a frame."""

    frame: Frame
    values: list[tuple[int, bytes]]
    """(number of the gap, length and value) of gaps that differ from the frame's first instance."""
    at: int
    """Where its pixel data starts: offset, bytes."""


class Memo:
    """The frames of the instances that were handled last."""

    def __init__(self) -> None:
        self._frames: list[Frame] = []

    def find(self, file: RawFile) -> Match | None:
        """The frame of an instance; None if there is none (MEM-2)."""
        for number, frame in enumerate(self._frames):
            if (frame.syntax, frame.codec) != (file.syntax, file.codec):
                continue
            if found := frame.layout.match(file.data, file.at):
                self._frames.insert(0, self._frames.pop(number))
                return Match(frame, found.values, found.stop)
        return None

    def add(self, frame: Frame | None) -> None:
        """Hold a frame, if there is one (MEM-3)."""
        if frame is not None:
            self._frames.insert(0, frame)
            del self._frames[FRAMES:]


def fill(found: Match) -> Header | None:
    """The header of an instance of a frame; None if it has to be made in full (MEM-1)."""
    frame, header = found.frame, found.frame.header
    gaps = [
        (frame.layout.gaps[number], frame.singles[number], value)
        for number, value in found.values
        if not frame.singles[number].fixed
    ]
    unknown = {
        gap.tag: gap.stretch[-gap.head :] + value
        for gap, single, value in gaps
        if not _look_up(gap, single, value)
    }
    made = become(frame.alone, frame.context, unknown, frame.syntax) if unknown else {}
    elements, counts, facts = list(header.elements), header.counts, dict(header.facts)
    for gap, single, value in gaps:
        became = single.values.get(value) or _add(single, value, made[gap.tag])
        first = single.first
        if gap.tag >> 16 & 1 and bool(became.encoded) != bool(first.encoded):
            return None  # whether a private block stays depends on all its elements
        elements[single.position] = became.encoded
        if became.counts is not first.counts:
            counts = counts.exchanged(first.counts, became.counts)
        if single.keyword:
            facts[single.keyword] = became.value
    return Header(header.tags, elements, header.after, header.pixel_vr, counts, facts)


def _look_up(gap: Gap, single: Single, value: bytes) -> bool:
    """Whether it is known what becomes of a value; if it is plain, it is from here on."""
    if value in single.values:
        return True
    became = single.plain(value[gap.width :]) if single.plain else None
    if became is not None:
        _add(single, value, became)
    return became is not None


def _add(single: Single, value: bytes, became: Became) -> Became:
    counts = single.first.counts
    if became.counts is not counts and became.counts == counts:
        became = became._replace(counts=counts)
    if len(value) <= _LONGEST:
        if len(single.values) >= VALUES:
            single.values.clear()
        single.values[value] = became
    return became
