"""The ledger as rows: what `kette audit show` shows, and the CSV holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from audit.key_events import ENROLLED, RETIRED, REVOKED, SIGNATURE
from audit.ledger import Ledger
from audit.reading import ALL, Entry, Selection, entries

Json = dict[str, Any]

COLUMNS = (
    "index", "time", "stage", "unit", "event", "status", "gate", "signer", "role", "meaning",
    "text", "keyid", "key", "commit", "subjects",
)  # fmt: skip


def _key(details: Json) -> str:
    return f"key {str(details.get('keyid'))[:12]}: {details.get('reason', '')}"


def _enrolled(details: Json) -> str:
    roles = ", ".join(details.get("roles", ()))
    return f"key {str(details.get('keyid'))[:12]} of {details.get('holder')}: {roles}"


def _released(details: Json) -> str:
    kept = details.get("retention") or {}
    until = f", kept until {kept['until']}" if kept.get("until") else ""
    return f"{details.get('version')} as {details.get('tag')}{until}"


def _hold(details: Json) -> str:
    state = "on" if details.get("on") else "lifted"
    return f"{details.get('version')}: legal hold {state}: {details.get('reason')}"


def _version(details: Json) -> str:
    return f"{details.get('version')}: {details.get('reason')}"


def _reproduced(details: Json) -> str:
    first = details.get("first_difference")
    found = f"{details.get('version')}: {details.get('level') or 'not reproduced'}"
    return f"{found}, first difference: {first}" if first else found


def _reused(details: Json) -> str:
    return f"{len(details.get('keys', ()))} trees of {details.get('stage')}"


_TOLD: dict[str, Callable[[Json], str]] = {
    ENROLLED: _enrolled,
    RETIRED: _key,
    REVOKED: _key,
    SIGNATURE: lambda details: str(details.get("comment", "")),
    "released": _released,
    "deprecated": _version,
    "withdrawn": _version,
    "legal_hold": _hold,
    "reproduced": _reproduced,
    "reused": _reused,
    "cited": _reused,
    "finding.raised": lambda details: f"{details.get('rule')}: {details.get('what')}",
    "clock.back": lambda details: f"from {details.get('was')} to {details.get('now')}",
}
"""Kind of event → what its details say in a line."""


def rows(ledger: Ledger, selection: Selection = ALL) -> list[Json]:
    """One row a record, in order of index; signatures are not verified here."""
    return [row(entry) for entry in entries(ledger, selection)]


def row(entry: Entry) -> Json:
    """A record with the names of `COLUMNS`; for a person's signature the signer is the person."""
    record, details = entry.record, entry.record.details
    by_person = record.kind == SIGNATURE
    return {
        "index": record.index,
        "time": record.time,
        "stage": record.stage,
        "unit": record.unit,
        "event": record.kind,
        "status": record.status,
        "gate": verdict(record.gate) if record.gate else None,
        "signer": str(details.get("signer")) if by_person else entry.holder,
        "role": details.get("role") if by_person else None,
        "meaning": details.get("meaning") if by_person else None,
        "text": told(entry),
        "keyid": entry.keyid,
        "key": record.key,
        "commit": record.commit,
        "subjects": len(record.subjects),
    }


def told(entry: Entry) -> str:
    """What an event says in a line; empty for a stage's run."""
    tell = _TOLD.get(entry.record.kind or "")
    return tell(entry.record.details) if tell else ""


def verdict(gate: Json) -> str:
    """The worst verdict of a gate's checks."""
    found = {check["verdict"] for check in gate["checks"]}
    return next((word for word in ("refused", "passed with findings") if word in found), "passed")
