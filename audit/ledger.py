"""The ledger: an append-only log of signed statements, covered by signed checkpoints.

Rules:

- LED-1  A record is whole or absent, and on the disk before its index is given back.
- LED-2  Indexes have no gap and no duplicate, however many processes append. Each signed statement
         names its own place (`kette_ledger`): origin, index, the writer's clock and the newest key
         event.
- LED-3  A ledger has a checkpoint from its first moment. One that lost it, or the last records
         below it, takes no record; one whose tiles are not the checkpoint's takes no other one.
- LED-4  A ledger has one origin. Its record 0 enrolls its first key: in all roles, unless the first
         statement is an enrolment. A key signs only what the key events before it allow
         (`audit.keyring`).
- LED-5  A writer killed at any point leaves a ledger that verifies and takes the next record.
- LED-6  Where a writer's clock is behind the last record, a `clock.back` is appended first.
- LED-7  A checkpoint covers only records that were verified, and is written behind its tiles.

    ledger = Ledger(home / "ledger", "kette/phantom")
    ledger.append(statement, signer)
    ledger.checkpoint(signer)
    ledger.verify(public_keys(home / "keys"))
"""

from __future__ import annotations

import contextlib
import shutil
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from securesystemslib.signer import Key, Signer

from audit import clock, durable, layout
from audit.admission import Admission
from audit.bad import Bad
from audit.checkpoint import LIMIT_BYTES, Checkpoint, sign_checkpoint
from audit.end import End, state_at
from audit.envelope import open_envelope, read_statement, sign
from audit.errors import Refused
from audit.key_events import ENROLLED, ROLES, enrolled
from audit.keyring import Keyring
from audit.merkle import Tree, leaf_hash
from audit.place import kind_of
from audit.record import Record
from audit.statement import utc_text
from audit.tiles import Tiles, tiles_at
from audit.verification import Verification, verify

Json = dict[str, Any]

BATCH_RECORDS = 1000
_FEW = 16
"""Single records that are sought folder by folder; for more, all batches are listed once."""
_REMEDY = "Run `kette audit verify`, then restore the ledger from its mirror or a backup."


