"""What an instance says of its subject, gathered before anything of it is kept.

Rules:

- KNO-1  Names of persons and the identifiers of the patient (`personal`) pass in no text, number
         or bulk value that is kept: not as a word, not within a word, not with other separators,
         in any order, case or transliteration (`fold.py`).
- KNO-2  Words of places and of further identifiers (`local`) pass in none either, unless they are
         words of the vocabulary or of the device's maker.
- KNO-3  What is known comes from text alone, so that the slices of a series know the same. Dates
         need no list: what reads like one passes nowhere but in a date, which shifts
         (`values.py`).
- KNO-4  What an element is, its tag tells as well as the VR in the file. A name is also known as
         it reads in the character sets that are declared wrongly most often.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from typing import Any, Final

from pydicom.dataset import Dataset

from stages.ingest.fold import fold, fold_words, run_of, words_of
from stages.ingest.spellings import encodings, otherwise, together
from stages.ingest.tables import rows, vocabulary
from stages.ingest.values import parts

_TITLES: Final = frozenset(
    [
        "mr",
        "mrs",
        "ms",
        "miss",
        "dr",
        "prof",
        "phd",
        "med",
        "md",
        "msc",
        "bsc",
        "mta",
        "rt",
        "rad",
        "herr",
        "frau",
        "hr",
        "fr",
        "sir",
        "von",
        "van",
        "den",
        "der",
        "del",
        "della",
        "dos",
        "das",
        "und",
        "the",
        "and",
        "for",
        "not",
        "none",
        "unknown",
        "anonymous",
        "anonymized",
        "removed",
        "test",
    ]
)
_PERSONAL: Final = frozenset(
    {
        0x00080050,  # Accession Number
        0x00100020,  # Patient ID
        0x00100021,  # Issuer of Patient ID
        0x00101000,  # Other Patient IDs
        0x00101040,  # Patient's Address
        0x00101080,  # Military Rank
        0x00101090,  # Medical Record Locator
        0x00102154,  # Patient's Telephone Numbers
        0x00102155,  # Patient's Telecom Information
        0x00102297,  # Responsible Person
        0x00380010,  # Admission ID
        0x00120040,  # Clinical Trial Subject ID
        0x00120042,  # Clinical Trial Subject Reading ID
    }
)
_CREATOR: Final = 0x00700084
_MAKER: Final = (0x00080070, 0x00081090)
_LOCAL_VRS: Final = frozenset({"LO", "SH", "ST"})
_SHORTEST: Final = 3
"""Letters of a word that is looked for as a word; initials say nothing."""
_WITHIN: Final = 5
"""Letters of a word that is looked for within others, and digits of a number."""


@dataclass(frozen=True)
class Known:
    """The subject's own words and numbers, folded."""

    personal: frozenset[str] = field(default=frozenset(), repr=False)
    local: frozenset[str] = field(default=frozenset(), repr=False)
    runs: tuple[str, ...] = field(default=(), repr=False)
    digits: frozenset[str] = field(default=frozenset(), repr=False)
    needles: tuple[bytes, ...] = field(default=(), repr=False)

    def in_word(self, folded: str) -> bool:
        """Whether a vocabulary's word is one of the subject's (KNO-1)."""
        return folded in self.personal

    def in_text(self, text: str) -> bool:
        """Whether a text holds anything of the subject (KNO-1, KNO-2)."""
        words = fold_words(text)
        run = "".join(words)
        if any(word in self.personal or word in self.local for word in (*words, run)):
            return True
        if any(known in run for known in self.runs):
            return True
        digits = "".join(char for char in run if char.isdecimal())
        return len(digits) >= _WITHIN and any(known in digits for known in self.digits)

    def in_personal(self, text: str) -> bool:
        """Whether a text holds a name or an identifier of the subject (KNO-1)."""
        return replace(self, local=frozenset()).in_text(text)

    def in_number(self, value: Any) -> bool:
        """Whether a number is written like one of the subject's."""
        text = str(value).strip().lstrip("+-0")
        return len(text) >= _WITHIN and text.partition(".")[0].lstrip("0") in self.digits

    def in_bytes(self, data: bytes) -> bool:
        """Whether bulk data spell one of the subject's words in a usual encoding."""
        lower = data.lower()
        return any(needle in lower for needle in self.needles)


