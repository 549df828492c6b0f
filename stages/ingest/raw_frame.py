"""A header that was pseudonymized in full, and the frame that it leaves for those like it.

Rules: see `raw_memo.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Final, NamedTuple, cast

from pydicom.dataelem import (
    DataElement,
    RawDataElement,
    convert_raw_data_element,
    empty_value_for_VR,
)
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag

from stages.ingest.counts import Counts
from stages.ingest.pseudonymize import Alone
from stages.ingest.raw import PIXEL_DATA, Scan, Syntax
from stages.ingest.raw_codec import Shape
from stages.ingest.raw_file import RawFile
from stages.ingest.raw_layout import Gap, Layout, layout_of, stands_alone
from stages.ingest.raw_plain import BINARY, change_of
from stages.ingest.raw_write import elements_of, encode, head_of
from stages.ingest.rules import Rules

_CHARACTER_SET: Final = 0x00080005


class Became(NamedTuple):
    """What became of an element that stands alone."""

    encoded: bytes
    counts: Counts
    value: Any


@dataclass(frozen=True)
class Header:
    """What became of an instance's header."""

    tags: tuple[int, ...]
    """Of the source and of the output, sorted, below the pixel data's."""
    elements: list[bytes] = field(repr=False)
    """For each tag its element in the output, encoded; empty if it was removed."""
    after: bytes = field(repr=False)
    """The elements behind the pixel data, encoded."""
    pixel_vr: str | None
    """VR of the pixel data in the output; None if it does not pass."""
    counts: Counts
    facts: Mapping[str, Any] = field(repr=False)
    """Keyword → value in the output."""


@dataclass(frozen=True)
class Single:
    """An element that stands alone, in the frame's first instance."""

    position: int
    """Of what became of it among the header's elements."""
    first: Became
    fixed: bool
    """Whether the same becomes of every value."""
    keyword: str
    """By which it is a fact; else empty."""
    values: dict[bytes, Became] = field(repr=False)
    """Length and value → what became of it."""
    plain: Callable[[bytes], Became | None] | None = field(repr=False)
    """Value → what becomes of it, where it is spelled plainly (`raw_plain.py`)."""


@dataclass(frozen=True)
class Frame:
    """What instances have in common, and what became of it."""

    syntax: Syntax
    codec: str
    layout: Layout
    """From the data set's start to the value of the pixel data."""
    singles: tuple[Single, ...]
    """For each gap of the layout."""
    shape: Shape
    """Of the pixels."""
    tail: bytes = field(repr=False)
    """What follows the pixel data."""
    header: Header
    alone: Alone = field(repr=False)
    context: bytes = field(repr=False)
    """Elements without which no other is read right, as they are in the source."""


def header_of(result: Dataset, counts: Counts, scanned: Scan, keywords: tuple[str, ...]) -> Header:
    """Encode a pseudonymized data set, with a place for each element of its source."""
    encoded = elements_of(result)
    tags = sorted({*encoded, *(element.tag for element in scanned.elements)} - {PIXEL_DATA})
    before = tuple(tag for tag in tags if tag < PIXEL_DATA)
    return Header(
        tags=before,
        elements=[encoded.get(tag, b"") for tag in before],
        after=b"".join(encoded.get(tag, b"") for tag in tags if tag > PIXEL_DATA),
        pixel_vr=str(result[PIXEL_DATA].VR) if PIXEL_DATA in result else None,
        counts=counts,
        facts={keyword: result.get(keyword) for keyword in keywords},
    )


def frame_of(
    file: RawFile, scanned: Scan, source: Dataset, *, header: Header, shape: Shape, rules: Rules
) -> Frame | None:
    """Keep what became of a little endian instance; None if nothing is looked up by it (MEM-2)."""
    from pydicom.datadict import keyword_for_tag

    data, syntax, pixels = file.data, file.syntax, scanned.pixels
    if pixels is None:
        return None
    alone = Alone(source, rules)
    context = b"".join(
        bytes(data[e.start : e.stop]) for e in scanned.elements if _is_context(e.tag)
    )
    chosen = [
        element
        for element in scanned.elements
        if element.tag < PIXEL_DATA and stands_alone(element.tag, element.vr)
    ]
    layout = layout_of(data, scanned.start, pixels.value, syntax, chosen)
    raw = {element.tag: bytes(data[element.start : element.stop]) for element in chosen}
    became = become(alone, context, raw, syntax)
    singles = []
    for gap in layout.gaps:
        first, position = became[gap.tag], header.tags.index(gap.tag)
        if first.encoded != header.elements[position]:
            return None
        keyword = keyword_for_tag(gap.tag)
        value = raw[gap.tag][gap.head :]
        singles.append(
            Single(
                position=position,
                first=first,
                fixed=alone.is_fixed(source, gap.tag),
                keyword=keyword if keyword in header.facts else "",
                values={value: first},
                plain=_plain(alone, source, gap, value[gap.width :], first),
            )
        )
    return Frame(
        syntax=syntax,
        codec=file.codec,
        layout=layout,
        singles=tuple(singles),
        shape=shape,
        tail=bytes(data[pixels.stop :]),
        header=header,
        alone=alone,
        context=context,
    )


def _plain(
    alone: Alone, source: Dataset, gap: Gap, value: bytes, first: Became
) -> Callable[[bytes], Became | None] | None:
    """How plain values of an element change; None unless the first instance's value agrees."""
    vr = str(source[gap.tag].VR)
    change = change_of(alone.action(source, gap.tag, vr), vr, value, alone.rules)
    head, binary = head_of(gap.tag, vr), vr in BINARY

    def plain(value: bytes) -> Became | None:
        made = change(value) if change else None
        if made is None or (binary and alone.spells(value)):
            return None
        encoded = head + len(made.value).to_bytes(2, "little") + made.value
        return Became(encoded, first.counts, made.meant)

    made = plain(value)
    return plain if made and made.encoded == first.encoded else None


def become(
    alone: Alone, context: bytes, raw: Mapping[int, bytes], syntax: Syntax
) -> dict[int, Became]:
    """Pseudonymize elements that stand alone.

    Args:
        alone: the profile in their frame.
        context: the frame's character set and creators of private blocks, as in the source.
        raw: tag → element, as in the source.
        syntax: of the source.
    """
    if any(tag >> 16 & 1 for tag in raw):
        data = b"".join((context, *raw.values()))
        source = read_dataset(BytesIO(data), not syntax.explicit, syntax.little)
    else:
        source = Dataset({BaseTag(tag): _element(tag, data, syntax) for tag, data in raw.items()})
    result = {}
    for tag in raw:
        element, counts = alone.pseudonymize(source, tag)
        if element is None:
            result[tag] = Became(b"", counts, None)
        else:
            result[tag] = Became(encode(element), counts, element.value)
    return result


def _element(tag: int, raw: bytes, syntax: Syntax) -> DataElement | RawDataElement:
    """A public element that no character set concerns, as pydicom reads it; raw if it cannot."""
    vr = raw[4:6].decode("ascii") if syntax.explicit else None
    value = raw[8:] or cast("bytes | None", empty_value_for_VR(vr, raw=True))
    element = RawDataElement(
        BaseTag(tag), vr, len(raw) - 8, value, 0, not syntax.explicit, syntax.little
    )
    try:
        return convert_raw_data_element(element)
    except Exception:  # noqa: BLE001 - the profile meets the same fault and decides
        return element


def _is_context(tag: int) -> bool:
    return tag == _CHARACTER_SET or (tag >> 16 & 1 == 1 and 0x10 <= tag & 0xFFFF <= 0xFF)
