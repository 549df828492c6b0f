"""The evidence beside a release: it verifies offline, with a public key alone.

    proof.json      the release's records, proven under one signed checkpoint (`audit.proof`)
    signer.pub      the public key (PEM), for comparison: a verifier brings its own

Rules:

- EVD-1  The proof holds: each record stands in the tree that the checkpoint signs, and is signed by
         a key that was allowed to sign it.
- EVD-2  The verifier trusts the key of the ledger's first record or that of the checkpoint.
- EVD-3  A record of the stage `package` names the bundle among its subjects.
- EVD-4  The chain is whole: each input of a record that is neither a source from outside nor the
         lock is a subject of a record here, by name and digest; a gate of `package` is here, and no
         gate refused.
- EVD-5  Every byte of every file counts, and no other file lies beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from securesystemslib.signer import Key

from audit.bad import Bad
from audit.chain import check_bundle, check_chain
from audit.errors import WrongUse
from audit.proof import LIMIT_BYTES, check, prove
from audit.public_keys import load_public, public_pem
from audit.record import Record

if TYPE_CHECKING:
    from audit.ledger import Ledger

PROOF = "proof.json"
PUBLIC = "signer.pub"

_FILES = frozenset({PROOF, PUBLIC})


@dataclass(frozen=True)
class EvidenceCheck:
    """What a verification of evidence found."""

    ok: bool
    records: int
    """Records that hold, the ledger's key events among them; 0 unless all does."""
    first_bad: str | None = None
    """`record <index>`, `checkpoint`, `proof`, `bundle` or `file <name>`."""
    reason: str | None = None


def export(ledger: Ledger, indexes: Sequence[int], folder: Path, signer_public: Path) -> None:
    """Write the evidence of a release; `verify` accepts what `export` wrote.

    Args:
        ledger: the ledger, with a checkpoint over all of `indexes`.
        indexes: the records of the release's whole chain.
        folder: a new or empty folder.
        signer_public: public key (PEM) of the checkpoint's signer, or of the ledger's first key.

    Raises:
        WrongUse: if an index is not below the checkpoint, or the folder holds files.
        Refused: if the ledger does not hold, or the key is none of these two.
    """
    key = load_public(signer_public)
    proof = prove(ledger, indexes)
    check(proof, {key.keyid: key})
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise WrongUse("The folder for the evidence is not empty.", "Give a new folder.")
    (folder / PROOF).write_bytes(proof)
    (folder / PUBLIC).write_bytes(public_pem(key))


def verify(folder: Path, keys: Mapping[str, Key], *, bundle_sha256: str) -> EvidenceCheck:
    """Check a release's evidence; what is wrong is the result, never an exception.

    Args:
        folder: the evidence, from an untrusted source.
        keys: key id → public key that the verifier trusts.
        bundle_sha256: digest of the release's archive.
    """
    try:
        records = _check(folder, keys, bundle_sha256)
    except Bad as bad:
        return EvidenceCheck(ok=False, records=0, first_bad=bad.where, reason=bad.reason)
    return EvidenceCheck(ok=True, records=len(records))


def _check(folder: Path, keys: Mapping[str, Key], bundle_sha256: str) -> list[Record]:
    # 1. Exactly these files, each a plain one; the key is one of the verifier's (EVD-5).
    _check_files(folder, keys)
    # 2. The proof, under a key that the verifier trusts (EVD-1, EVD-2).
    records = check(_read(folder / PROOF, LIMIT_BYTES), keys)
    # 3. The bundle is what the chain packaged (EVD-3).
    check_bundle(records, bundle_sha256)
    # 4. Nothing of its chain is left out, and no gate refused (EVD-4).
    check_chain(records)
    return records


def _check_files(folder: Path, keys: Mapping[str, Key]) -> None:
    names = set()
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name not in _FILES or path.is_symlink() or not path.is_file():
            raise Bad(f"file {path.name}", "It has no place in evidence.")
        names.add(path.name)
    for name in sorted(_FILES - names):
        raise Bad(f"file {name}", "It is missing.")
    public = _read(folder / PUBLIC, 4096)
    if public not in {public_pem(key) for key in keys.values()}:
        raise Bad(f"file {PUBLIC}", "It is none of the verifier's keys.")


def _read(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        return file.read(limit + 1)
