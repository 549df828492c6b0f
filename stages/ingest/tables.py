"""The stage's data tables, each loaded once: what a standard says, and what this product adds.

| file | holds | edition |
| --- | --- | --- |
| `profile.csv` | Table E.1-1: the basic action, ten options | PS3.15 2026c; options 2025b |
| `safe_private.csv` | Table E.3.10-1: private elements that hold no identifier | PS3.15 2025b |
| `types.csv` | type of an attribute in an IOD, for codes with alternatives | PS3.3 2026c |
| `classes.csv` | the SOP classes that pass, with their kind and IOD | PS3.4 2026c |
| `additions.csv` | this product's own actions, each with its reason | |
| `vocabulary.csv` | the words of which kept text may consist | |
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

EDITION: Final = "PS3.15 2026c"
_HERE: Final = Path(__file__).parent


@dataclass(frozen=True)
class Row:
    """A row of Table E.1-1: the basic code and each option's, "" where the option has none."""

    basic: str
    private: str
    uids: str
    device: str
    institution: str
    patient: str
    full_dates: str
    modified_dates: str
    descriptors: str
    structured: str
    graphics: str


@dataclass(frozen=True)
class SafePrivate:
    """A safe private element: what its value must be."""

    vr: str
    low: int
    """Fewest values."""
    high: int | None
    """Most values; None for any number."""


@dataclass(frozen=True)
class SopClass:
    """A SOP class that passes."""

    name: str
    kind: str
    """`image` (a slice), `picture` (of no place), `annotation` or `document`."""
    iod: str


@cache
def rows() -> dict[int, Row]:
    """Table E.1-1 by tag; its rows for repeating and odd groups are rules of their own."""
    found = {}
    for row in _read("profile.csv"):
        tag, _name, *codes = row.values()
        if tag.startswith("(") and "x" not in tag:
            found[_tag(tag)] = Row(*codes)
    return found


@cache
def safe_private() -> dict[tuple[str, int, int], SafePrivate]:
    """(creator, group, last byte of the element) → what is safe there."""
    found = {}
    for row in _read("safe_private.csv"):
        group, element = int(row["tag"][1:5], 16), int(row["tag"][8:10], 16)
        low, _, high = row["vm"].partition("-")
        most = None if high == "n" else int(high or low)
        found[row["creator"], group, element] = SafePrivate(row["vr"], int(low), most)
    return found


@cache
def types() -> dict[tuple[str, int], str]:
    """(IOD, tag) → type 1, 2 or 3 of the attribute in its top level."""
    return {(row["iod"], _tag(row["tag"])): row["type"] for row in _read("types.csv")}


@cache
def classes() -> dict[str, SopClass]:
    """SOP Class UID → what passes."""
    return {
        row["uid"]: SopClass(row["name"], row["kind"], row["iod"]) for row in _read("classes.csv")
    }


@cache
def additions() -> dict[int, str]:
    """This product's own actions by tag; they go before the table."""
    return {_tag(row["tag"]): row["action"] for row in _read("additions.csv")}


@cache
def vocabulary() -> frozenset[str]:
    """Words of which free text that is kept may consist, in lower case."""
    return frozenset(row["word"] for row in _read("vocabulary.csv"))


def _read(name: str) -> list[dict[str, str]]:
    with (_HERE / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _tag(text: str) -> int:
    return int(text[1:5] + text[6:10], 16)
