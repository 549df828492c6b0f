"""Values in their plainest spelling: what becomes of them, from bytes to bytes, without a parser.

Rules:

- PLN-1  The result is that of the full path (`pseudonymize.py`), byte for byte. A value that is
         spelled in any other way, or whose action is none of these, has no result here: the full
         path decides on it.
- PLN-2  A number below 10,000 is neither an identifier nor a date (`values.is_number`), so it
         passes as it is; whether its bytes spell a name, the frame asks (`Alone.spells`).
- PLN-3  A value counts as many values as that of the frame's first instance, so that what was done
         is counted as it was there.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from stages.ingest import keys
from stages.ingest.profile import Action
from stages.ingest.rules import Rules
from stages.ingest.values import shift


class Plain(NamedTuple):
    """What becomes of a value."""

    value: bytes
    """Encoded, of even length."""
    meant: Any
    """The value itself: text, or numbers."""


Change = Callable[[bytes], Plain | None]
_BELOW: Final = 10_000
_TEXTS: Final = {
    "DS": re.compile(rb"-?\d{1,4}(?:\.\d{1,10})?(?:\\-?\d{1,4}(?:\.\d{1,10})?)* ?"),
    "IS": re.compile(rb"-?\d{1,4}(?:\\-?\d{1,4})* ?"),
}
BINARY: Final = {"FD": "d", "FL": "f", "SL": "i", "SS": "h", "UL": "I", "US": "H"}
_UID: Final = re.compile(rb"[0-9.]{2,64}\0?")
_CLOCK: Final = re.compile(rb"[0-9.+-]{2,26} ?")
_LONGEST: Final = 1024
"""Bytes of a value beyond which it is left to the full path."""


def change_of(action: Action | None, vr: str, first: bytes, rules: Rules) -> Change | None:
    """What an action makes of plain values of one element; None if it is not done here.

    Args:
        action: that the profile takes first.
        vr: of the element, in the file and in the dictionary.
        first: the value in the frame's first instance (PLN-3).
        rules: of the subject.
    """
    if action is Action.KEEP and vr in _TEXTS:
        return _numbers(_TEXTS[vr], first.count(b"\\"))
    if action is Action.KEEP and vr in BINARY:
        return _binary(BINARY[vr], len(first))
    if action is Action.UID and vr == "UI":
        return _uid(rules.uid_key)
    if action is Action.SHIFT and vr in ("DA", "DT", "TM"):
        return _clock(vr, rules.days or 0)
    return None


def _numbers(pattern: re.Pattern[bytes], several: int) -> Change:
    def change(value: bytes) -> Plain | None:
        if len(value) % 2 or len(value) > _LONGEST or not pattern.fullmatch(value):
            return None
        if value.count(b"\\") != several:
            return None
        numbers = [float(text) for text in value.split(b"\\")]
        return Plain(value, numbers if several else numbers[0])

    return change


def _binary(kind: str, length: int) -> Change:
    layout = struct.Struct(f"<{length // struct.calcsize(kind)}{kind}")

    def change(value: bytes) -> Plain | None:
        if not value or not len(value) == length == layout.size or length > _LONGEST:
            return None
        numbers = layout.unpack(value)
        if not all(-_BELOW < number < _BELOW for number in numbers):
            return None
        return Plain(value, numbers if len(numbers) > 1 else numbers[0])

    return change


def _uid(key: bytes) -> Change:
    def change(value: bytes) -> Plain | None:
        if len(value) % 2 or not _UID.fullmatch(value):
            return None
        uid = keys.replace_uid(key, value.rstrip(b"\0").decode("ascii"))
        return Plain(uid.encode("ascii") + b"\0" * (len(uid) % 2), uid)

    return change


def _clock(vr: str, days: int) -> Change:
    def change(value: bytes) -> Plain | None:
        if len(value) % 2 or not _CLOCK.fullmatch(value):
            return None
        moved = shift(vr, value.decode("ascii"), days)
        if moved is None:
            return None
        return Plain(moved[0].encode("ascii") + b" " * (len(moved[0]) % 2), moved[0])

    return change
