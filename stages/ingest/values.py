"""Values: which may pass as they are, how dates move, and what stands in for the rest.

Every function is pure; None means that the value does not allow it.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from pydicom.multival import MultiValue
from pydicom.valuerep import IS, DSdecimal, DSfloat

from stages.ingest.tables import vocabulary

if TYPE_CHECKING:
    from stages.ingest.known import Known

_CODE_STRING: Final = re.compile(r"[A-Z0-9 _]{0,16}")
_CODE_WORD: Final = re.compile(r"[A-Z0-9]+")
_NUMBER: Final = re.compile(r"[0-9eE+\-. ]*")
_DATE: Final = re.compile(r"(\d{4})\.?(\d\d)\.?(\d\d)")
_TIME: Final = re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?")
_DATETIME: Final = re.compile(r"(\d{8})(\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?)?([+-]\d{4})?")
_OFFSET: Final = re.compile(r"[+-]\d{4}")
_TECHNICAL: Final = re.compile(r"[A-Za-z0-9*][A-Za-z0-9_ .+\-/,&()*:']{0,63}")
_FIVE: Final = re.compile(r"\d{5}")
_EIGHT: Final = re.compile(r"(?<!\d)\d{8}(?!\d)")
_DATE_LIKE: Final = re.compile(
    r"(?<!\d)(?:(?:19|20)\d\d[ ._/-]\d{1,2}[ ._/-]\d{1,2}"
    r"|\d{1,2}[ ._/-]\d{1,2}[ ._/-](?:19|20)?\d\d)(?!\d)"
)
_MONTH: Final = (
    r"(?:jan(?:uary|uar)?|feb(?:ruary|ruar)?|mar(?:ch)?|mär(?:z)?|apr(?:il)?|ma[iy]|june?|juni|july?|"
    r"juli|aug(?:ust)?|sept?(?:ember)?|o[ck]t(?:ober)?|nov(?:ember)?|de[cz](?:ember)?)"
)
_NAMED_MONTH: Final = re.compile(
    rf"\d[\W_]*{_MONTH}(?![^\W\d_])|(?<![^\W\d_]){_MONTH}[\W_]*\d", re.IGNORECASE
)
_UID: Final = re.compile(r"[0-9]+(?:\.[0-9]+)+")
_AGE: Final = re.compile(r"(\d{3})([DWMY])")
AGE: Final = 0x00101010
_RANGES: Final = {0x00101020: (5, 140, 195), 0x00101030: (500, 4000, 12000)}
"""Tag → width, lowest and highest range, in hundredths of m or kg."""

_WRITTEN: Final = (str, DSfloat, DSdecimal, IS)
"""Numbers that a file holds as text."""

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


def reads_like_date(text: str) -> bool:
    """Whether digits are written in an order that is usual for dates."""
    return bool(_DATE_LIKE.search(text) or _NAMED_MONTH.search(text)) or any(
        _is_day(digits) for digits in _EIGHT.findall(text)
    )


def is_code_string(text: str, known: Known) -> bool:
    """Whether a CS value keeps to its VR (PS3.5 Section 6.2) and tells nothing of the subject."""
    foreign = not _FIVE.search(text) and _tells_nothing(text, known)
    return bool(_CODE_STRING.fullmatch(text)) and (is_term(text) or foreign)


def is_term(text: str) -> bool:
    """Whether a code string consists of words of the vocabulary alone."""
    return all(word.lower() in vocabulary() for word in _CODE_WORD.findall(text))


def is_number(value: Any, known: Known) -> bool:
    """Whether numbers, or their text, hold only numbers, none of them the subject's or a date."""
    several = value if isinstance(value, MultiValue | list | tuple) else [value]
    return all(
        number in (None, "")
        or (
            (not isinstance(number, _WRITTEN) or bool(_NUMBER.fullmatch(str(number))))
            and not (_is_long(number) and (known.in_number(number) or _is_day(_whole(number))))
        )
        for number in several
    )


def is_technical(value: Any, known: Known) -> bool:
    """Whether a text looks like a device's own and tells nothing of the subject."""
    return all(
        _TECHNICAL.fullmatch(text) and not _FIVE.search(text) and _tells_nothing(text, known)
        for text in parts(value)
    )


def is_foreign(value: Any, known: Known) -> bool:
    """Whether a text holds nothing of the subject; what else it tells may be told."""
    return not any(known.in_personal(text) or reads_like_date(text) for text in parts(value))


def is_uid(text: str) -> bool:
    """Whether a text is a UID (PS3.5 Section 9.1); longer numbers could be anything."""
    return len(text) <= 64 and bool(_UID.fullmatch(text))


def is_age(value: Any) -> bool:
    """Whether a value keeps to the VR AS."""
    return all(_AGE.fullmatch(text) for text in parts(value))


def in_range(tag: int, value: Any) -> list[str] | None:
    """The lower end of the range that an age, size or weight lies in.

    Ages: five years, all from 90 on are one, all below one year are 0. Sizes: 5 cm from 1.40 m to
    1.95 m. Weights: 5 kg from 40 kg to 120 kg; what lies beyond takes the outermost.
    """
    texts = parts(value)
    if not texts:
        return []
    if tag == AGE:
        match = _AGE.fullmatch(texts[0])
        years = int(match[1]) if match and match[2] == "Y" else 0
        return [f"{min(years // 5 * 5, 90):03}Y"] if match else None
    step, low, high = _RANGES.get(tag, (0, 0, 0))
    try:
        found = int(float(texts[0]) * 100 + 1e-6)
    except (ValueError, OverflowError):
        return None
    if not step or found < 0:
        return None
    return [f"{min(max(found // step * step, low), high) / 100:g}"]


def _tells_nothing(text: str, known: Known) -> bool:
    return not (known.in_text(text) or reads_like_date(text))


def _is_long(number: Any) -> bool:
    """Whether a number is long enough to be an identifier or a date."""
    return len(number) >= 5 if isinstance(number, str) else abs(number) >= 10_000


def _whole(number: Any) -> str:
    text = str(number).strip().lstrip("+")
    return text.removesuffix(".0")


@lru_cache(maxsize=10_000)
def _is_day(digits: str) -> bool:
    """Whether eight digits are a day of 1900 … 2099: year first, day first or month first."""
    if len(digits) != 8 or not digits.isdecimal():
        return False
    orders = ((digits[:4], digits[4:6], digits[6:]), (digits[4:], digits[2:4], digits[:2]))
    return any(
        1900 <= int(year) < 2100 and _is_date(int(year), int(one), int(two))
        for year, one, two in (*orders, (digits[4:], digits[:2], digits[2:4]))
    )


def _is_date(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


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
    return moved.isoformat().replace("-", "") if moved.year >= 1000 else None
