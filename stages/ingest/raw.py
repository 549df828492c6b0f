"""A data set's bytes: where each element lies, found before a parser may trust them.

The scan is a loop with a stack of its own, so depth costs no recursion, and it copies no value.

Rules:

- RAW-1  Every length lies within what holds it, sequences hold items and items end; else the file
         is damaged. Nesting and number of elements, at every depth, stay within the limits.
- RAW-2  Only the layouts of PS3.5 Section 7 are known: VRs of Section 6.2, sequences of defined and
         undefined length, UN of undefined length as implicit VR (Section 6.2.2), encapsulated
         Pixel Data (Section A.4).
- RAW-3  Pixel Data is never copied: it is told by its place.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple

from stages.ingest.params import Limits
from stages.ingest.quarantine import Quarantined, Reason

Buffer = bytes | bytearray | memoryview

PIXEL_DATA: Final = 0x7FE00010
UNDEFINED: Final = 0xFFFFFFFF
_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD
_SHORT: Final = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG: Final = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())


class Element(NamedTuple):
    """Where one element at the top lies: offsets in bytes from the start of the file."""

    tag: int
    vr: bytes
    """Empty in implicit VR."""
    start: int
    value: int
    stop: int


class Syntax(NamedTuple):
    """How a data set is encoded."""

    explicit: bool
    little: bool


@dataclass
class Scan:
    """The elements at the top of a data set, in the order of the file, and its pixel data."""

    start: int
    stop: int = 0
    """Offsets of the data set, bytes; padding with zeros is no part of it."""
    elements: list[Element] = field(default_factory=list)
    """All but the pixel data."""
    pixels: Element | None = None
    encapsulated: bool = False
    """Whether the pixel data consists of items; its value ends with their delimiter."""


def scan(data: Buffer, at: int, syntax: Syntax, limits: Limits, last: int = UNDEFINED) -> Scan:
    """Find the elements of a data set, from offset `at` through tag `last`.

    Raises:
        Quarantined: RAW-1.
    """
    found = Scan(at)
    walk = _Walk(data, little=syntax.little, limits=limits)
    size, previous = len(data), -1
    while at < size:
        if found.pixels and _is_padding(data, at):
            break
        element, undefined = walk.head(at, size, explicit=syntax.explicit)
        tag, vr, _, value, stop = element
        if tag <= previous:  # PS3.5 Section 7.1: ascending, each once
            raise Quarantined(Reason.CORRUPT)
        if tag > last:
            break
        previous = tag
        if tag == PIXEL_DATA and undefined:
            found.encapsulated = True
            stop = walk.fragments(value, size)[-1].stop
        elif undefined or walk.is_sequence(tag, vr):
            stop = walk.sequence(element, size, explicit=syntax.explicit)
        whole = element._replace(stop=stop)
        if tag == PIXEL_DATA:
            found.pixels = whole
        else:
            found.elements.append(whole)
        at = stop
    found.stop = at
    return found


def _is_padding(data: Buffer, at: int) -> bool:
    """Whether a file ends in zeros from offset `at`."""
    return not any(data[at : at + 8]) and not bytes(data[at:]).strip(b"\0")


def fragments(data: Buffer, at: int, limits: Limits) -> list[Element]:
    """The items of encapsulated pixel data from offset `at`: offset table first, delimiter last.

    Raises:
        Quarantined: RAW-1.
    """
    return _Walk(data, little=True, limits=limits).fragments(at, len(data))


class _Walk:
    """One pass over one file."""

    def __init__(self, data: Buffer, *, little: bool, limits: Limits) -> None:
        order = "<" if little else ">"
        self._data = data
        self._limits = limits
        self._count = 0
        self._explicit = struct.Struct(f"{order}HH2sH").unpack_from
        self._implicit = struct.Struct(f"{order}HHI").unpack_from
        self._length = struct.Struct(f"{order}I").unpack_from

    def head(self, at: int, end: int, *, explicit: bool) -> tuple[Element, bool]:
        """An element's tag, VR and place; whether its length is undefined (then it is empty)."""
        self._count += 1
        if self._count > self._limits.elements:
            raise Quarantined(Reason.TOO_MANY)
        if at + 8 > end:
            raise Quarantined(Reason.CORRUPT)
        vr, value = b"", at + 8
        group, number, length = self._implicit(self._data, at)
        if explicit and group != 0xFFFE:
            group, number, vr, length = self._explicit(self._data, at)
            if vr in _LONG:
                value = at + 12
                if value > end:
                    raise Quarantined(Reason.CORRUPT)
                (length,) = self._length(self._data, at + 8)
            elif vr not in _SHORT:
                raise Quarantined(Reason.CORRUPT)
        undefined = length == UNDEFINED
        stop = value if undefined else value + length
        if stop > end:
            raise Quarantined(Reason.PIXELS if group == 0x7FE0 else Reason.CORRUPT)
        return Element(group << 16 | number, vr, at, value, stop), undefined

    def is_sequence(self, tag: int, vr: bytes) -> bool:
        """Whether a value of defined length holds items."""
        return vr == b"SQ" or (vr in (b"", b"UN") and _listed_sequence(tag))

    def sequence(self, element: Element, end: int, *, explicit: bool) -> int:
        """Walk a sequence with all that it holds; where it stops."""
        undefined = element.stop == element.value and self._undefined(element)
        first = _level(element, end, undefined=undefined, explicit=explicit and element.vr != b"UN")
        stack, at = [first], element.value
        while stack:
            level = stack[-1]
            if at == level.stop:
                stack.pop()
                continue
            inner, undefined = self.head(at, level.bound, explicit=level.explicit)
            at = inner.value
            if inner.tag == level.delimiter and level.stop < 0:
                if inner.stop != inner.value or undefined:
                    raise Quarantined(Reason.CORRUPT)
                stack.pop()
            elif level.delimiter == _SEQUENCE_END:
                if inner.tag != _ITEM:
                    raise Quarantined(Reason.CORRUPT)
                item = _level(inner, level.bound, undefined=undefined, explicit=level.explicit)
                stack.append(item._replace(delimiter=_ITEM_END))
            else:
                at = self._inner(inner, level, stack, undefined=undefined)
        return at

    def _inner(self, inner: Element, level: _Level, stack: list[_Level], *, undefined: bool) -> int:
        """An element of an item: skipped, or a level of its own; where to go on."""
        if inner.tag >> 16 == 0xFFFE:
            raise Quarantined(Reason.CORRUPT)
        if undefined and inner.tag == PIXEL_DATA:
            return self.fragments(inner.value, level.bound)[-1].stop
        if not undefined and not self.is_sequence(inner.tag, inner.vr):
            return inner.stop
        explicit = level.explicit and inner.vr != b"UN"
        stack.append(_level(inner, level.bound, undefined=undefined, explicit=explicit))
        if len(stack) > 2 * self._limits.depth:
            raise Quarantined(Reason.TOO_DEEP)
        return inner.value

    def fragments(self, at: int, end: int) -> list[Element]:
        """The items of encapsulated pixel data, the delimiter last."""
        found: list[Element] = []
        while not found or found[-1].tag != _SEQUENCE_END:
            item, undefined = self.head(at, end, explicit=False)
            ended = item.tag == _SEQUENCE_END and item.stop == item.value
            if undefined or not (ended or item.tag == _ITEM):
                raise Quarantined(Reason.CORRUPT)
            found.append(item)
            at = item.stop
        return found

    def _undefined(self, element: Element) -> bool:
        (length,) = self._length(self._data, element.value - 4)
        return bool(length == UNDEFINED)


class _Level(NamedTuple):
    """A sequence or an item that is being walked."""

    stop: int
    """Offset behind it; -1 where a delimiter ends it."""
    bound: int
    """Offset that nothing in it exceeds."""
    delimiter: int
    explicit: bool


def _level(element: Element, bound: int, *, undefined: bool, explicit: bool) -> _Level:
    if undefined:
        return _Level(-1, bound, _SEQUENCE_END, explicit)
    return _Level(element.stop, element.stop, _SEQUENCE_END, explicit)


def has_long_length(vr: bytes) -> bool:
    """Whether an element of that VR has a length of four bytes in explicit VR."""
    return vr in _LONG


@lru_cache(maxsize=50_000)
def _listed_sequence(tag: int) -> bool:
    """Whether the dictionary knows an attribute as a sequence."""
    from pydicom.datadict import dictionary_VR

    try:
        return tag >> 16 & 1 == 0 and dictionary_VR(tag) == "SQ"
    except KeyError:
        return False
