"""What a ledger says of each key, to be shown: holder, roles, since when, until when and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from securesystemslib.signer import Key

from audit.key_events import ENROLLED, RETIRED, REVOKED, enrolment
from audit.record import Record

_ENDS = {RETIRED: "retired", REVOKED: "revoked"}


@dataclass(frozen=True)
class KeyState:
    """One key, as the records so far leave it."""

    key: Key
    holder: str
    roles: tuple[str, ...]
    since: int
    """Index of the record that enrolled it."""
    state: str = "active"
    """`active`, `retired` or `revoked`."""
    until: int | None = None
    """Index of the record that ended it."""
    reason: str | None = None

    @property
    def keyid(self) -> str:
        return self.key.keyid


def key_states(records: Iterable[tuple[int, dict[str, Any]]]) -> dict[str, KeyState]:
    """Key id → state, in order of enrolment.

    Args:
        records: index and statement of each record, or of the key events alone. What they may do
            is not decided here, but in `audit.keyring`.

    Raises:
        Refused: for an enrolment that is not as it must be.
    """
    states: dict[str, KeyState] = {}
    for index, statement in records:
        record = Record(index, statement)
        if record.kind == ENROLLED:
            found = enrolment(record.details)
            states[found.key.keyid] = KeyState(found.key, found.holder, found.roles, since=index)
        elif record.kind in _ENDS and record.details.get("keyid") in states:
            keyid = record.details["keyid"]
            states[keyid] = replace(
                states[keyid],
                state=_ENDS[record.kind],
                until=index,
                reason=str(record.details.get("reason", "")),
            )
    return states
