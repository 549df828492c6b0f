"""Own outputs among the sources: whose they are, and what stands where the original is here too.

Rules:

- OWN-3  An own output belongs to the subject whose pseudonym it bears; the vault is not asked for a
         new patient.
- OWN-4  Where an own output and its original come together, the original stands and the own output
         is a duplicate: it would come out again, or as the parameters now say.
- OWN-5  One instance of two subjects is a conflict, as it is among originals.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from stages.ingest.keys import Keys, SubjectSecrets
from stages.ingest.quarantine import Reason

if TYPE_CHECKING:
    from stages.ingest.survey import Member, Survey


def joined(
    found: Survey, secrets: Keys, new: Callable[[str], str]
) -> dict[SubjectSecrets, list[Member]]:
    """Each subject's instances, own outputs among them, sorted by digest.

    Args:
        found: its members are moved out of it; duplicates and conflicts are entered into it.
        secrets: they know every pseudonym among the own outputs.
        new: what stands for a UID in the output.
    """
    subjects = {secrets.subject(*who): found.patients.pop(who) for who in list(found.patients)}
    if not found.own:
        return subjects
    originals = {new(m.sop): (s, m) for s, members in subjects.items() for m in members}
    conflicts: list[Member] = []
    for name in sorted(found.own):
        subject = secrets.named(name)
        if subject is None:
            raise LookupError("an own output of no subject")
        for member in found.own.pop(name):
            other, original = originals.get(member.sop, (None, None))
            if original is None:
                subjects.setdefault(subject, []).append(member)
            elif other == subject:
                found.duplicates += 1
            else:
                conflicts += [member, original]
    found.quarantined += [(member.sha256, Reason.CONFLICT) for member in conflicts]
    found.quarantined.sort()
    refused = {member.sha256 for member in conflicts}
    kept = {
        subject: sorted((m for m in members if m.sha256 not in refused), key=lambda m: m.sha256)
        for subject, members in subjects.items()
    }
    return {subject: members for subject, members in kept.items() if members}
