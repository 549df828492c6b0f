"""Which action an attribute gets: PS3.15 Annex E as a table, and what the table leaves open.

`profile.csv` holds Table E.1-1: the Basic Profile in edition 2026c, and the columns of two options
(Retain Longitudinal Temporal Information with Modified Dates, Clean Descriptors) in edition 2025b;
rows newer than that have no option, so the basic action holds, which is the strictest reading.
`additions.csv` holds this product's own actions, each with its reason.

Rules:

- PRO-1  A code with alternatives (X/Z, X/D, Z/D, X/Z/D) takes the last: whichever type the IOD
         gives the attribute (3, 2, 1), the output stays valid, and nothing of the value stays.
         A sequence is removed where the code allows it, else emptied. U* keeps the sequence and
         replaces what its items refer to.
- PRO-2  An option's C goes before the basic action for values that the option can clean; for all
         others the basic action holds.
- PRO-3  An attribute in neither table passes by its VR alone: numbers, code strings, dates (which
         shift), UIDs (which are replaced) and sequences (whose items are treated alike). Free text,
         names and bulk data do not pass.
- PRO-4  Private attributes, curves, overlays, group lengths, groups that belong to no data set,
         and attributes unknown to the dictionary are removed.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache
from pathlib import Path
from typing import Final

EDITION: Final = "PS3.15 2026c"


class Action(StrEnum):
    """What is done to one attribute."""

    REMOVE = "remove"
    EMPTY = "empty"
    DUMMY = "dummy"
    UID = "uid"
    KEEP = "keep"
    SHIFT = "shift"
    TEXT = "text"
    """Keep free text whose every word is in the vocabulary."""
    TOKEN = "token"  # noqa: S105 - no secret: a technical name
    """Keep a technical name that is none of the subject's identifiers."""
    ITEMS = "items"
    SUBJECT = "subject"
    READER = "reader"
    LABEL = "label"
    CLASS = "class"


@dataclass(frozen=True)
class Decision:
    """An attribute's action, and the one that holds where its value does not allow the first."""

    action: Action
    otherwise: Action
    vr: str
    """VR of the dictionary; another VR in the file makes the value invalid."""


@dataclass(frozen=True)
class Row:
    """A row of Table E.1-1."""

    basic: str
    dates: bool
    descriptors: bool


_DATES: Final = frozenset({"DA", "DT", "TM"})
_TEXTS: Final = frozenset({"CS", "LO", "LT", "SH", "ST", "UC", "UT"})
_NUMBERS: Final = frozenset(
    {"AT", "CS", "DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"}
)
_TIMEZONE: Final = 0x00080201
_HERE: Final = Path(__file__).parent
_GONE: Final = Decision(Action.REMOVE, Action.REMOVE, "")


@lru_cache(maxsize=50_000)
def decide(tag: int, *, dates: bool) -> Decision:
    """The action for an attribute, by its tag alone.

    Args:
        tag: group and element as one integer.
        dates: whether dates are shifted (option Modified Dates).
    """
    from pydicom.datadict import dictionary_VR

    group, element = tag >> 16, tag & 0xFFFF
    repeating = 0x5000 <= group <= 0x50FF or 0x6000 <= group <= 0x60FF
    if group % 2 or group < 0x0008 or element == 0 or repeating:
        return _GONE
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        return _GONE
    if tag in additions():
        action = additions()[tag]
        required = action in (Action.LABEL, Action.READER, Action.SUBJECT)
        return Decision(action, Action.DUMMY if required else Action.REMOVE, vr)
    if tag in table():
        return _listed(table()[tag], tag, vr, dates=dates)
    return _unlisted(vr, dates=dates)


def resolve(code: str, vr: str) -> Action:
    """The one action for a code of Table E.1-1 (PRO-1).

    Raises:
        ValueError: for a code that the table does not define.
    """
    if not re.fullmatch(r"[XZDUKC]|X/Z|X/D|Z/D|X/Z/D|X/Z/U\*|X/Z/U", code):
        raise ValueError(f"Table E.1-1 defines no code {code}")
    last = code.rstrip("*")[-1]
    if vr == "SQ":
        if last in "KCU":
            return Action.ITEMS
        return Action.REMOVE if "X" in code else Action.EMPTY
    if last == "C":
        return Action.REMOVE
    names = {"X": "remove", "Z": "empty", "D": "dummy", "U": "uid", "K": "keep"}
    return Action(names[last])


def _listed(row: Row, tag: int, vr: str, *, dates: bool) -> Decision:
    basic = resolve(row.basic, vr)
    if dates and row.dates and (vr in _DATES or tag == _TIMEZONE):
        return Decision(Action.SHIFT, basic, vr)
    if row.descriptors and vr in _TEXTS:
        return Decision(Action.TEXT, basic, vr)
    return Decision(basic, Action.REMOVE if basic in (Action.ITEMS, Action.UID) else basic, vr)


def _unlisted(vr: str, *, dates: bool) -> Decision:
    kinds = set(vr.split(" or "))
    if vr in _DATES:
        action = Action.SHIFT if dates else Action.REMOVE
    elif vr == "UI":
        action = Action.UID
    elif vr == "SQ":
        action = Action.ITEMS
    elif kinds & _NUMBERS:
        action = Action.KEEP
    else:
        action = Action.REMOVE
    return Decision(action, Action.REMOVE, vr)


@cache
def table() -> dict[int, Row]:
    """Table E.1-1 by tag; repeating groups are PRO-4's."""
    return {
        _tag(row["tag"]): Row(row["basic"], row["dates"] == "C", row["descriptors"] == "C")
        for row in _read("profile.csv")
        if "x" not in row["tag"]
    }


@cache
def additions() -> dict[int, Action]:
    """This product's own actions by tag; they go before the table."""
    return {_tag(row["tag"]): Action(row["action"]) for row in _read("additions.csv")}


@cache
def vocabulary() -> frozenset[str]:
    """Words of which free text that is kept may consist, in lower case."""
    return frozenset(row["word"] for row in _read("vocabulary.csv"))


def _read(name: str) -> list[dict[str, str]]:
    with (_HERE / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _tag(text: str) -> int:
    return int(text[1:5] + text[6:10], 16)
