"""Coded concepts: only codes that the standard or the task knows pass, with the known meaning.

A code sequence's item is free text in disguise: value, scheme and meaning are typed by anyone. So
an item passes as a known (scheme, value) pair, and of its text nothing but a known meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

from pydicom.dataset import Dataset

from stages.params import Task

Concept = tuple[str, str]
"""Scheme designator and code value."""

FIRST: Final = 0x00080100
LAST: Final = 0x00080124
"""Tags of the Code Sequence Macro (PS3.3 Table 8.8-1) and its version and context."""

_VALUES: Final = (0x00080100, 0x00080119, 0x00080120)
_CATEGORIES: Final = {
    ("SCT", "123037004"): "Anatomical Structure",
    ("SCT", "49755003"): "Morphologically Abnormal Structure",
}
_UNKNOWN: Final = ("REMOVED", "99KETTE", "removed")


def is_code(item: Dataset) -> bool:
    """Whether an item carries a code's value, short, long or as URN."""
    return any(tag in item for tag in _VALUES)


def known(item: Dataset, task_codes: Mapping[Concept, str]) -> tuple[str, str, str] | None:
    """Value, scheme and meaning of an item's code if it is a known one."""
    try:
        concept = (str(item.CodingSchemeDesignator).strip(), str(item.CodeValue).strip())
        said = str(item.get("CodeMeaning", "")).strip()
    except Exception:  # noqa: BLE001 - any fault of the parser: then the code is unknown
        return None
    meanings = (_CATEGORIES.get(concept), task_codes.get(concept), _standard().get(concept))
    allowed = [meaning for meaning in meanings if meaning]
    if not allowed:
        return None
    same = [meaning for meaning in allowed if meaning.casefold() == said.casefold()]
    return concept[1], concept[0], (same or allowed)[0][:64]


def item_of(code: tuple[str, str, str] | None) -> Dataset:
    """A code sequence's item; for None one that says that a code was removed."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code or _UNKNOWN
    return item


def codes_of(task: Task) -> dict[Concept, str]:
    """The concepts that the parameters name."""
    return {(s.code.scheme, s.code.value): s.code.meaning for s in task.structures}


@cache
def _standard() -> dict[Concept, str]:
    """Concepts of PS3.16 as pydicom ships them."""
    from pydicom.sr.codedict import codes

    found: dict[Concept, str] = {}
    for scheme in codes.schemes():
        for code in getattr(codes, scheme).concepts.values():
            found.setdefault((scheme, code.value), code.meaning)
    return found
