"""Enrolling and ending keys, each by a record that a custodian's key signs.

Replacing this machine's key is `flows/rotation.py`.

Rules:

- ROT-2  Killed at any point, the same command goes on where it stopped: it makes no second key and
         no second record.
- ROT-3  A ledger always keeps an active key with the role `custodian`.
- ROT-4  A key of this machine is ended by replacing it: what is signed here is signed by an active
         key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from securesystemslib.signer import Key, Signer

from audit.envelope import read_statement
from audit.errors import WrongUse
from audit.key_events import ROLES, enrolled, possess, retired, revoked
from audit.key_states import key_states
from audit.keyring import Member
from audit.ledger import Ledger
from audit.public_keys import load_public
from audit.signers import signer_at
from audit.slots import SIGNER, Slot, empty, fill, install, slot_of
from flows.ledger import cover, record, signer_for
from stages.project import Machine, Place

Json = dict[str, Any]

SHORTEST_PREFIX = 8
"""Digits that name a key at least."""


@dataclass(frozen=True)
class Desk:
    """A project's ledger and keys, opened for a custodian's work."""

    ledger: Ledger
    place: Place
    machine: Machine
    custodian_uri: str | None = None
    """Where the custodian's key lies; null: this machine's key of that role."""

    def members(self) -> Mapping[str, Member]:
        """Key id → what the ledger says of the key."""
        return self.ledger.keyring().members

    def custodian(self) -> Signer:
        """The custodian's signer.

        Raises:
            WrongUse, Refused, Fault: as `audit.signers.signer_at`; WrongUse if the key is no
                active custodian's in the ledger.
        """
        slot, members = slot_of(self.place.keys, "custodian"), self.members()
        if not members:
            return self._first()
        if self.custodian_uri is not None:
            signer = signer_at(self.custodian_uri)
        elif slot.complete or (slot.public.exists() and self.machine.signer is not None):
            signer = fill(slot, self.machine.signer if slot.name == SIGNER else None)
        else:
            raise _no_custodian()
        member = members.get(signer.public_key.keyid)
        if member is None or member.until is not None or "custodian" not in member.roles:
            raise _no_custodian()
        return signer

    def _first(self) -> Signer:
        """The machine's key, enrolled with all roles by the ledger's first record."""
        signer = signer_for(self.place, self.machine, "custodian")
        first = enrolled(signer.public_key, ROLES, self.ledger.origin, datetime.now(UTC))
        record(self.ledger, signer, first)
        return signer


def listed(desk: Desk) -> list[Json]:
    """One row a key, in order of enrolment."""
    here = {load_public(path).keyid: path.stem for path in sorted(desk.place.keys.glob("*.pub"))}
    events = desk.ledger.envelopes(desk.ledger.keyring().events)
    states = key_states((index, read_statement(raw)) for index, raw in events)
    return [
        {
            "keyid": keyid,
            "keytype": state.key.keytype,
            "holder": state.holder,
            "roles": list(state.roles),
            "state": state.state,
            "since": state.since,
            "until": state.until,
            "reason": state.reason,
            "here": here.get(keyid),
        }
        for keyid, state in states.items()
    ]


def enroll(
    desk: Desk, roles: Sequence[str], holder: str, *, public: Path | None, uri: str | None
) -> tuple[int, str]:
    """Let a further key sign.

    Args:
        desk: ledger and keys.
        roles: what it may sign.
        holder: printed name of the person, or name of the machine, that has it.
        public: its public key (PEM). Alone: another's key, for which the custodian vouches.
        uri: where this machine finds the private key. Without both, a new key is made here, for
            one role.

    Returns:
        Index of the record, and the key's id.

    Raises:
        WrongUse: for roles that are none, or already have a key on this machine.
    """
    check_roles(roles)
    desk.custodian()  # before a key is made that nobody can enroll
    given = load_public(public) if public is not None else None
    if given is not None and uri is None:
        done = enroll_key(desk, given, roles, holder, possession=None)
        cover(desk.ledger, desk.place, desk.machine)
        return done
    if uri is None and len(roles) != 1:
        raise WrongUse(
            "A key made here is for one role.", "Name one role, or where a key lies with `--key`."
        )
    signer, *_ = [install(Slot(desk.place.keys, role), uri, given) for role in roles]
    proof = possess(signer, roles, holder)
    done = enroll_key(desk, signer.public_key, roles, holder, possession=proof)
    cover(desk.ledger, desk.place, desk.machine)
    return done


def end(desk: Desk, keyid: str, reason: str, *, compromised: bool) -> tuple[int, str]:
    """Retire a key, or revoke a compromised one.

    Args:
        desk: ledger and keys.
        keyid: its id, or the first digits of it.
        reason: why, for the record.
        compromised: revoke it.

    Returns:
        Index of the record, and the key's id.

    Raises:
        WrongUse: if it has ended already, is this machine's key (ROT-4) or the last custodian's
            (ROT-3).
    """
    members = desk.members()
    member = named(members, keyid)
    slots = [
        Slot(path.parent, path.stem)
        for path in sorted(desk.place.keys.glob("*.pub"))
        if load_public(path) == member.key
    ]
    if any(slot.name == SIGNER for slot in slots):
        raise WrongUse(
            "This is the key that this machine signs with.",
            "Replace it: `kette keys rotate`, with `--compromised` if others may have it.",
        )
    if member.until is None or (compromised and not member.revoked):
        check_custodian(members, without=member)
        index = end_key(desk, member.key.keyid, reason, compromised=compromised)
        cover(desk.ledger, desk.place, desk.machine)
    elif slots:
        index = member.until  # the same command again: only the key here is left
    else:
        raise has_ended()
    for slot in slots:
        empty(slot)
    return index, member.key.keyid


def enroll_key(
    desk: Desk, key: Key, roles: Sequence[str], holder: str, *, possession: str | None
) -> tuple[int, str]:
    """Record a key's enrolment, unless it is recorded; gives its index and the key's id.

    Raises:
        WrongUse: if the key was enrolled otherwise, or has ended.
    """
    known = desk.members().get(key.keyid)
    if known is not None:
        same = known.roles == set(roles) and known.holder == holder.strip()
        if known.until is None and same:
            return known.since, key.keyid  # the same command again
        raise WrongUse(
            "This key is in the ledger already, with other roles, another holder, or ended.",
            "Make a new key: one key has one holder and one set of roles.",
        )
    custodian = desk.custodian()
    event = enrolled(key, roles, holder, datetime.now(UTC), possession=possession)
    return record(desk.ledger, custodian, event), key.keyid


def end_key(desk: Desk, keyid: str, reason: str, *, compromised: bool) -> int:
    """Record the end of a key; gives the record's index."""
    kind: Callable[[str, str, datetime], Json] = revoked if compromised else retired
    custodian = desk.custodian()
    return record(desk.ledger, custodian, kind(keyid, reason, datetime.now(UTC)))


