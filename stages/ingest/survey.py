"""What the sources hold: every file accounted for, instances grouped by patient.

Decides which files go on to a worker and which are quarantined, dropped or ignored at once. The
outcome depends on the set of files alone, not on their order, place or names. What is this
project's own output is told by its digest and kept apart (`own.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from itertools import chain

from stages.artifact import Digest
from stages.ingest.header import Header, quiet
from stages.ingest.label_table import LabelTable
from stages.ingest.quarantine import Reason
from stages.ingest.sightings import Seen, Sighting
from stages.ingest.sources import Handle
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
def survey(sighted: Iterable[Sighting], *, demo: bool, own: Set[Digest] = frozenset()) -> Survey:
    """Put every file in its place.

    Args:
        sighted: what the sources hold.
        demo: whether the public demo key is used; then only phantoms pass.
        own: digests of this project's own outputs.
    """
    result = Survey()
    passed_over: set[Digest] = set()
    origins: dict[Origin, Origin] = {}
    by_instance: dict[bool, dict[str, Member | list[Member]]] = {False: {}, True: {}}
    for file in sighted:
        result.files += 1
        if file.whole and file.sha256 in passed_over:
            result.duplicates += 1
            continue
        ours = file.sha256 in own
        seen = _accepted(file.seen, demo=demo and not ours)
        if not isinstance(seen, Header):
            passed_over.add(file.sha256)
            _pass_over(result, file.sha256, seen)
            continue
        origin = Origin(seen.sop_class, seen.study, seen.series, seen.patient_id, seen.issuer)
        origin = origins.setdefault(origin, origin)
        member = Member(file.handle, file.sha256, seen.sop, origin, ours)
        result.duplicates += not _gather(by_instance[ours], member)
    patients: dict[tuple[str, str], list[Member]] = defaultdict(list)
    outputs: dict[str, list[Member]] = defaultdict(list)
    for found in chain.from_iterable(same.values() for same in by_instance.values()):
        if isinstance(found, list):
            result.quarantined += [(member.sha256, Reason.CONFLICT) for member in found]
        elif found.own:
            outputs[found.origin.patient_id].append(found)
        else:
            patients[found.origin.patient_id, found.origin.issuer].append(found)
    for members in (*patients.values(), *outputs.values()):
        members.sort(key=lambda member: member.sha256)
    result.patients, result.own = dict(patients), dict(outputs)
    result.quarantined.sort()
    result.tables.sort(key=lambda table: table.sha256)
    return result


def _pass_over(result: Survey, sha256: Digest, seen: LabelTable | Reason | None) -> None:
    """Enter a file that is no instance."""
    if isinstance(seen, Reason):
        result.quarantined.append((sha256, seen))
    elif seen is not None:
        result.tables.append(seen)
    else:
        result.ignored += 1


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


def _accepted(seen: Seen, *, demo: bool) -> Seen:
    """What a file was seen to be; under the demo key, an instance that is no phantom's is not."""
    if isinstance(seen, Header) and demo and not (is_phantom(seen.sop) and is_phantom(seen.study)):
        return Reason.NOT_PHANTOM
    return seen
