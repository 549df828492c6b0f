"""What a record is in the words of DICOM, ISO 21089 and FHIR: one row a stage or kind of event.

Sources: DICOM PS3.16 CID 400 (event identifiers) and CID 401 (event types), PS3.15 A.5.1 (action
and life cycle); ISO/TS 21089 life cycle events as FHIR R4B codes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from audit.reading import Entry
from audit.show import verdict

DCM = "DCM"
OURS = "99KETTE"
"""Kette's own coding scheme; DICOM keeps designators that begin with 99 for private ones."""

EVENTS = {
    "110100": "Application Activity",
    "110106": "Export",
    "110107": "Import",
    "110113": "Security Alert",
}
"""CID 400."""
TYPES = {"110137": "User security Attributes Changed"}
"""CID 401."""
SUCCESS, SERIOUS = "0", "8"
"""Event outcome indicator: a gate that refused is a serious failure of its stage."""


class LifeCycle(StrEnum):
    """What happened to what a record is about (PS3.15 A.5.1.2.3)."""

    ORIGINATION = "1"
    VERIFICATION = "4"
    TRANSLATION = "5"
    ACCESS = "6"
    DE_IDENTIFICATION = "7"
    DERIVATION = "8"
    ARCHIVING = "13"
    LOGICAL_DELETION = "14"


@dataclass(frozen=True)
class Meaning:
    """A row."""

    event: str
    """Code of CID 400."""
    action: str
    """C, R, U, D or E."""
    life_cycle: LifeCycle
    iso: str
    """ISO 21089 life cycle event."""
    type: str | None = None
    """Code of CID 401."""


STAGES = {
    "ingest": Meaning("110107", "C", LifeCycle.DE_IDENTIFICATION, "pseudonymize"),
    "annotate": Meaning("110100", "E", LifeCycle.DERIVATION, "merge"),
    "dataset": Meaning("110100", "E", LifeCycle.DERIVATION, "link"),
    "train": Meaning("110100", "E", LifeCycle.DERIVATION, "transform"),
    "assess": Meaning("110100", "E", LifeCycle.VERIFICATION, "verify"),
    "optimize": Meaning("110100", "E", LifeCycle.TRANSLATION, "transform"),
    "package": Meaning("110100", "E", LifeCycle.ORIGINATION, "originate"),
}
KINDS = {
    "key.enrolled": Meaning("110113", "C", LifeCycle.ORIGINATION, "amend", "110137"),
    "key.retired": Meaning("110113", "U", LifeCycle.LOGICAL_DELETION, "amend", "110137"),
    "key.revoked": Meaning("110113", "D", LifeCycle.LOGICAL_DELETION, "amend", "110137"),
    "signature": Meaning("110100", "E", LifeCycle.VERIFICATION, "attest"),
    "released": Meaning("110106", "E", LifeCycle.ARCHIVING, "archive"),
    "deprecated": Meaning("110100", "U", LifeCycle.LOGICAL_DELETION, "deprecate"),
    "withdrawn": Meaning("110100", "D", LifeCycle.LOGICAL_DELETION, "deprecate"),
    "legal_hold": Meaning("110100", "U", LifeCycle.ARCHIVING, "hold"),
    "reproduced": Meaning("110100", "E", LifeCycle.VERIFICATION, "verify"),
    "reused": Meaning("110100", "R", LifeCycle.ACCESS, "access"),
    "clock.back": Meaning("110113", "E", LifeCycle.ACCESS, "amend"),
}
_STAGE = Meaning("110100", "E", LifeCycle.DERIVATION, "transform")
_EVENT = Meaning("110100", "E", LifeCycle.ACCESS, "access")
_LIFTED = Meaning("110100", "U", LifeCycle.ARCHIVING, "unhold")


def meaning(entry: Entry) -> Meaning:
    """The row of a record; a stage or kind without one is an application's activity."""
    record = entry.record
    if record.stage is not None:
        return STAGES.get(record.stage, _STAGE)
    if record.kind == "legal_hold" and not record.details.get("on"):
        return _LIFTED
    return KINDS.get(record.kind or "", _EVENT)


def own_code(entry: Entry) -> tuple[str, str]:
    """Code and meaning in Kette's own scheme."""
    record = entry.record
    if record.stage is not None:
        return f"stage.{record.stage}", f"Stage {record.stage}"
    return str(record.kind), f"Event {record.kind}"


def outcome(entry: Entry) -> tuple[str, str]:
    """Event outcome indicator, and in words what a gate refused."""
    gate = entry.record.gate
    if gate is None or verdict(gate) != "refused":
        return SUCCESS, ""
    refused = [check for check in gate["checks"] if check["verdict"] == "refused"]
    told = [f"{c.get('rule')}: {c.get('figure')}, limit {c.get('limit')}" for c in refused]
    return SERIOUS, "; ".join(told)


def objects(entry: Entry) -> list[tuple[str, str, bool]]:
    """Label, SHA-256 and whether it was made here, of what a record is about.

    Of a stage's run these are the trees it used and the one it made: a tree's digest covers its
    files. Sources from outside and the lock are counted by `sources` and stand in the ledger.
    """
    record = entry.record
    if record.stage is None:
        return [(label, sha, False) for label, sha in record.subjects]
    used = [
        (label, sha, False)
        for label, sha in sorted(record.inputs.items())
        if label != "lock" and not label.startswith("source/")
    ]
    return [*used, (*record.subjects[0], True)]


def sources(entry: Entry) -> int:
    """Files from outside that a stage's run took in."""
    return sum(label.startswith("source/") for label in entry.record.inputs)


def patient(entry: Entry) -> str | None:
    """The pseudonym, where a record is about one subject."""
    record = entry.record
    return record.unit or None if record.stage in {"ingest", "annotate"} else None


def person(entry: Entry) -> bool:
    """Whether a person signed, rather than the pipeline."""
    return entry.record.kind == "signature"


def signer(entry: Entry) -> str:
    """The name of who signed: the person of a signature, else the key's holder."""
    if person(entry):
        return str(entry.record.details.get("signer", ""))
    return entry.holder
