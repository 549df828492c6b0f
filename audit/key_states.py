"""What a ledger says of each key: who holds it, what it may sign, since when and until when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from securesystemslib.signer import Key

from audit.errors import WrongUse
from audit.key_events import ENROLLED, RETIRED, REVOKED, enrolment
from audit.record import Record

SHORTEST_PREFIX = 8
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

    @property
    def active(self) -> bool:
        return self.state == "active"


def key_states(records: Iterable[tuple[int, dict[str, Any]]]) -> dict[str, KeyState]:
    """Key id → state, in order of enrolment.

    Args:
        records: index and statement of each record, such as `Ledger.records()`. Whether their
            signers were allowed to is not decided here: `Ledger.verify` does that.

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


def named(states: Mapping[str, KeyState], keyid: str) -> KeyState:
    """The key whose id begins so.

    Raises:
        WrongUse: if no key's does, or several, or too few digits are given.
    """
    found = [state for state in states.values() if state.keyid.startswith(keyid)]
    if len(keyid) < SHORTEST_PREFIX or len(found) != 1:
        raise WrongUse(
            "The key's id names no key of this ledger.",
            f"Take it from `kette keys list`: at least its first {SHORTEST_PREFIX} digits.",
        )
    return found[0]


def keeps_custodian(states: Mapping[str, KeyState], *, without: str) -> bool:
    """Whether another key than this one may still enroll and end keys."""
    return any(
        state.active and "custodian" in state.roles and state.keyid != without
        for state in states.values()
    )
