"""Tables of class labels: what readers say of an image, a series or a study, as lines of text.

The first line is `SOPInstanceUID,label,reader`, or names SeriesInstanceUID or StudyInstanceUID
instead; each further line gives one reader's label of one image, series or study.

Rules:

- LAB-1  A table is told by its first line, never by its name or place.
- LAB-2  It is taken whole or quarantined whole: UTF-8 of at most `limits.label_bytes`, three
         columns, a well-formed UID, one of the task's classes, a reader's name.
- LAB-3  Of its text nothing passes: UIDs are replaced as the instances' own, a label is the task's
         own word, a reader's name gives way to a role or a keyed pseudonym as for segmentations.
- LAB-4  A label of what is not among the sources, or is of several subjects, is counted and given
         to no one.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from stages.artifact import Digest
from stages.ingest.quarantine import Quarantined, Reason

if TYPE_CHECKING:
    from stages.ingest.survey import Member

S = TypeVar("S")
_LEVELS: Final = {
    "SOPInstanceUID": "sop",
    "SeriesInstanceUID": "series",
    "StudyInstanceUID": "study",
}
_HEADS: Final = {f"{keyword},label,reader": level for keyword, level in _LEVELS.items()}
_STARTS: Final = tuple(f"{keyword},".encode() for keyword in _LEVELS)
_BOM: Final = b"\xef\xbb\xbf"
_UID_LENGTH: Final = 64
_READER_LENGTH: Final = 64


class Given(NamedTuple):
    """One reader's label, by new UIDs; nothing in it is an identity."""

    study: str
    series: str
    """Empty if the label is the whole study's."""
    sop: str
    """Empty if the label is the whole series' or study's."""
    label: str
    reader: str


@dataclass(frozen=True)
class LabelTable:
    """A table as it came in."""

    sha256: Digest
    level: str
    """`sop`, `series` or `study`: whose UIDs stand in it."""
    rows: tuple[tuple[str, str, str], ...] = field(repr=False)
    """UID, class, reader's name."""


def is_table(data: bytes) -> bool:
    """Whether a file is a table of labels, well-formed or not (LAB-1)."""
    return data.startswith((*_STARTS, *(_BOM + start for start in _STARTS)))


def read_label_table(
    sha256: Digest, data: bytes, classes: Collection[str], limit_bytes: int
) -> LabelTable:
    """Read a table (LAB-2).

    Args:
        sha256: of the file.
        data: the file.
        classes: names of the task's classes.
        limit_bytes: a larger table is not read.

    Raises:
        Quarantined: it is malformed or too large, or names a class that is none of the task's.
    """
    if len(data) > limit_bytes:
        raise Quarantined(Reason.LABEL_TABLE)
    try:
        text = data.removeprefix(_BOM).decode("utf-8")
        lines = csv.reader(io.StringIO(text, newline=""), strict=True)
        level = _HEADS[",".join(next(lines))]
        found = dict.fromkeys(_row(line) for line in lines if line)
    except (UnicodeDecodeError, csv.Error, KeyError, ValueError):
        raise Quarantined(Reason.LABEL_TABLE) from None
    if any(label not in classes for _, label, _ in found):
        raise Quarantined(Reason.LABEL_CLASS)
    return LabelTable(sha256, level, tuple(found))


def assign(
    tables: Iterable[LabelTable],
    subjects: Mapping[S, Sequence[Member]],
    new: Callable[[str], str],
    named: Callable[[str], str],
) -> tuple[dict[S, list[Given]], int]:
    """Give each subject its labels, by new UIDs (LAB-3).

    Args:
        tables: all of them.
        subjects: subject → its instances.
        new: what stands for a UID in the output.
        named: what stands for a reader's name in the output.

    Returns:
        Subject → its labels, sorted, each once; and how many lines are of no one (LAB-4).
    """
    tables = list(tables)
    wanted = {(table.level, uid) for table in tables for uid, _, _ in table.rows}
    places: dict[tuple[str, str], dict[S, Member]] = defaultdict(dict)
    levels = {table.level for table in tables}
    for subject, members in subjects.items() if levels else ():
        for member in members:
            for level in levels:
                key = level, _uid(member, level)
                if key in wanted:
                    places[key].setdefault(subject, member)
    given: dict[S, set[Given]] = defaultdict(set)
    unknown = 0
    for table in tables:
        for uid, label, reader in table.rows:
            owners = places.get((table.level, uid), {})
            if len(owners) != 1:
                unknown += 1
                continue
            ((subject, member),) = owners.items()
            study, series, sop = _uids(member, new)
            given[subject].add(
                Given(
                    study=study,
                    series="" if table.level == "study" else series,
                    sop=sop if table.level == "sop" else "",
                    label=label,
                    reader=named(reader),
                )
            )
    return {subject: sorted(labels) for subject, labels in given.items()}, unknown


def of_kept(
    labels: Iterable[Given],
    studies: Collection[str],
    series: Collection[str],
    sops: Collection[str],
) -> list[Given]:
    """Those whose image, series or study was taken in."""
    return [
        one
        for one in labels
        if one.study in studies
        and (not one.series or one.series in series)
        and (not one.sop or one.sop in sops)
    ]


def _row(line: Sequence[str]) -> tuple[str, str, str]:
    uid, label, reader = (value.strip() for value in line)
    if not 0 < len(uid) <= _UID_LENGTH or not all(arc.isdecimal() for arc in uid.split(".")):
        raise ValueError("no UID")
    if not 0 < len(reader) <= _READER_LENGTH:
        raise ValueError("no reader")
    return uid, label.casefold(), reader


def _uids(member: Member, new: Callable[[str], str]) -> tuple[str, str, str]:
    study, series, sop = (_uid(member, level) for level in ("study", "series", "sop"))
    return (study, series, sop) if member.own else (new(study), new(series), new(sop))


def _uid(member: Member, level: str) -> str:
    uid: str = member.sop if level == "sop" else getattr(member.origin, level)
    return uid
