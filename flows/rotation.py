"""Replacing this machine's key by another one.

Rules:

- ROT-1  A replaced key's private half is removed only when the new key's enrolment and the old
         one's end are on the disk, below a checkpoint that the new key signed.
- ROT-2  Killed at any point, the same command goes on where it stopped: it makes no second key and
         no second record.
- ROT-5  A command that is refused leaves the old key in its place, and in use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from audit.errors import WrongUse
from audit.key_events import possess
from audit.keyring import Member
from audit.public_keys import load_public
from audit.slots import SIGNER, Slot, forsake, install, slot_of, take_place
from flows.keys import (
    Desk,
    check_custodian,
    check_roles,
    end_key,
    enroll_key,
    has_ended,
    named,
)
from flows.ledger import cover


def rotate(
    desk: Desk,
    role: str,
    reason: str,
    *,
    uri: str | None = None,
    public: Path | None = None,
    roles: Sequence[str] | None = None,
    replaces: str | None = None,
    compromised: bool = False,
) -> tuple[int, str, str]:
    """Put a new key in the place of this machine's key (ROT-1, ROT-2).

    Args:
        desk: ledger and keys.
        role: the role whose key on this machine is replaced.
        reason: why, for the record.
        uri: where the new key lies; default: a new file.
        public: its public key (PEM), where the URI's scheme does not tell it.
        roles: the new key's roles; default: the old one's.
        replaces: the old key's id, where it is no more on this machine: a lost key.
        compromised: the old key is revoked, not retired.

    Returns:
        Index of the enrolment, and the ids of the old and the new key.

    Raises:
        WrongUse: if the old key is not an active one of the ledger, the new one is the old one, or
            no custodian's key would be left (ROT-3).
    """
    slot, members = slot_of(desk.place.keys, role), desk.members()
    old = _replaced(slot, members, replaces)
    roles = tuple(roles or old.roles)
    _check_replacing(slot, roles, members, old)
    # 1. Make the new key, beside the old one; a key that is there already is taken.
    if not slot.next.public.exists():
        desk.custodian()  # before a key is made that nobody can enroll
    if slot.next.complete or not slot.next.public.exists():
        given = load_public(public) if public is not None else None
        new = install(slot.next, uri, given)
        if new.public_key == old.key:
            forsake(slot.next)
            raise WrongUse("The new key is the old one.", "Name a place where another key is.")
        # 2. Record it, then the old one's end; what is recorded already is not recorded again.
        proof = possess(new, roles, old.holder)
        try:
            enroll_key(desk, new.public_key, roles, old.holder, possession=proof)
        except WrongUse:
            forsake(slot.next)
            raise
        if old.until is None:
            end_key(desk, old.key.keyid, reason, compromised=compromised)
        # 3. Sign a checkpoint over both: with the new key, if it is the one that does (ROT-1).
        if slot.name == SIGNER:
            desk.ledger.checkpoint(new)
        else:
            cover(desk.ledger, desk.place, desk.machine)
    # 4. Only now the old private key goes.
    key = load_public(slot.next.public)
    take_place(slot)
    return desk.members()[key.keyid].since, old.key.keyid, key.keyid


def _replaced(slot: Slot, members: Mapping[str, Member], keyid: str | None) -> Member:
    """The key that a slot's next one takes the place of."""
    if keyid is None:
        here = load_public(slot.public).keyid if slot.public.exists() else None
        if here is None or here not in members:
            raise WrongUse(
                "This machine's key is not in the ledger.",
                "Name the key that is replaced with `--replaces KEYID` (see `kette keys list`).",
            )
        member = members[here]
    else:
        member = named(members, keyid)
    if member.until is not None and not slot.next.public.exists():
        raise has_ended()
    return member


def _check_replacing(
    slot: Slot, roles: Sequence[str], members: Mapping[str, Member], old: Member
) -> None:
    check_roles(roles)
    if slot.name == SIGNER and "pipeline" not in roles:
        raise WrongUse(
            "This machine's own key signs its runs: it needs the role `pipeline`.",
            "Name `pipeline` among the roles.",
        )
    if "custodian" not in roles:
        check_custodian(members, without=old)
