"""Descriptors: which words of a free text stay.

Rules:

- WRD-1  A word stays if it is in the vocabulary and none of the subject's, or is a short measure
         (`5mm`, `3t`). Words are what separators part, so no order or spelling of a name matters:
         what is not known to be harmless goes, and is counted.
- WRD-2  A line (SH, LO) keeps the words that stay, in their order, with one blank between; nothing
         changes where all stay.
- WRD-3  Prose (ST, LT, UC, UT) and code strings stay whole or not at all: picked from a sentence,
         words say something else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from stages.ingest.fold import fold
from stages.ingest.known import Known
from stages.ingest.tables import vocabulary

_TOKEN: Final = re.compile(r"\d+(?:[.,]\d+)?[^\W\d_]+|[^\W_]+")
_MEASURE: Final = re.compile(r"\d{1,2}(?:[.,]\d{1,2})?(?:mm|cm|ms|s|sec|min|t)")
_LINES: Final = frozenset({"LO", "SH"})


@dataclass(frozen=True)
class Cleaned:
    """What is left of an attribute's texts."""

    texts: tuple[str, ...]
    removed: int
    """Words that were removed."""


def clean(vr: str, texts: list[str], known: Known) -> Cleaned:
    """Keep the harmless words of an attribute's texts (WRD-1 … WRD-3)."""
    kept, removed = [], 0
    for text in texts:
        words = _TOKEN.findall(text)
        stay = [word for word in words if _stays(word, known)]
        removed += len(words) - len(stay)
        if len(stay) == len(words):
            kept.append(text if stay else "")
        else:
            kept.append(" ".join(stay) if vr in _LINES else "")
    return Cleaned(tuple(text for text in kept if text), removed)


def _stays(word: str, known: Known) -> bool:
    lower = word.lower()
    if _MEASURE.fullmatch(lower):
        return True
    return lower in vocabulary() and not known.in_word(fold(lower))
