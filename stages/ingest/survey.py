"""What the sources hold: every file accounted for, instances grouped by patient.

Decides which files go on to a worker and which are quarantined, dropped or ignored at once. The
outcome depends on the set of files alone, not on their order, place or names. What is this
project's own output is told by its digest and kept apart (`own.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Set
from dataclasses import dataclass, field
from itertools import chain

from stages.artifact import Digest
from stages.ingest.header import Header, Identifier, is_dicomdir, quiet
from stages.ingest.label_table import LabelTable, is_table, read_label_table
from stages.ingest.params import Limits
from stages.ingest.quarantine import Quarantined, Reason
from stages.ingest.sources import Found, Handle
from stages.phantom_root import is_phantom


@dataclass(frozen=True, slots=True)
class Origin:
    """What instances of one series have in common; kept once for all of them."""

    sop_class: str
    study: str = field(repr=False)
    series: str = field(repr=False)
    patient_id: str = field(repr=False)
    issuer: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Member:
    """One instance of one patient; millions may be held, so it is small."""

    handle: Handle = field(repr=False)
    sha256: Digest
    sop: str = field(repr=False)
    origin: Origin = field(repr=False)
    own: bool = False
    """Whether it is this project's own output."""


@dataclass
class Survey:
    """Every file of the sources, in one of six places."""

    patients: dict[tuple[str, str], list[Member]] = field(default_factory=dict, repr=False)
    """(patient ID, issuer) → its instances, sorted by digest."""
    own: dict[str, list[Member]] = field(default_factory=dict, repr=False)
    """Pseudonym → this project's own outputs, sorted by digest."""
    quarantined: list[tuple[Digest, Reason]] = field(default_factory=list)
    duplicates: int = 0
    """Files whose very bytes were there already."""
    tables: list[LabelTable] = field(default_factory=list, repr=False)
    """Tables of class labels, sorted by digest."""
    ignored: int = 0
    """Media directories (DICOMDIR), and sidecars and labels that were read with their image."""
    files: int = 0


@quiet()
def survey(
    files: Iterable[Found],
    limits: Limits,
    *,
    demo: bool,
    own: Set[Digest] = frozenset(),
    classes: Collection[str] = (),
) -> Survey:
    """Identify every file (one in memory at a time).

    Args:
        files: what the sources hold.
        limits: of the instances.
        demo: whether the public demo key is used; then only phantoms pass.
        own: digests of this project's own outputs.
        classes: names of the task's classes.
    """
    result, identifier = Survey(), Identifier(limits)
    passed_over: set[Digest] = set()
    origins: dict[Origin, Origin] = {}
    by_instance: dict[bool, dict[str, Member | list[Member]]] = {False: {}, True: {}}
    for file in files:
        result.files += 1
        opened = file.reason not in (Reason.UNREADABLE, Reason.TOO_LARGE)
        if opened and not file.part and file.sha256 in passed_over:
            result.duplicates += 1
            continue
        try:
            table = _table(file, classes, limits)
            header = None
            if table is None and not file.part:
                header = _header(file, identifier, demo=demo, own=file.sha256 in own)
        except Quarantined as error:
            result.quarantined.append((file.sha256, error.reason))
            passed_over.add(file.sha256)
            continue
        if header is None:
            result.tables += [] if table is None else [table]
            result.ignored += table is None
            passed_over.add(file.sha256)
            continue
        origin = Origin(
            header.sop_class, header.study, header.series, header.patient_id, header.issuer
        )
        origin = origins.setdefault(origin, origin)
        member = Member(file.handle, file.sha256, header.sop, origin, file.sha256 in own)
        result.duplicates += not _gather(by_instance[member.own], member)
    patients: dict[tuple[str, str], list[Member]] = defaultdict(list)
    ours: dict[str, list[Member]] = defaultdict(list)
    for found in chain.from_iterable(same.values() for same in by_instance.values()):
        if isinstance(found, list):
            result.quarantined += [(member.sha256, Reason.CONFLICT) for member in found]
        elif found.own:
            ours[found.origin.patient_id].append(found)
        else:
            patients[found.origin.patient_id, found.origin.issuer].append(found)
    for members in (*patients.values(), *ours.values()):
        members.sort(key=lambda member: member.sha256)
    result.patients, result.own = dict(patients), dict(ours)
    result.quarantined.sort()
    result.tables.sort(key=lambda table: table.sha256)
    return result


def _table(file: Found, classes: Collection[str], limits: Limits) -> LabelTable | None:
    """The table of class labels that a file is, if it is one."""
    if file.part or file.reason or not is_table(file.data):
        return None
    return read_label_table(file.sha256, file.data, classes, limits.label_bytes)


def _gather(by_instance: dict[str, Member | list[Member]], member: Member) -> bool:
    """File a member under its instance: alone, or with all others of that UID.

    Returns:
        False if its very bytes are there already.
    """
    before = by_instance.setdefault(member.sop, member)
    if before is member:
        return True
    all_before = before if isinstance(before, list) else [before]
    if any(one.sha256 == member.sha256 for one in all_before):
        return False
    by_instance[member.sop] = [*all_before, member]
    return True


def _header(file: Found, identifier: Identifier, *, demo: bool, own: bool) -> Header | None:
    """Whose instance a file is; None for a medium's directory."""
    if file.reason:
        raise Quarantined(file.reason)
    if is_dicomdir(file.data):
        return None
    header = identifier.identify(file.data)
    if demo and not own and not (is_phantom(header.sop) and is_phantom(header.study)):
        raise Quarantined(Reason.NOT_PHANTOM)
    return header
