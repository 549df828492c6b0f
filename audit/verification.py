"""Verifying a ledger: every byte of every file, against public keys alone.

Rules:

- AUD-1  Every file has its place, or is named.
- AUD-2  Every record is signed by a known key and names its own index and origin: a record that is
         changed, missing, doubled, moved or from elsewhere is named by its index.
- AUD-3  The checkpoint is signed, and its root is the root of the records below it: a ledger that
         was cut off below its checkpoint is found.
- AUD-4  Records behind the checkpoint are verified one by one and counted as not covered. That some
         are missing at the end can only be seen with a checkpoint kept elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import Key

from audit import durable, layout
from audit.bad import Bad
from audit.checkpoint import LIMIT_BYTES, Checkpoint, open_checkpoint
from audit.envelope import open_envelope
from audit.errors import Refused
from audit.merkle import Tree, leaf_hash
from audit.place import index_of


@dataclass(frozen=True)
class Verification:
    """What a verification found."""

    ok: bool
    records: int
    """Records that hold, from the first on."""
    covered: int
    """Records below the checkpoint; 0 unless all holds."""
    first_bad: str | None = None
    """`record <index>`, `checkpoint` or `file <relative path>`."""
    reason: str | None = None


def verify(folder: Path, origin: str, keys: Mapping[str, Key]) -> Verification:
    """Check a ledger; what is wrong is the result, never an exception."""
    tree = Tree()
    try:
        covered = _check(folder, origin, keys, tree)
    except Bad as bad:
        return Verification(
            ok=False, records=tree.size, covered=0, first_bad=bad.where, reason=bad.reason
        )
    return Verification(ok=True, records=tree.size, covered=covered)


def _check(folder: Path, origin: str, keys: Mapping[str, Key], tree: Tree) -> int:
    """Grow the tree by each record that holds; give the checkpoint's size."""
    # 1. Every file has its place (AUD-1); writers are kept out while the files are listed.
    with durable.shared(folder / layout.LOCK):
        for stray in layout.strays(folder):
            raise Bad(f"file {stray}", "It has no place in a ledger, or is not as it must be.")
        starts = layout.batches(folder)
        checkpoint = _checkpoint(folder, origin, keys)
    # 2. Every record holds, in order, without gap (AUD-2); the tree grows by each.
    root = tree.root()
    for start in starts:
        for envelope in _envelopes(folder, start, tree.size):
            _check_record(envelope, tree.size, origin, keys)
            tree.append(leaf_hash(envelope))
            if tree.size == checkpoint.size:
                root = tree.root()
    # 3. The checkpoint is the tree's, at its size (AUD-3).
    if checkpoint.size > tree.size:
        raise Bad(
            f"record {tree.size}",
            f"It is missing: the checkpoint covers {checkpoint.size} records.",
        )
    if checkpoint.root != root:
        raise Bad("checkpoint", "Its root is not the root of the records below it.")
    return checkpoint.size


def _checkpoint(folder: Path, origin: str, keys: Mapping[str, Key]) -> Checkpoint:
    try:
        with (folder / layout.CHECKPOINT).open("rb") as file:
            return open_checkpoint(file.read(LIMIT_BYTES + 1), origin, keys)
    except FileNotFoundError as error:
        raise Bad(layout.CHECKPOINT, "It is missing.") from error
    except Refused as error:
        raise Bad(layout.CHECKPOINT, error.what) from error


def _envelopes(folder: Path, start: int, expected: int) -> list[bytes]:
    if start > expected:
        raise Bad(f"record {expected}", "It is missing.")
    if start < expected:
        raise Bad(f"record {start}", "It occurs in two batches.")
    try:
        return layout.read_batch(folder, start)
    except Refused as error:
        raise Bad(f"record {start}", error.what) from error


def _check_record(envelope: bytes, index: int, origin: str, keys: Mapping[str, Key]) -> None:
    try:
        named = index_of(open_envelope(envelope, keys), origin)
    except Refused as error:
        raise Bad(f"record {index}", error.what) from error
    if named != index:
        raise Bad(f"record {index}", f"Record {named} stands in its place.")
