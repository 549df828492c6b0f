"""Which key may sign what, as the ledger's own key events say: decisions alone, no files.

Rules:

- RNG-1  Record 0 enrolls the key that signs it, as a custodian. No other record stands outside the
         keys that the records before it enrolled.
- RNG-2  A key signs in its roles: key events as custodian; a person's signature in the role that it
         names; `released`, `deprecated` and `withdrawn` as releaser; all else as pipeline.
         `clock.back` may be said by any key.
- RNG-3  A retired or revoked key signs no record after the one that ended it, and never comes back.
- RNG-4  A key cannot be ended if no custodian were left: nobody could enroll another.
- RNG-5  Each record names the newest key event before it, so that none can be left out.
- RNG-6  A checkpoint is signed by a key in force at its size. The whole is trusted if the key of
         record 0 or the checkpoint's is one of the verifier's (an anchor).

    keyring = Keyring(anchors)
    for index, raw in envelopes:
        statement = keyring.open(raw)
        keyring.admit(index, keyid_of(raw), statement)
    open_checkpoint(note, origin, keyring.checkpoint_keys(size))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from securesystemslib.signer import Key

from audit.clock import CLOCK_BACK
from audit.envelope import open_envelope, read_statement
from audit.errors import Refused
from audit.key_events import (
    ENROLLED,
    KEY_EVENTS,
    MEANINGS,
    REVOKED,
    SIGNATURE,
    Enrolment,
    enrolment,
)
from audit.place import Place, kind_of, place_of

Json = dict[str, Any]

_RELEASER = frozenset({"released", "deprecated", "withdrawn"})
_REMEDY = "Sign with a key that the ledger enrolled for it (`kette keys`), or ask its custodian."


@dataclass(frozen=True)
class Member:
    """A key that a ledger enrolled."""

    key: Key
    roles: frozenset[str]
    holder: str
    since: int
    """Index of the record that enrolled it."""
    until: int | None = None
    """Index of the record that ended it."""
    revoked: bool = False

    def in_force(self, size: int) -> bool:
        """Whether it may sign after the first `size` records."""
        return self.since < size and (self.until is None or self.until >= size)


class Keyring:
    """The keys of one ledger, as far as its records were admitted.

    Args:
        anchors: key id → key that the verifier trusts by himself.
    """

    def __init__(self, anchors: Mapping[str, Key]) -> None:
        self._anchors = anchors
        self._members: dict[str, Member] = {}
        self._keys: dict[str, Key] = {}
        self.events: list[int] = []
        """Indexes of the key events, in order."""

    @property
    def keys(self) -> Mapping[str, Key]:
        """All keys that were ever enrolled."""
        return MappingProxyType(self._keys)

    @property
    def members(self) -> Mapping[str, Member]:
        """Key id → who it is, in the order of enrolment."""
        return MappingProxyType(self._members)

    @property
    def newest(self) -> int | None:
        """Index of the newest key event."""
        return self.events[-1] if self.events else None

    def open(self, raw: bytes) -> Json:
        """Verify the next record's envelope; whether its key may sign it here, `admit` decides.

        Raises:
            Refused: if it does not hold, or its key was not enrolled before it.
        """
        keys = self._keys
        if not keys:
            first = _enrolment(read_statement(raw))
            keys = {first.key.keyid: first.key}
        return open_envelope(raw, keys)

    def admit(self, index: int, keyid: str, statement: Json) -> None:
        """Check that a key may sign a statement here, and apply it if it is a key event.

        Raises:
            Refused: if it may not; then the keyring is as it was.
        """
        kind = kind_of(statement)
        # 1. The key is in force (RNG-1, RNG-3).
        if not self._members:
            first = _enrolment(statement)
            if index != 0 or first.key.keyid != keyid or "custodian" not in first.roles:
                raise Refused("Record 0 does not enroll its own key as custodian.", _REMEDY)
        elif (member := self._members.get(keyid)) is None:
            raise Refused("Its key was not enrolled before it.", _REMEDY)
        elif member.until is not None:
            word = "revoked" if member.revoked else "retired"
            raise Refused(f"Its key was {word} by record {member.until}.", _REMEDY)
        # 2. It has the role (RNG-2).
        elif kind != CLOCK_BACK and (role := _role(kind, statement)) not in member.roles:
            raise Refused(f"Its key has not the role {role}.", _REMEDY)
        # 3. The statement knows of every key event before it (RNG-5).
        if place_of(statement).key_record != self.newest:
            raise Refused("It does not name the newest key event before it.", _REMEDY)
        # 4. A key event changes who may sign from the next record on.
        if kind in KEY_EVENTS:
            self._apply(index, str(kind), statement)
            self.events.append(index)

    def in_force(self, size: int) -> dict[str, Key]:
        """The keys that may sign after the first `size` records.

        Over no record, it is the key of record 0.
        """
        size = max(size, 1)
        return {i: member.key for i, member in self._members.items() if member.in_force(size)}

    def checkpoint_keys(self, size: int) -> dict[str, Key]:
        """The keys whose checkpoint over the first `size` records makes the whole trusted (RNG-6).

        Without any record, they are the anchors.
        """
        if not self._members:
            return dict(self._anchors)
        keys = self.in_force(size)
        if next(iter(self._members)) in self._anchors:
            return keys
        return {keyid: key for keyid, key in keys.items() if keyid in self._anchors}

    def _apply(self, index: int, kind: str, statement: Json) -> None:
        if kind == ENROLLED:
            new = _enrolment(statement)
            if new.key.keyid in self._members:
                raise Refused("The key was enrolled before.", "Enroll a new key instead.")
            roles = frozenset(new.roles)
            self._members[new.key.keyid] = Member(new.key, roles, new.holder, since=index)
            self._keys[new.key.keyid] = new.key
            return
        keyid, revoked = _details(statement).get("keyid"), kind == REVOKED
        member = self._members.get(keyid) if isinstance(keyid, str) else None
        if member is None or (member.until is not None and (member.revoked or not revoked)):
            raise Refused("The key to be ended is not in force.", "Name a key that is.")
        until = index if member.until is None else member.until
        ended = replace(member, until=until, revoked=revoked)
        others = (m for i, m in self._members.items() if i != keyid and m.until is None)
        if not any("custodian" in other.roles for other in others):
            raise Refused("No custodian would be left.", "Enroll another custodian first.")
        self._members[str(keyid)] = ended


def key_chain(read: Callable[[int], bytes], place: Place) -> Iterator[tuple[int, bytes]]:
    """Index and envelope of the key events before a record, the newest first.

    They are found along `key_record`; nothing is verified here.

    Args:
        read: gives the envelope of an index.
        place: the record's.

    Raises:
        Refused: if an envelope cannot be read, or names no earlier record.
    """
    while place.key_record is not None:
        if not 0 <= place.key_record < place.index:
            raise Refused("A record names no earlier key event.", _REMEDY)
        raw = read(place.key_record)
        yield place.key_record, raw
        place = replace(place_of(read_statement(raw)), index=place.key_record)


def _role(kind: str | None, statement: Json) -> str:
    if kind in KEY_EVENTS:
        return "custodian"
    if kind == SIGNATURE:
        role = _details(statement).get("role")
        return str(role) if role in MEANINGS.values() else "of any signature"
    return "releaser" if kind in _RELEASER else "pipeline"


def _details(statement: Json) -> Json:
    details = statement["predicate"].get("details")
    return details if isinstance(details, dict) else {}


def _enrolment(statement: Json) -> Enrolment:
    if kind_of(statement) != ENROLLED:
        raise Refused("Record 0 does not enroll a key.", _REMEDY)
    return enrolment(_details(statement))
