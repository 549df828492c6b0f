"""How a name may be written beside what its file says: other bytes, one word, other letters.

Rules:

- SPE-1  A file may declare another character set than its bytes have. Valid UTF-8 is read as such;
         else a name is read in the usual sets of one byte too, and where reading lost up to two
         letters, in all letters that those with marks fold to.
- SPE-2  Numbers may be letters: what they are in a file is searched like bulk data.
- SPE-3  A name of two-letter words is known by its words as one, in any order; alone each says
         nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import chain, permutations, product
from typing import Any, Final

from pydicom.multival import MultiValue
from pydicom.valuerep import PersonName

from stages.ingest.fold import fold

_LOST: Final = "\ufffd"
"""What stands for a byte that the declared character set does not have."""
_LETTERS: Final = ("a", "c", "e", "i", "n", "o", "s", "ss", "u")
_GUESSED: Final = 2
"""Lost letters of a name, at most, that are guessed."""
_ALIKE: Final = ("latin-1", "iso8859_5", "iso8859_7")
"""Character sets of one byte that a file may say in place of another."""
_SHORT: Final = 2
_TOGETHER: Final = 4
"""Letters of short words together that are a name."""
_WORDS: Final = 3
_PACKED: Final = {
    "FD": "d",
    "FL": "f",
    "SL": "i",
    "SS": "h",
    "SV": "q",
    "UL": "I",
    "US": "H",
    "UV": "Q",
}
"""VR → how one of its numbers stands in a file."""
_WRITTEN_OUT: Final = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"})


def otherwise(value: Any) -> Iterator[str]:
    """How the names of an element may read that is declared wrongly (SPE-1).

    Args:
        value: of the element; what is no person's name is passed over.
    """
    for name in value if isinstance(value, MultiValue) else [value]:
        if not isinstance(name, PersonName):
            continue
        pieces, data = str(name).split(_LOST), name.original_string
        if len(pieces) > 1:
            yield from _guessed(pieces)
        elif data and not data.isascii():
            try:
                yield data.decode("utf-8")
            except UnicodeDecodeError:
                yield from (data.decode(charset, "replace") for charset in _ALIKE)


def _guessed(pieces: Sequence[str]) -> Iterator[str]:
    lost = len(pieces) - 1
    if lost <= _GUESSED:
        for letters in product(_LETTERS, repeat=lost):
            yield "".join(chain.from_iterable(zip(pieces, (*letters, ""), strict=True)))


def together(words: Sequence[str]) -> set[str]:
    """A name of short words as one word, in any order (SPE-3); nothing for any other name.

    Args:
        words: folded.
    """
    if not words or max(map(len, words)) > _SHORT:
        return set()
    orders = permutations(words[:_WORDS])
    return {one for order in orders if len(one := "".join(order)) >= _TOGETHER}


def encodings(text: str) -> Iterator[bytes]:
    """A text as bulk data may hold it.

    Args:
        text: in lower case.
    """
    for charset in ("utf-8", "latin-1", "utf-16-le", "utf-16-be"):
        yield text.encode(charset, "ignore") or text.encode()
    yield text.translate(_WRITTEN_OUT).encode()
    yield fold(text).encode()


def packed(value: Any, vrs: set[str]) -> Iterator[bytes]:
    """Numbers as they stand in a file of little endian, for each VR that they fit (SPE-2)."""
    numbers = list(value) if isinstance(value, MultiValue | list | tuple) else [value]
    for vr in vrs:
        try:
            if vr == "AT":
                halves = [half for tag in numbers for half in (tag >> 16, tag & 0xFFFF)]
                yield struct.pack(f"<{len(halves)}H", *halves)
            elif vr in _PACKED:
                yield struct.pack(f"<{len(numbers)}{_PACKED[vr]}", *numbers)
        except (struct.error, TypeError):  # of another kind, or empty
            continue
