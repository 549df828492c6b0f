"""The ledger: an append-only log of signed statements, covered by signed checkpoints.

Rules:

- LED-1  A record is whole or absent, and on the disk before its index is given back.
- LED-2  Indexes have no gap and no duplicate, however many processes append. Each signed
         statement names its own index and the ledger's origin (`kette_ledger`).
- LED-3  A ledger has a checkpoint from its first moment. One that lost it, or records below it, or
         whose records no longer give its root, is not written to again.
- LED-4  A ledger has one origin and one signing key.
- LED-5  A writer killed at any point leaves a ledger that verifies and takes the next record.

    ledger = Ledger(home / "ledger", "kette/phantom")
    ledger.append(statement, signer)
    ledger.checkpoint(signer)
    ledger.verify(public_keys(home / "keys"))
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from securesystemslib.signer import Key, Signer

from audit import durable, layout
from audit.checkpoint import LIMIT_BYTES, Checkpoint, open_checkpoint, sign_checkpoint
from audit.envelope import open_envelope, read_statement, sign
from audit.errors import Refused
from audit.merkle import Tree, leaf_hash
from audit.place import placed
from audit.record import Record
from audit.verification import Verification, verify

Json = dict[str, Any]

BATCH_RECORDS = 1000
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
        self._by_key: dict[str, Record] = {}
        self._seen = 0

    def append(self, statements: Json | Sequence[Json], signer: Signer) -> range:
        """Sign and append; give the new records' indexes.

        A sequence is written in as few files as its size allows. If it fails in between, the
        records already written stay: each is whole.

        Raises:
            Refused: if the ledger is damaged or another key's (LED-3, LED-4).
            Fault: if the disk is full or fails.
        """
        if isinstance(statements, dict):
            statements = [statements]
        with durable.exclusive(self.folder / layout.LOCK):
            self._opened(signer)
            start = self._size()
            batch = bytearray()
            first = start
            for index, statement in enumerate(statements, start):
                line = sign(self._placed(statement, index), signer) + b"\n"
                if index - first == BATCH_RECORDS or len(batch) + len(line) > layout.BATCH_BYTES:
                    self._write(layout.batch_path(self.folder, first), bytes(batch))
                    first, batch = index, bytearray()
                batch += line
            if batch:
                self._write(layout.batch_path(self.folder, first), bytes(batch))
            return range(start, start + len(statements))

    def read(self, first: int = 0) -> Iterator[tuple[int, bytes]]:
        """Index and envelope of each record from `first` on, as they stand now.

        Raises:
            Refused: if a record is missing or a batch cut off.
        """
        with durable.shared(self.folder / layout.LOCK):
            starts = layout.batches(self.folder)
        yield from self._read(starts, first)

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

    def checkpoint(self, signer: Signer) -> Checkpoint:
        """Sign the tree over all records as they stand now, and make it the newest checkpoint.

        Raises:
            Refused: if the records do not extend the last checkpoint's tree (LED-3).
        """
        with durable.exclusive(self.folder / layout.LOCK):
            last = self._opened(signer)
            tree, consistent = Tree(), last.size == 0
            for _, raw in self._read(layout.batches(self.folder), 0):
                tree.append(leaf_hash(raw))
                if tree.size == last.size:
                    consistent = tree.root() == last.root
            if not consistent:
                raise Refused("The ledger's records are not those of its checkpoint.", _REMEDY)
            if tree.size > last.size:
                last = self._sign(tree, signer)
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

    def verify(self, keys: Mapping[str, Key]) -> Verification:
        """Check every byte of the ledger; never raises for what it finds."""
        return verify(self.folder, self.origin, keys)

    def _read(self, starts: Sequence[int], first: int) -> Iterator[tuple[int, bytes]]:
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

    def _opened(self, signer: Signer) -> Checkpoint:
        """The newest checkpoint, verified; a new ledger gets one over the empty tree (LED-3)."""
        new = not (self.folder / layout.CHECKPOINT).exists()
        if new and layout.newest_batch(self.folder) is None:
            return self._sign(Tree(), signer)
        key = signer.public_key
        return open_checkpoint(self.signed_checkpoint(), self.origin, {key.keyid: key})

    def _sign(self, tree: Tree, signer: Signer) -> Checkpoint:
        checkpoint = Checkpoint(self.origin, tree.size, tree.root())
        self._write(self.folder / layout.CHECKPOINT, sign_checkpoint(checkpoint, signer))
        return checkpoint

    def _size(self) -> int:
        last = layout.newest_batch(self.folder)
        return 0 if last is None else last + len(layout.read_batch(self.folder, last))

    def _placed(self, statement: Json, index: int) -> Json:
        if index >= layout.RECORDS:
            raise Refused("The ledger is full.", "Begin a new ledger, under a new origin.")
        return placed(statement, self.origin, index)

    def _write(self, target: Path, data: bytes) -> None:
        durable.write(target, data, self.folder / layout.TEMPORARY)
