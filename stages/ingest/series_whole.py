"""A series as a whole, once its instances are written: kept, parted, or quarantined.

Rules: ING-8 (`stage.py`), GEO-1 to GEO-5 (`geometry_policy.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit.errors import Unreadable
from stages.archive import ZipReader, ZipWriter
from stages.ingest.document import DOCUMENT
from stages.ingest.geometry_columns import NOTHING
from stages.ingest.geometry_policy import REASONS, Finding, Judged, judge
from stages.ingest.instance import IMAGE, Converted
from stages.ingest.params import GeometryParams
from stages.ingest.pixels import PICTURE
from stages.ingest.quarantine import Reason
from stages.ingest.stated import LARGEST
from stages.series import read_series
from stages.stack import Fit

_KEPT = Judged(None, frozenset(), NOTHING)


@dataclass(frozen=True)
class Instance:
    """A written instance: its row, and its facts."""

    row: dict[str, Any]
    facts: Converted


def settle(
    kind: str, path: Path, instances: Sequence[Instance], kept: set[str], policy: GeometryParams
) -> Judged:
    """Judge a series; localizers that are set apart are taken out of its archive.

    Args:
        kind: of the series.
        path: its archive.
        instances: what was written, in order.
        kept: image series of the subject that were kept.
        policy: what to do about its geometry.
    """
    if not instances:
        return _KEPT
    facts = [instance.facts for instance in instances]
    if len({one.study for one in facts}) > 1:
        return _refused(Reason.STUDIES)
    if kind in (DOCUMENT, PICTURE):
        return _KEPT
    return _volume(path, instances, policy) if kind == IMAGE else _annotation(facts, kept)


def _annotation(facts: Sequence[Converted], kept: set[str]) -> Judged:
    if len(facts) > 1:
        return _refused(Reason.SEVERAL)
    return _KEPT if len(facts[0].references & kept) == 1 else _refused(Reason.NO_REFERENCE)


def _volume(path: Path, instances: Sequence[Instance], policy: GeometryParams) -> Judged:
    facts = [instance.facts for instance in instances]
    judged = judge([one.place for one in facts if one.place], policy)
    if judged.reason:
        return judged
    if judged.apart:
        _without(path, {f"{instances[index].row['sop']}.dcm" for index in judged.apart})
    return judged if _can_be_read(path, judged.row) else _refused(_first(judged.row))


def _refused(reason: Reason) -> Judged:
    return Judged(reason, frozenset(), NOTHING)


def _first(row: Mapping[str, Any]) -> Reason:
    return REASONS[Finding(str(row["geometry_findings"]).split(" ", maxsplit=1)[0])]


def _can_be_read(path: Path, row: Mapping[str, Any]) -> bool:
    """Whether what shall be resampled can be (GEO-5)."""
    if row["geometry"] != Fit.RESAMPLE:
        return True
    try:
        read_series(path, pixels=False, resample=True)
    except Unreadable:
        return False
    return True


def _without(path: Path, gone: set[str]) -> None:
    """Write an archive anew, some of its members left out."""
    new = path.with_suffix(".new")
    try:
        with (
            ZipReader(path, limit_bytes=LARGEST, limit_entries=LARGEST) as old,
            ZipWriter(new) as archive,
        ):
            for name in old.names:
                if name not in gone:
                    archive.add(name, old.read(name))
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
