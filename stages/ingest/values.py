"""Values: which may pass as they are, how dates move, and what stands in for the rest.

Every function is pure; None means that the value does not allow it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import date, timedelta
from typing import Any, Final

from pydicom.multival import MultiValue

_CODE_STRING: Final = re.compile(r"[A-Z0-9 _]{0,16}")
_NUMBER: Final = re.compile(r"[0-9eE+\-. ]*")
_DATE: Final = re.compile(r"(\d{4})\.?(\d\d)\.?(\d\d)")
_TIME: Final = re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?")
_DATETIME: Final = re.compile(r"(\d{8})(\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?)?([+-]\d{4})?")
_OFFSET: Final = re.compile(r"[+-]\d{4}")
_TECHNICAL: Final = re.compile(r"[^\W_][\w .+\-/,&()]{0,63}")
_WORD: Final = re.compile(r"[^\W_]+")

DUMMIES: Final[dict[str, Any]] = {
    **dict.fromkeys(("LO", "LT", "PN", "SH", "ST", "UC", "UT"), "removed"),
    **dict.fromkeys(("AE", "CS"), "REMOVED"),
    **dict.fromkeys(("DS", "IS"), "0"),
    **dict.fromkeys(("FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"), 0),
    **dict.fromkeys(("OB", "OW", "UN"), b"\0\0"),
    "AS": "000Y",
    "DA": "19000101",
    "DT": "19000101000000",
    "TM": "000000",
    "UR": "urn:removed",
}
"""VR → the value of action D. It is the same for all, so it says nothing."""


def parts(value: Any) -> list[str]:
    """A value's texts: none, one or several."""
    if value is None or value == "":
        return []
    several = value if isinstance(value, MultiValue | list | tuple) else [value]
    return [str(text).strip(" \0") for text in several]


def words(texts: Sequence[str]) -> list[str]:
    """Letters and digits that stand together, in lower case."""
    return [word for text in texts for word in _WORD.findall(text.casefold())]


def is_code_string(value: Any) -> bool:
    """Whether a CS value keeps to its VR (PS3.5 Section 6.2), so that it is no prose."""
    return all(_CODE_STRING.fullmatch(text) for text in parts(value))


def is_number_string(value: Any) -> bool:
    """Whether a DS or IS value is written with a number's characters alone."""
    return all(_NUMBER.fullmatch(text) for text in parts(value))


def is_plain(value: Any, vocabulary: Collection[str], known: Collection[str]) -> bool:
    """Whether free text consists of the vocabulary's words alone, none of them the subject's."""
    found = words(parts(value))
    return bool(found) and all(word in vocabulary and word not in known for word in found)


def is_technical(value: Any, known: Collection[str]) -> bool:
    """Whether a text looks like a device's own and holds none of the subject's identifiers."""
    texts = parts(value)
    return all(_TECHNICAL.fullmatch(text) and not re.search(r"\d{5}", text) for text in texts) and (
        not any(word in known for word in words(texts))
    )


def shift(vr: str, value: Any, days: int) -> list[str] | None:
    """Move dates by whole days; times of the day and offsets from UTC stay.

    Args:
        vr: DA, DT or TM; SH for an offset from UTC.
        value: the element's value.
        days: the subject's shift.
    """
    moved = [_moved(vr, text, days) for text in parts(value)]
    return None if None in moved else [text for text in moved if text is not None]


def _moved(vr: str, text: str, days: int) -> str | None:
    if vr == "DA":
        return _day(text, days)
    if vr == "DT" and (match := _DATETIME.fullmatch(text)):
        day = _day(match[1], days)
        return None if day is None else day + text[8:]
    pattern = _TIME if vr == "TM" else _OFFSET
    return text if vr in ("TM", "SH") and pattern.fullmatch(text) else None


def _day(text: str, days: int) -> str | None:
    match = _DATE.fullmatch(text)
    if not match:
        return None
    try:
        moved = date(int(match[1]), int(match[2]), int(match[3])) + timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    return moved.strftime("%Y%m%d") if moved.year >= 1000 else None
