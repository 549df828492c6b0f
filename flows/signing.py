"""A person's signature over a file, as a record of the ledger.

Rules:

- SGN-1  The record holds the signer's printed name, the time, the meaning and the role
         (21 CFR Part 11 § 11.50, EU GMP Annex 11 § 14), over the file's SHA-256.
- SGN-2  A key signs in its holder's name alone. The first key of a ledger is held by the machine
         (its holder is the ledger's origin): it signs in the name that is given.
- SGN-3  A key that may not sign in this role, or no more, signs nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from audit.errors import WrongUse
from audit.key_events import MEANINGS, signature
from audit.keyring import Member
from audit.signers import signer_at
from flows.ledger import cover, open_ledger, record, signer_for


@dataclass(frozen=True)
class Signed:
    """What was signed."""

    index: int
    file: str
    sha256: str
    meaning: str
    role: str
    signer: str
    keyid: str


def sign_file(
    project: Path,
    file: Path,
    meaning: str,
    *,
    signer: str,
    comment: str,
    uri: str | None = None,
) -> Signed:
    """Sign a file: it was reviewed, approved or released.

    Args:
        project: folder of the project.
        file: any file: a release's archive, a report.
        meaning: `reviewed`, `approved` or `released`.
        signer: the signer's printed name.
        comment: what the signer adds; may be empty.
        uri: where the signer's key lies; default: this machine's key for the role.

    Raises:
        WrongUse: the file cannot be read, the meaning is none, or the key may not (SGN-2, SGN-3).
        Refused, Fault: as the ledger and the key.
    """
    role = MEANINGS.get(meaning)
    if role is None:
        raise WrongUse(
            "This is no meaning of a signature.", f"The meanings are: {', '.join(MEANINGS)}."
        )
    sha256 = _sha256(file)
    ledger, place, machine = open_ledger(project)
    key = signer_at(uri) if uri is not None else signer_for(place, machine, role)
    members = ledger.keyring().members
    if members:  # a new ledger enrolls its first signer, with all roles
        _check_holder(members.get(key.public_key.keyid), role, signer, ledger.origin)
    event = signature(
        [(file.name, sha256)],
        meaning,
        role,
        signer=signer,
        comment=comment,
        at=datetime.now(UTC),
    )
    index = record(ledger, key, event)
    cover(ledger, place, machine)
    return Signed(index, file.name, sha256, meaning, role, signer, key.public_key.keyid)


def _check_holder(member: Member | None, role: str, signer: str, origin: str) -> None:
    """Refuse a key that may not sign in this role and name (SGN-2, SGN-3)."""
    if member is None or member.until is not None or role not in member.roles:
        raise WrongUse(
            f"This key may not sign as {role}: it is not enrolled for it, or was ended.",
            f"Let a custodian enroll one: `kette keys enroll --role {role}`.",
        )
    if member.holder not in {signer.strip(), origin}:
        raise WrongUse(
            "The name is not that of the key's holder.",
            "Sign with your own key, under the name that it was enrolled with.",
        )


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise WrongUse(
            f"The file to be signed cannot be read ({error.strerror}).",
            "Name one file: a release's archive or a report.",
        ) from error
