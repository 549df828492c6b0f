"""Where a ledger ends, as its next writer needs it: read from its tail, and kept while it stands.

Rules:

- END-1  Neither a batch nor the ledger is read whole: the last record names its index, its time and
         the newest key event, and each key event names the one before it.
- END-2  What was read is kept only while the last batch is the same file and no batch follows it.
- END-3  The last record and every key event are verified; whose word they are is not decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

from securesystemslib.signer import Key

from audit import layout
from audit.admission import Admission
from audit.bad import Bad
from audit.checkpoint import Checkpoint, open_checkpoint
from audit.envelope import keyid_of, read_statement
from audit.errors import Refused
from audit.keyring import Keyring, key_chain
from audit.place import place_of

_REMEDY = "Run `kette audit verify`, then restore the ledger from its mirror or a backup."
Identity = tuple[int, int, int, int]


class End:
    """The end of the ledger in a folder. Its methods are called under the ledger's lock."""

    def __init__(self, folder: Path, origin: str) -> None:
        self._folder = folder
        self._origin = origin
        self._reached: Admission | None = None
        self._last: tuple[int, Identity] | None = None
        """First index and identity of the last batch."""
        self._note: tuple[bytes, Checkpoint] | None = None

    def reached(self) -> Admission:
        """The state behind the last record.

        Raises:
            Refused: if the last record or a key event does not hold.
        """
        if self._reached is None or not self._stands(self._reached.size):
            first = layout.newest_batch(self._folder)
            if first is None:
                return Admission(self._origin, Keyring({}))
            raw = layout.last_of_batch(self._folder, first)
            reached = _behind(self._folder, self._origin, raw, self._keyring(raw))
            if reached.size <= first:
                raise Refused(f"The batch of record {first} holds other records.", _REMEDY)
            self.moved(reached, first)
            return reached
        return self._reached

    def moved(self, reached: Admission, first: int) -> None:
        """Keep a state whose last batch begins with record `first`."""
        self._reached = reached
        self._last = first, _identity(layout.batch_path(self._folder, first))

    def forget(self) -> None:
        """Read the end anew the next time."""
        self._reached = None

    def checkpoint(self, note: bytes, own: Key) -> Checkpoint:
        """The newest checkpoint, verified to be this ledger's.

        Args:
            note: as it stands in the folder.
            own: the writer's key, which must have signed a checkpoint over no record.

        Raises:
            Refused: if it does not hold, or records below it are missing.
        """
        reached = self.reached()
        if self._note is None or self._note[0] != note:
            keys = reached.keyring.keys or {own.keyid: own}
            checkpoint = open_checkpoint(note, self._origin, keys)
            open_checkpoint(note, self._origin, reached.keyring.in_force(checkpoint.size) or keys)
            self._note = note, checkpoint
        checkpoint = self._note[1]
        if checkpoint.size > reached.size:
            raise Refused(
                f"Record {reached.size} is missing: the checkpoint covers {checkpoint.size}.",
                _REMEDY,
            )
        return checkpoint

    def _keyring(self, raw: bytes) -> Keyring:
        """The keyring kept, if no key event came since; else an empty one."""
        if self._reached is not None:
            kept = self._reached.keyring
            if place_of(read_statement(raw)).key_record == kept.newest:
                return kept
        return Keyring({})

    def _stands(self, size: int) -> bool:
        if self._last is None or layout.batch_path(self._folder, size).exists():
            return False
        first, identity = self._last
        try:
            return _identity(layout.batch_path(self._folder, first)) == identity
        except FileNotFoundError:
            return False


def state_at(
    folder: Path, origin: str, size: int, anchors: Mapping[str, Key] = MappingProxyType({})
) -> Admission:
    """The state behind the first `size` records.

    Args:
        folder: the ledger.
        origin: the ledger's.
        size: how many records.
        anchors: as for `Keyring`.

    Raises:
        Refused: if the record before it or a key event does not hold.
    """
    if size == 0:
        return Admission(origin, Keyring(anchors))
    raw = layout.read_envelope(folder, size - 1)
    state = _behind(folder, origin, raw, Keyring(anchors))
    if state.size != size:
        raise Refused(f"Record {state.size - 1} stands in the place of {size - 1}.", _REMEDY)
    return state


def _behind(folder: Path, origin: str, raw: bytes, keyring: Keyring) -> Admission:
    """The state behind one record, its envelope verified.

    Args:
        folder: the ledger.
        origin: the ledger's.
        raw: the record's envelope.
        keyring: empty, or as it was behind the newest key event before the record.
    """
    place = place_of(read_statement(raw))
    if place.origin != origin:
        raise Refused("The last record was signed for another ledger.", _REMEDY)
    if not 0 <= place.index < layout.RECORDS:
        raise Refused("The last record names no place in a ledger.", _REMEDY)
    if keyring.newest is None:
        chain = key_chain(partial(layout.read_envelope, folder), place)
        for index, event in reversed(list(chain)):
            _admit(keyring, index, event)
    _admit(keyring, place.index, raw)
    return Admission(origin, keyring, place.index + 1, place.at)


def _admit(keyring: Keyring, index: int, raw: bytes) -> None:
    try:
        keyring.admit(index, keyid_of(raw), keyring.open(raw))
    except Refused as error:
        raise Bad(f"record {index}", error.what) from error


def _identity(path: Path) -> Identity:
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
