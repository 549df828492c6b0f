"""One record after another: what each must keep, whoever reads or writes it.

Rules:

- ADM-1  A record is signed for the place where it stands: this ledger's origin, the next index.
- ADM-2  Its key may sign it there (`audit.keyring`).
- ADM-3  Its time is not before the last record's, unless it is the `clock.back` that says so.
"""

from __future__ import annotations

from typing import Any

from audit.clock import CLOCK_BACK
from audit.envelope import keyid_of
from audit.errors import Refused
from audit.keyring import Keyring
from audit.place import Place, kind_of, place_of, placed

Json = dict[str, Any]

_REMEDY = "Compare the ledger with its mirror or a backup; the records before it still hold."


class Admission:
    """Where a ledger stands after the records admitted so far.

    Args:
        origin: the ledger's.
        keyring: as it is before the next record.
        size: records before it.
        at: time of the last of them; empty before the first.
    """

    def __init__(self, origin: str, keyring: Keyring, size: int = 0, at: str = "") -> None:
        self.origin = origin
        self.keyring = keyring
        self.size = size
        self.at = at

    def place(self, statement: Json, keyid: str, at: str) -> Json:
        """The next record's statement with its place; moves behind it.

        Args:
            statement: what the record says.
            keyid: the key that will sign it.
            at: the writer's clock.

        Raises:
            Refused: if the key may not sign it here; then all is as it was.
        """
        place = Place(self.origin, self.size, at, self.keyring.newest)
        statement = placed(statement, place)
        self._admit(statement, keyid, place)
        return statement

    def admit(self, raw: bytes) -> None:
        """Verify the next record as it was read; moves behind it.

        Raises:
            Refused: if it does not keep a rule; then all is as it was.
        """
        statement = self.keyring.open(raw)
        self._admit(statement, keyid_of(raw), place_of(statement))

    def _admit(self, statement: Json, keyid: str, place: Place) -> None:
        if place.origin != self.origin:
            raise Refused("The record was signed for another ledger.", _REMEDY)
        if place.index != self.size:
            raise Refused(f"Record {place.index} stands in its place.", _REMEDY)
        if place.at < self.at and kind_of(statement) != CLOCK_BACK:
            raise Refused("Its time is before the last record's, and no record says why.", _REMEDY)
        self.keyring.admit(self.size, keyid, statement)
        self.at = place.at
        self.size += 1
