"""Verifying a ledger: every byte of every file, against public keys alone.

Rules:

- AUD-1  Every file has its place, or is named.
- AUD-2  Every record keeps the rules of `audit.admission`: one that is changed, missing, doubled,
         moved, from elsewhere or by a key that may not sign it is named by its index.
- AUD-3  The checkpoint is signed by a trusted key, and its root is that of the records below it: a
         ledger that was cut off below its checkpoint is found.
- AUD-4  Records behind the checkpoint are verified one by one and counted as not covered. That some
         are missing at the end can only be seen with a checkpoint kept elsewhere.
- AUD-5  Every tile is what the records give. Where a record and its tile differ, the checkpoint's
         root tells which of them was changed.
- AUD-6  A checkpoint kept elsewhere covers a beginning of these records, or they were cut, rolled
         back or forked.
- AUD-7  Without the signatures below the checkpoint, each record there is still held by its hash in
         the signed tree; key events and what lies behind are verified in full.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import Key

from audit import durable, layout
from audit.admission import Admission
from audit.bad import Bad
from audit.checkpoint import LIMIT_BYTES, Checkpoint, open_checkpoint, read_checkpoint
from audit.end import state_at
from audit.errors import Refused
from audit.keyring import Keyring
from audit.merkle import leaf_hash
from audit.tile_check import TileCheck
from audit.tiles import WIDTH, Tiles


@dataclass(frozen=True)
class Verification:
    """What a verification found."""

    ok: bool
    records: int
    """Records that hold, from the first on."""
    covered: int
    """Records below the checkpoint; 0 unless all holds."""
    first_bad: str | None = None
    """`record <index>`, `checkpoint`, `checkpoint <label>` or `file <relative path>`."""
    reason: str | None = None


def verify(
    folder: Path,
    origin: str,
    anchors: Mapping[str, Key],
    known: Mapping[str, bytes],
    *,
    signatures: bool,
) -> Verification:
    """Check a ledger; what is wrong is the result, never an exception."""
    check = _Check(folder, origin, anchors, signatures=signatures)
    try:
        covered = check.run(known)
    except Bad as bad:
        return Verification(
            ok=False, records=check.holding, covered=0, first_bad=bad.where, reason=bad.reason
        )
    return Verification(ok=True, records=check.holding, covered=covered)


class _Check:
    """One verification; its steps are in the order of `run`."""

    def __init__(
        self, folder: Path, origin: str, anchors: Mapping[str, Key], *, signatures: bool
    ) -> None:
        self._folder = folder
        self._origin = origin
        self._anchors = anchors
        self._signatures = signatures
        self._roots: dict[int, bytes] = {}
        """Roots of the records' tree at the sizes that checkpoints name."""
        self.holding = 0
        """Records that hold, from the first on."""

    def run(self, known: Mapping[str, bytes]) -> int:
        """Check all; give the checkpoint's size.

        Raises:
            Bad: for the first thing that does not hold.
        """
        # 1. Every file has its place (AUD-1); writers are kept out while the files are listed.
        with durable.shared(self._folder / layout.LOCK):
            there = layout.contents(self._folder)
            note = _note(self._folder)
        for stray in there.strays:
            raise Bad(f"file {stray}", "It has no place in a ledger, or is not as it must be.")
        claimed = _read(layout.CHECKPOINT, note)
        claims = {label: _read(f"checkpoint {label}", raw) for label, raw in known.items()}
        # 2. Every record holds, in order, without gap (AUD-2); the tree grows by each.
        tiles = TileCheck(self._folder, there.tiles)
        sizes = {claimed.size, *(claim.size for claim in claims.values())}
        try:
            state = self._records(there.batches, claimed.size, sizes, tiles)
        except Bad:
            if not self._signatures:  # an earlier record may be the cause
                tiles.compare_partial()
                self._check_hashes(claimed, tiles)
            raise
        # 3. The checkpoint is trusted, and its root is the records' (AUD-3); so are the tiles.
        if claimed.size > self.holding:
            self._open(layout.CHECKPOINT, note, {**self._anchors, **state.keyring.keys})
            raise Bad(
                f"record {self.holding}",
                f"It is missing: the checkpoint covers {claimed.size} records.",
            )
        self._open(layout.CHECKPOINT, note, state.keyring.checkpoint_keys(claimed.size))
        tiles.finish(claimed.size)
        self._check_root(claimed, tiles)
        # 4. Each checkpoint from elsewhere covers a beginning of these records (AUD-6).
        for label, claim in claims.items():
            self._check_known(label, claim)
            # The keys are trusted by now: that of an older checkpoint may have ended since.
            keys = state.keyring.in_force(claim.size) or self._anchors
            self._open(f"checkpoint {label}", known[label], keys)
        return claimed.size

    def _records(
        self, starts: list[int], covered: int, sizes: set[int], tiles: TileCheck
    ) -> Admission:
        """Check each record; give the state behind the last."""
        state = Admission(self._origin, Keyring(self._anchors))
        tree = tiles.growth.tree
        if 0 in sizes:
            self._roots[0] = tree.root()
        for envelope in self._envelopes(starts):
            if self._signatures or tree.size >= covered:
                if state.size != tree.size:
                    state = self._state_at(covered)
                try:
                    state.admit(envelope)
                except Refused as error:
                    raise Bad(f"record {tree.size}", error.what) from error
            tiles.append(leaf_hash(envelope))
            self.holding = tree.size
            if tree.size in sizes:
                self._roots[tree.size] = tree.root()
        return state if state.size == tree.size else self._state_at(tree.size)

    def _state_at(self, size: int) -> Admission:
        """The state behind the records whose signatures are not verified (AUD-7)."""
        try:
            return state_at(self._folder, self._origin, size, self._anchors)
        except Refused as error:
            where = error.where if isinstance(error, Bad) else f"record {size - 1}"
            raise Bad(where, error.what) from error

    def _envelopes(self, starts: list[int]) -> Iterator[bytes]:
        expected = 0
        for start in starts:
            if start > expected:
                raise Bad(f"record {expected}", "It is missing.")
            if start < expected:
                raise Bad(f"record {start}", "It occurs in two batches.")
            batch = layout.read_batch(self._folder, start)
            yield from batch
            expected += len(batch)

    def _check_root(self, claimed: Checkpoint, tiles: TileCheck) -> None:
        same = self._roots[claimed.size] == claimed.root
        if same and tiles.suspect is not None:
            raise Bad(f"file {tiles.suspect[0].path}", "It is not what the records give.")
        self._check_hashes(claimed, tiles)
        if not same:
            raise Bad(layout.CHECKPOINT, "Its root is not the root of the records below it.")

    def _check_hashes(self, claimed: Checkpoint, tiles: TileCheck) -> None:
        """Name the first record that differs from its tile, if the tiles are the checkpoint's."""
        if tiles.suspect is None or tiles.suspect[0].level:
            return
        try:
            root = Tiles(self._folder, claimed.size).tree().root()
        except Refused:
            return
        if root == claimed.root:
            tile, number = tiles.suspect
            self.holding = tile.number * WIDTH + number
            raise Bad(f"record {self.holding}", "Its hash is not the one in the signed tree.")

    def _check_known(self, label: str, claim: Checkpoint) -> None:
        if claim.size > self.holding:
            raise Bad(
                f"checkpoint {label}",
                f"It covers {claim.size} records, the ledger has {self.holding}: "
                "the ledger was cut off or rolled back.",
            )
        if self._roots[claim.size] != claim.root:
            raise Bad(
                f"checkpoint {label}",
                f"The first {claim.size} records are not those that it covers: "
                "the ledger was forked or rewritten.",
            )

    def _open(self, where: str, note: bytes, keys: Mapping[str, Key]) -> None:
        try:
            open_checkpoint(note, self._origin, keys)
        except Refused as error:
            raise Bad(where, error.what) from error


def _note(folder: Path) -> bytes:
    try:
        with (folder / layout.CHECKPOINT).open("rb") as file:
            return file.read(LIMIT_BYTES + 1)
    except FileNotFoundError as error:
        raise Bad(layout.CHECKPOINT, "It is missing.") from error


def _read(where: str, note: bytes) -> Checkpoint:
    try:
        return read_checkpoint(note)
    except Refused as error:
        raise Bad(where, error.what) from error
