"""One subject's instances: pseudonymized, gathered into series, each series judged as a whole.

Instances are handled one at a time, in the order of their new UIDs, and written straight into the
archive of their series; only headers' facts stay in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from stages.archive import ZipWriter
from stages.artifact import Digest
from stages.ingest.geometry import Slice, judge, slice_of
from stages.ingest.header import SEG, encode, parse, quiet
from stages.ingest.params import Limits
from stages.ingest.pseudonymize import Counts, Rules, pseudonymize, reader_of
from stages.ingest.quarantine import Quarantined, Reason
from stages.ingest.sources import Handle, digest, read

ANNOTATION = "annotation"
IMAGE = "image"


@dataclass(frozen=True)
class Item:
    """An instance to take in, by its new UIDs."""

    kind: str
    series: str
    sop: str
    sha256: Digest
    handle: Handle = field(repr=False)


@dataclass
class Taken:
    """What became of a subject: rows of its three tables."""

    series: list[dict[str, Any]] = field(default_factory=list)
    instances: list[dict[str, Any]] = field(default_factory=list)
    quarantined: list[tuple[Digest, Reason]] = field(default_factory=list)


@dataclass
class _Gathered:
    """The instances of one series that passed by themselves."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    slices: list[Slice | None] = field(default_factory=list)
    studies: set[str] = field(default_factory=set)
    references: set[str] = field(default_factory=set)
    """Series that an annotation refers to."""
    facts: dict[str, str] = field(default_factory=dict)

    def add(self, item: Item, result: Dataset, row: dict[str, Any]) -> None:
        """Remember what the series is judged by."""
        self.rows.append(row)
        self.studies.add(str(result.StudyInstanceUID))
        if item.kind == IMAGE:
            self.slices.append(slice_of(result))
        else:
            self.references |= _references(result)
        self.facts = _facts(result, item.kind)


def take_in(items: Sequence[Item], rules: Rules, limits: Limits, out: Path) -> Iterator[Taken]:
    """Pseudonymize a subject's instances into `<out>/<series>.zip`; yields after each series.

    Images come first, so that annotations can be held against the series that were kept.

    Raises:
        Fault: a source changed since it was planned.
    """
    intake = _Intake(rules, limits, out)
    taken = intake.taken
    order = sorted(items, key=lambda item: (item.kind != IMAGE, item.series, item.sop))
    sources = read([(item.handle, item.sha256) for item in order], limits)
    for (kind, uid), members in groupby(order, key=lambda item: (item.kind, item.series)):
        path = out / f"{uid}.zip"
        gathered = intake.gather(list(members), sources, path)
        kept = {row["series"] for row in taken.series if row["kind"] == IMAGE}
        reason = _judge(kind, gathered, kept)
        if reason or not gathered.rows:
            path.unlink()
            bad = [(row["input_sha256"], reason) for row in gathered.rows if reason]
            taken.quarantined += bad
        else:
            taken.instances += gathered.rows
            taken.series.append(_row(kind, uid, gathered, rules))
        yield taken


class _Intake:
    """The work on one subject."""

    def __init__(self, rules: Rules, limits: Limits, out: Path) -> None:
        self.rules = rules
        self.limits = limits
        self.out = out
        self.taken = Taken()

    def gather(self, members: Sequence[Item], sources: Iterator[bytes], path: Path) -> _Gathered:
        """Write the instances of one series that pass by themselves into its archive."""
        gathered = _Gathered()
        with ZipWriter(path) as archive:
            for item in members:
                source = next(sources)
                try:
                    result, data, counts = self._convert(source)
                except Quarantined as error:
                    self.taken.quarantined.append((item.sha256, error.reason))
                    continue
                archive.add(f"{item.sop}.dcm", data)
                gathered.add(item, result, self._row(item, data, counts))
        return gathered

    def _convert(self, data: bytes) -> tuple[Dataset, bytes, Counts]:
        with quiet():
            source = parse(data, self.limits)
            try:
                result, counts = pseudonymize(source, self.rules)
                if source.SOPClassUID == SEG:
                    result.ContentCreatorName = reader_of(source, self.rules)
                return result, encode(result), counts
            except Quarantined:
                raise
            except Exception:  # noqa: BLE001 - a fault of the file, whose text may quote values
                raise Quarantined(Reason.CORRUPT) from None

    def _row(self, item: Item, data: bytes, counts: Counts) -> dict[str, Any]:
        return {
            "subject": self.rules.subject,
            "series": item.series,
            "sop": item.sop,
            "input_sha256": item.sha256,
            "output_sha256": digest(data),
            **{f"actions_{name}": count for name, count in asdict(counts).items()},
        }


def _judge(kind: str, gathered: _Gathered, kept: set[str]) -> Reason | None:
    """Why a series as a whole is not taken in."""
    if not gathered.rows:
        return None
    if len(gathered.studies) > 1:
        return Reason.STUDIES
    if kind == IMAGE:
        return judge(gathered.slices)
    if len(gathered.rows) > 1:
        return Reason.SEVERAL
    return None if len(gathered.references & kept) == 1 else Reason.NO_REFERENCE


def _references(result: Dataset) -> set[str]:
    return {
        str(item.get("SeriesInstanceUID", ""))
        for item in result.get("ReferencedSeriesSequence", ())
    }


def _facts(result: Dataset, kind: str) -> dict[str, str]:
    keywords = {
        "modality": "Modality",
        "manufacturer": "Manufacturer",
        "model": "ManufacturerModelName",
    }
    facts = {name: str(result.get(keyword) or "") for name, keyword in keywords.items()}
    reader = str(result.get("ContentCreatorName", "")) if kind == ANNOTATION else ""
    return {**facts, "reader": reader, "study": str(result.StudyInstanceUID)}


def _row(kind: str, uid: str, gathered: _Gathered, rules: Rules) -> dict[str, Any]:
    return {
        "subject": rules.subject,
        "series": uid,
        "kind": kind,
        "annotates": min(gathered.references, default="") if kind == ANNOTATION else "",
        "instances": len(gathered.rows),
        **gathered.facts,
    }
