"""The evidence beside a release: it verifies offline, with a public key alone.

    records.jsonl   the envelopes of the release's records, one a line, in order of index
    leaves.bin      the leaf hash (32 bytes) of every record of the ledger below the checkpoint
    checkpoint      the signed checkpoint
    signer.pub      the public key (PEM), for comparison: a verifier brings its own

Rules:

- EVD-1  Every envelope is signed by a key that the verifier brings, and its leaf hash is in
         `leaves.bin` at the index that its statement names.
- EVD-2  The leaves give the root that the checkpoint signs.
- EVD-3  A record of the stage `package` names the bundle among its subjects.
- EVD-4  The chain is whole: each input of a record that is neither a source from outside nor the
         lock is a subject of a record here, by name and digest; a gate of `package` is here, and no
         gate refused.
- EVD-5  Every byte of every file counts, and no other file lies beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from securesystemslib.signer import Key

from audit.bad import Bad
from audit.chain import check_bundle, check_chain
from audit.checkpoint import LIMIT_BYTES as CHECKPOINT_BYTES
from audit.checkpoint import Checkpoint, open_checkpoint, origin_of
from audit.envelope import LIMIT_BYTES, open_envelope
from audit.errors import Refused, WrongUse
from audit.keys import load_public, public_pem
from audit.merkle import Tree, leaf_hash
from audit.place import index_of
from audit.record import Record

if TYPE_CHECKING:
    from audit.ledger import Ledger

RECORDS = "records.jsonl"
LEAVES = "leaves.bin"
CHECKPOINT = "checkpoint"
PUBLIC = "signer.pub"

_FILES = frozenset({RECORDS, LEAVES, CHECKPOINT, PUBLIC})
_HASH = 32
_REMEDY = "Fetch the release again from its source."


@dataclass(frozen=True)
class EvidenceCheck:
    """What a verification of evidence found."""

    ok: bool
    records: int
    """Records that hold, from the first on."""
    first_bad: str | None = None
    """`record <index>`, `checkpoint`, `bundle` or `file <name>`."""
    reason: str | None = None


def export(ledger: Ledger, indexes: Sequence[int], folder: Path, signer_public: Path) -> None:
    """Write the evidence of a release; `verify` accepts what `export` wrote.

    Args:
        ledger: the ledger, with a checkpoint over all of `indexes`.
        indexes: the records of the release's whole chain.
        folder: a new or empty folder.
        signer_public: the signer's public key (PEM).

    Raises:
        WrongUse: if an index is not below the checkpoint, or the folder holds files.
        Refused: if the ledger does not hold.
    """
    key = load_public(signer_public)
    note = ledger.signed_checkpoint()
    checkpoint = open_checkpoint(note, ledger.origin, {key.keyid: key})
    wanted = set(indexes)
    if not wanted or min(wanted) < 0 or max(wanted) >= checkpoint.size:
        raise WrongUse(
            "A record of the release is not below the ledger's checkpoint.",
            "Sign a checkpoint before the evidence is exported.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise WrongUse("The folder for the evidence is not empty.", "Give a new folder.")
    tree = Tree()
    with (folder / RECORDS).open("wb") as records, (folder / LEAVES).open("wb") as leaves:
        for index, raw in ledger.read():
            if index == checkpoint.size:
                break
            leaf = leaf_hash(raw)
            tree.append(leaf)
            leaves.write(leaf)
            if index in wanted:
                records.write(raw + b"\n")
    if tree.size != checkpoint.size or tree.root() != checkpoint.root:
        raise Refused(
            "The ledger's records are not those of its checkpoint.",
            "Run `kette audit verify`, then restore the ledger from its mirror or a backup.",
        )
    (folder / CHECKPOINT).write_bytes(note)
    (folder / PUBLIC).write_bytes(public_pem(key))


def verify(folder: Path, keys: Mapping[str, Key], *, bundle_sha256: str) -> EvidenceCheck:
    """Check a release's evidence; what is wrong is the result, never an exception.

    Args:
        folder: the evidence, from an untrusted source.
        keys: key id → public key that the verifier trusts.
        bundle_sha256: digest of the release's archive.
    """
    held: list[Record] = []
    try:
        _check(folder, keys, bundle_sha256, held)
    except Bad as bad:
        return EvidenceCheck(ok=False, records=len(held), first_bad=bad.where, reason=bad.reason)
    return EvidenceCheck(ok=True, records=len(held))


def _check(folder: Path, keys: Mapping[str, Key], bundle_sha256: str, held: list[Record]) -> None:
    """Add each record that holds to `held`."""
    # 1. Exactly these files, each a plain one; the key is one of the verifier's (EVD-5).
    _check_files(folder, keys)
    # 2. The checkpoint's signature, and the leaves' root under it (EVD-2).
    checkpoint = _checkpoint(folder, keys)
    _check_leaves(folder, checkpoint)
    # 3. Every envelope, at its place among the leaves (EVD-1).
    with (folder / LEAVES).open("rb") as leaves:
        for raw, record in _records(folder, checkpoint, keys):
            leaves.seek(record.index * _HASH)
            if leaves.read(_HASH) != leaf_hash(raw):
                raise Bad(f"record {record.index}", "The leaves hold another record there.")
            held.append(record)
    # 4. The bundle is what the chain packaged (EVD-3).
    check_bundle(held, bundle_sha256)
    # 5. Nothing of its chain is left out, and no gate refused (EVD-4).
    check_chain(held)


def _check_files(folder: Path, keys: Mapping[str, Key]) -> None:
    names = set()
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name not in _FILES or path.is_symlink() or not path.is_file():
            raise Bad(f"file {path.name}", "It has no place in evidence.")
        names.add(path.name)
    for name in sorted(_FILES - names):
        raise Bad(f"file {name}", "It is missing.")
    public = _read(folder / PUBLIC, CHECKPOINT_BYTES)
    if public not in {public_pem(key) for key in keys.values()}:
        raise Bad(f"file {PUBLIC}", "It is none of the verifier's keys.")


def _checkpoint(folder: Path, keys: Mapping[str, Key]) -> Checkpoint:
    note = _read(folder / CHECKPOINT, CHECKPOINT_BYTES)
    try:
        return open_checkpoint(note, origin_of(note), keys)
    except Refused as error:
        raise Bad(CHECKPOINT, error.what) from error


def _check_leaves(folder: Path, checkpoint: Checkpoint) -> None:
    path = folder / LEAVES
    if path.stat().st_size != checkpoint.size * _HASH:
        raise Bad(f"file {LEAVES}", f"It must hold {checkpoint.size} leaf hashes.")
    tree = Tree()
    with path.open("rb") as leaves:
        while leaf := leaves.read(_HASH):
            tree.append(leaf)
    if tree.root() != checkpoint.root:
        raise Bad(f"file {LEAVES}", "Its root is not the checkpoint's.")


def _records(
    folder: Path, checkpoint: Checkpoint, keys: Mapping[str, Key]
) -> Iterator[tuple[bytes, Record]]:
    """Each envelope and its record, in strictly rising order of index below the checkpoint."""
    last = -1
    with (folder / RECORDS).open("rb") as file:
        while line := file.readline(LIMIT_BYTES + 1):
            if not line.endswith(b"\n"):
                raise Bad(f"record after {last}", "It is cut off or over the size limit.")
            raw = line[:-1]
            try:
                statement = open_envelope(raw, keys)
                index = index_of(statement, checkpoint.origin)
            except Refused as error:
                raise Bad(f"record after {last}", error.what) from error
            if not last < index < checkpoint.size:
                raise Bad(f"record {index}", "It is out of order or not below the checkpoint.")
            last = index
            yield raw, Record(index, statement)


def _read(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        return file.read(limit + 1)