def named(members: Mapping[str, Member], keyid: str) -> Member:
    """The key whose id begins so."""
    found = [member for name, member in members.items() if name.startswith(keyid)]
    if len(keyid) < SHORTEST_PREFIX or len(found) != 1:
        raise WrongUse(
            "The key's id names no key of this ledger.",
            f"Take it from `kette keys list`: at least its first {SHORTEST_PREFIX} digits.",
        )
    return found[0]


def check_roles(roles: Sequence[str]) -> None:
    """Refuse no role, and unknown ones."""
    if not roles or set(roles) - set(ROLES):
        raise WrongUse("A key needs roles.", f"Name one or more of: {', '.join(ROLES)}.")


def has_ended() -> WrongUse:
    """What is said of a key that is to be ended again."""
    return WrongUse("This key has ended already.", "See `kette keys list`, and name an active one.")


def _no_custodian() -> WrongUse:
    return WrongUse(
        "Enrolling, replacing and ending keys needs a custodian's key.",
        "Name the one that is kept elsewhere with `--custodian URI`.",
    )


def check_custodian(members: Mapping[str, Member], *, without: Member) -> None:
    """Refuse to end the last key with the role `custodian` (ROT-3)."""
    others = (member for member in members.values() if member is not without)
    if not any(other.until is None and "custodian" in other.roles for other in others):
        raise WrongUse(
            "No custodian's key would be left, and none could be enrolled again.",
            "Enroll another key with the role `custodian` first.",
        )
