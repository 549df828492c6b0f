"""What pseudonymizing one subject's instances takes beside the profile, and what it counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydicom.dataset import Dataset

from stages.ingest import codes, keys
from stages.ingest.values import parts, words

_IDENTIFIERS: Final = (
    "AccessionNumber",
    "ConsultingPhysicianName",
    "NameOfPhysiciansReadingStudy",
    "OperatorsName",
    "OtherPatientIDs",
    "OtherPatientNames",
    "PatientBirthName",
    "PatientID",
    "PatientMotherBirthName",
    "PatientName",
    "PerformingPhysicianName",
    "ReferringPhysicianName",
    "ResponsiblePerson",
)


@dataclass(frozen=True)
class Rules:
    """One subject's secrets and the parameters' vocabularies."""

    subject: str
    uid_key: bytes = field(repr=False)
    reader_key: bytes = field(repr=False)
    days: int | None = field(repr=False)
    """Shift of dates; None removes them."""
    readers: Mapping[str, str]
    """Content creator's name that is a role → reader's name."""
    labels: Mapping[str, tuple[str, tuple[str, ...]]]
    """Segment label in lower case → the label and its classes."""
    codes: Mapping[codes.Concept, str]
    """Concepts of the task → meaning."""
    depth: int
    """Deepest nesting of sequences that is followed."""


@dataclass
class Counts:
    """What was done to one instance, by kind: elements at every depth."""

    removed: int = 0
    emptied: int = 0
    replaced: int = 0
    uids: int = 0
    shifted: int = 0
    kept: int = 0

    def exchanged(self, before: Counts, after: Counts) -> Counts:
        """These with one element's counts exchanged for another's."""
        return Counts(
            **{
                name: count - getattr(before, name) + getattr(after, name)
                for name, count in vars(self).items()
            }
        )


def reader_of(source: Dataset, rules: Rules) -> str:
    """The name that stands for an annotation's reader.

    A content creator that the parameters name gets the role's name, any other a keyed pseudonym;
    an annotation without a creator is a reader of its own.
    """
    name = "^".join(parts(value_of(source, "ContentCreatorName"))).rstrip("^ ")
    if name in rules.readers:
        return rules.readers[name]
    series = value_of(source, "SeriesInstanceUID")
    return keys.reader(rules.reader_key, name or f"series {series}")


def known_words(source: Dataset) -> frozenset[str]:
    """Words of an instance's identifiers, which no text that is kept may hold."""
    names = [text for keyword in _IDENTIFIERS for text in parts(value_of(source, keyword))]
    return frozenset(word for word in words(names) if len(word) > 2)


def value_of(source: Dataset, keyword: str) -> Any:
    """An element's value; None if it is absent or cannot be read."""
    try:
        return source.get(keyword)
    except Exception:  # noqa: BLE001 - any fault of the parser: then it is as if absent
        return None