class Ledger:
    """One project's ledger, in a folder that nothing else writes to.

    Args:
        folder: created by the first append.
        origin: names the ledger in its checkpoints, such as `kette/<project>`.
    """

    def __init__(self, folder: Path, origin: str) -> None:
        self.folder = folder
        self.origin = origin
        self._end = End(folder, origin)
        self._by_key: dict[str, Record] = {}
        self._seen = 0

    def append(self, statements: Json | Sequence[Json], signer: Signer) -> range:
        """Sign and append; give the new records' indexes.

        A sequence is written in as few files as its size allows. If it fails in between, the
        records already written stay: each is whole.

        Raises:
            Refused: if the ledger is damaged, or the signer's key may not sign this (LED-3, LED-4).
            Fault: if the disk is full or fails.
        """
        if isinstance(statements, dict):
            statements = [statements]
        with durable.exclusive(self.folder / layout.LOCK):
            self._open(signer)
            end = self._end.reached()
            self._end.forget()  # until all is on the disk
            moment = clock.now()
            ahead = self._ahead(end, moment, signer, statements[0]) if statements else []
            first = end.size + len(ahead)
            self._append([*ahead, *statements], utc_text(moment), signer, end)
            return range(first, first + len(statements))

    def read(self, first: int = 0) -> Iterator[tuple[int, bytes]]:
        """Index and envelope of each record from `first` on, as they stand now.

        Raises:
            Refused: if a record is missing or a batch cut off.
        """
        with durable.shared(self.folder / layout.LOCK):
            starts = layout.batches(self.folder)
        ends = [*starts[1:], layout.RECORDS]
        wanted = [start for start, end in zip(starts, ends, strict=False) if end > first]
        expected = min(wanted[0], first) if wanted else 0
        for start in wanted:
            if start != expected:
                raise Refused(f"Record {expected} is missing or doubled.", _REMEDY)
            for index, raw in enumerate(layout.read_batch(self.folder, start), start):
                expected = index + 1
                if index >= first:
                    yield index, raw

    def envelopes(self, indexes: Iterable[int]) -> Iterator[tuple[int, bytes]]:
        """Index and envelope of single records, in rising order; each batch is read once.

        Raises:
            Refused: if a record is missing.
        """
        wanted = sorted(set(indexes))
        starts = layout.batches(self.folder) if len(wanted) > _FEW else None
        start, batch = 0, list[bytes]()
        for index in wanted:
            if not start <= index < start + len(batch):
                if starts is None:
                    first = layout.newest_batch(self.folder, index)
                else:
                    at = bisect_right(starts, index)
                    first = starts[at - 1] if at else None
                start, batch = first or 0, []
                if first is not None:
                    batch = layout.read_batch(self.folder, first)
            if index - start >= len(batch):
                raise Refused(f"Record {index} is missing.", _REMEDY)
            yield index, batch[index - start]

    def records(
        self, keys: Mapping[str, Key] | None = None, *, since: int = 0
    ) -> Iterator[tuple[int, Json]]:
        """Index and statement of each record, in order.

        Args:
            keys: key id → public key. Without keys, signatures are not verified: good for
                looking up, not for proof.
            since: the first index.

        Raises:
            Refused: for the first record that does not hold.
        """
        for index, raw in self.read(since):
            yield index, read_statement(raw) if keys is None else open_envelope(raw, keys)

    def by_key(self) -> Mapping[str, Record]:
        """Unit's key in the store → the newest record of its making, not of its reuse.

        Signatures are not verified here. Repeated calls read only what is new.
        """
        for index, raw in self.read(self._seen):
            record = Record(index, read_statement(raw))
            if record.key is not None and record.status != "reused":
                self._by_key[record.key] = record
            self._seen = index + 1
        return MappingProxyType(self._by_key)

    def keyring(self) -> Keyring:
        """The ledger's keys as they stand now, by its own word: whom to trust, `verify` decides.

        Raises:
            Refused: if the ledger's end or a key event does not hold.
        """
        with durable.shared(self.folder / layout.LOCK):
            return End(self.folder, self.origin).reached().keyring

    def checkpoint(self, signer: Signer) -> Checkpoint:
        """Sign the tree over all records as they stand now, and make it the newest checkpoint.

        Only records that the last checkpoint does not cover are read; the tree below them comes
        from the tiles.

        Raises:
            Refused: if the tiles are not the last checkpoint's, or a new record does not hold
                (LED-3, LED-7), or the signer's key is not in force.
        """
        with durable.exclusive(self.folder / layout.LOCK):
            last = self._open(signer)
            end = self._end.reached()
            if end.size == last.size:
                return last
            if signer.public_key.keyid not in end.keyring.in_force(end.size):
                raise Refused(
                    "The signer's key is not in force in this ledger.", "Sign with one that is."
                )
            growth = Tiles(self.folder, last.size).growth()
            if growth.tree.root() != last.root:
                raise Refused("The ledger's tiles are not those of its checkpoint.", _REMEDY)
            # 1. The tiles that the new records complete, and those that they begin.
            full = []
            for raw in self._verified(last.size, end.size):
                for tile, data in growth.append(leaf_hash(raw)):
                    self._write(self.folder / tile.path, data)
                    full.append(tile)
            there = set(tiles_at(last.size))
            for tile, data in growth.partial():
                if tile not in there:
                    self._write(self.folder / tile.path, data)
            # 2. The checkpoint over them; then the beginnings of full tiles may go.
            last = self._sign(growth.tree, signer)
            for tile in full:
                _remove_beginnings(self.folder / tile.path)
            return last

    def signed_checkpoint(self) -> bytes:
        """The newest checkpoint's signed note.

        Raises:
            Refused: if there is none.
        """
        try:
            with (self.folder / layout.CHECKPOINT).open("rb") as file:
                return file.read(LIMIT_BYTES + 1)
        except FileNotFoundError as error:
            raise Refused("The ledger has no checkpoint.", _REMEDY) from error

    def verify(
        self,
        keys: Mapping[str, Key],
        *,
        known: Mapping[str, bytes] = MappingProxyType({}),
        signatures: bool = True,
    ) -> Verification:
        """Check every byte of the ledger; never raises for what it finds.

        Args:
            keys: key id → public key that the verifier trusts.
            known: label → signed checkpoint that was kept elsewhere.
            signatures: verify the signature of each record that the checkpoint covers, not only
                its place in the signed tree.
        """
        return verify(self.folder, self.origin, keys, known, signatures=signatures)

    def _open(self, signer: Signer) -> Checkpoint:
        """The newest checkpoint, verified; a new ledger gets one over the empty tree (LED-3)."""
        new = not (self.folder / layout.CHECKPOINT).exists()
        if new and layout.newest_batch(self.folder) is None:
            return self._sign(Tree(), signer)
        return self._end.checkpoint(self.signed_checkpoint(), signer.public_key)

    def _ahead(
        self, end: Admission, moment: datetime, signer: Signer, statement: Json
    ) -> list[Json]:
        """What must be said before the next statement (LED-4, LED-6)."""
        if end.size == 0:
            own = [enrolled(signer.public_key, ROLES, self.origin, moment)]
            return own if kind_of(statement) != ENROLLED else []
        return [clock.went_back(end.at, moment)] if utc_text(moment) < end.at else []

    def _append(self, statements: Sequence[Json], at: str, signer: Signer, end: Admission) -> None:
        """Sign and write; `end` moves along."""
        first, batch = end.size, bytearray()
        for statement in statements:
            index = end.size
            if index >= layout.RECORDS:
                raise Refused("The ledger is full.", "Begin a new ledger, under a new origin.")
            line = sign(end.place(statement, signer.public_key.keyid, at), signer) + b"\n"
            if index - first == BATCH_RECORDS or len(batch) + len(line) > layout.BATCH_BYTES:
                self._write(layout.batch_path(self.folder, first), bytes(batch))
                first, batch = index, bytearray()
            batch += line
        if batch:
            self._write(layout.batch_path(self.folder, first), bytes(batch))
            self._end.moved(end, first)

    def _verified(self, first: int, end: int) -> Iterator[bytes]:
        """The envelopes of these records, each verified after those before it."""
        state = state_at(self.folder, self.origin, first)
        start = layout.newest_batch(self.folder, first) or 0
        while start < end:
            batch = layout.read_batch(self.folder, start)
            for raw in batch[max(first - start, 0) :]:
                try:
                    state.admit(raw)
                except Refused as error:
                    raise Bad(f"record {state.size}", error.what) from error
                yield raw
            start += len(batch)

    def _sign(self, tree: Tree, signer: Signer) -> Checkpoint:
        checkpoint = Checkpoint(self.origin, tree.size, tree.root())
        self._write(self.folder / layout.CHECKPOINT, sign_checkpoint(checkpoint, signer))
        return checkpoint

    def _write(self, target: Path, data: bytes) -> None:
        durable.write(target, data, self.folder / layout.TEMPORARY)


def _remove_beginnings(path: Path) -> None:
    """Remove the partial tiles of a full one; nothing needs them any more."""
    with contextlib.suppress(OSError):
        shutil.rmtree(path.with_name(f"{path.name}.p"))