def known_of(source: Dataset) -> Known:
    """Gather what an instance says of its subject, at every depth."""
    personal: set[str] = set()
    local: set[str] = set()
    runs: set[str] = set()
    numbers: set[str] = set()
    raw: set[str] = set()
    for kind, text in _texts(source):
        words = [word for word in fold_words(text) if word not in _TITLES]
        if kind == "local":
            local.update(word for word in words if len(word) > _SHORTEST and not word.isdecimal())
            continue
        personal.update(_long(text) - _TITLES)
        run = run_of(text)
        personal.update(together(words))
        runs.update(word for word in (*words, run) if len(word) >= _least(word, _WITHIN))
        raw.update(part.lower() for part in re.split(r"[\^=\s,;]+", text) if len(part) >= _WITHIN)
        numbers.add("".join(char for char in run if char.isdecimal()))
    maker = {word for tag in _MAKER for text in _parts(source, tag) for word in fold_words(text)}
    return Known(
        personal=frozenset(personal),
        local=frozenset(local - maker - _folded_vocabulary()),
        runs=tuple(sorted(runs)),
        digits=frozenset(number for number in numbers if len(number) >= _WITHIN),
        needles=tuple(sorted({needle for text in raw for needle in encodings(text)})),
    )


def _long(text: str) -> set[str]:
    """The words of a text that are long enough as they are written; `Zoe` folds to two letters."""
    folded = [(word, fold(word)) for word in words_of(text)]
    return {same for word, same in folded if len(word) >= _least(same, _SHORTEST)}


def _least(word: str, letters: int) -> int:
    """How long a word must be to tell of anyone; two ideographs are a name already."""
    return letters if word.isascii() else 2


def _texts(source: Dataset, depth: int = 0) -> Iterator[tuple[str, str]]:
    """(kind, text) of every element that tells of the subject."""
    for tag in source.keys():  # noqa: SIM118 - iteration itself would convert every element
        element = source.get_item(tag)
        vr = element.VR if element is not None else None
        kind = _kind(int(tag), vr or "")
        if kind == "items" and depth < 64:
            for item in _items(source, int(tag)):
                yield from _texts(item, depth + 1)
        elif kind:
            for text in _parts(source, int(tag)):
                yield kind, text


@lru_cache(maxsize=50_000)
def _kind(tag: int, vr: str) -> str:
    vrs = {vr, _dictionary_vr(tag)}
    if "SQ" in vrs:
        return "items"
    if tag in _PERSONAL or ("PN" in vrs and tag != _CREATOR):
        return "personal"
    row = rows().get(tag)
    listed = row is not None and not row.descriptors and not row.device
    return "local" if listed and vrs & _LOCAL_VRS else ""


def _dictionary_vr(tag: int) -> str:
    from pydicom.datadict import dictionary_VR

    try:
        return dictionary_VR(tag)
    except KeyError:
        return ""


def _items(source: Dataset, tag: int) -> list[Dataset]:
    try:
        value = source[tag].value
        return [item for item in value if isinstance(item, Dataset)]
    except Exception:  # noqa: BLE001 - any fault of the parser: then nothing of it is kept either
        return []


def _parts(source: Dataset, tag: int) -> list[str]:
    try:
        value = source[tag].value
        return [*parts(value), *otherwise(value)] if tag in source else []
    except Exception:  # noqa: BLE001 - any fault of the parser: then nothing of it is kept either
        return []


@cache
def _folded_vocabulary() -> frozenset[str]:
    return frozenset(fold(word) for word in vocabulary())
