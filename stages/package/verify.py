"""A release's archive and evidence, checked against a public key alone; on any system, offline.

Rules:

- VER-1  The archive is read without trust: plain names, limited size and count.
- VER-2  Every member has the size and digest that `manifest.json` says, none is missing or extra.
- VER-3  The archive is exactly what our writer makes of its members: a bit changed between them,
         in a header or behind the end, is found too.
- VER-4  The evidence is signed by the given key and names this archive's digest.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from audit.errors import KetteError, Unreadable
from stages.archive import read_zip, write_zip
from stages.artifact import Manifest, digest_file
from stages.bundle import MANIFEST

LIMIT_BYTES = 8 * 2**30
LIMIT_ENTRIES = 1_000
_REMEDY = "Fetch the release again from where it was published."


def verify_bundle(bundle: Path, evidence: Path, public_key: Path) -> dict[str, Any]:
    """Check an archive and the evidence beside it.

    Returns:
        `ok`; `records`, how many records of the evidence were checked; `first_bad`, the first
        member or record that fails, or None; `reason`, a sentence, or None.

    Raises:
        WrongUse: the public key cannot be read.
    """
    from audit.evidence import verify
    from audit.public_keys import load_public

    try:
        check_archive(bundle)
        digest = digest_file(bundle)
    except BadMember as error:
        return _failed(error.member, error.what)
    except KetteError as error:
        return _failed(bundle.name, error.what)
    except OSError:
        return _failed(bundle.name, "The archive cannot be opened.")
    key = load_public(public_key)
    return asdict(verify(evidence, {key.keyid: key}, bundle_sha256=digest))


class BadMember(Unreadable):
    """A member of an archive is not what the manifest says."""

    def __init__(self, member: str, what: str) -> None:
        super().__init__(what, _REMEDY)
        self.member = member


def check_archive(bundle: Path) -> dict[str, bytes]:
    """Read a release's archive and hold it against its manifest (VER-1 to VER-3).

    Returns:
        Member → bytes.

    Raises:
        BadMember: a member that is missing, extra or changed.
        Unreadable: the archive is damaged, or not as our writer makes it.
    """
    members = members_of(bundle)
    try:
        manifest = Manifest.model_validate_json(members[MANIFEST])
    except (KeyError, ValidationError):
        raise BadMember(MANIFEST, "The archive has no readable manifest.") from None
    expected = {entry.path: entry for entry in manifest.files}
    found = members.keys() - {MANIFEST}
    for name in sorted(expected.keys() | found):
        if name not in found:
            raise BadMember(name, "A member of the manifest is not in the archive.")
        if name not in expected:
            raise BadMember(name, "A member of the archive is not in the manifest.")
        if hashlib.sha256(members[name]).hexdigest() != expected[name].sha256:
            raise BadMember(name, "A member is not what the manifest says.")
        if len(members[name]) != expected[name].size:
            raise BadMember(name, "A member has not the size that the manifest says.")
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder) / "again.zip"
        write_zip(again, members.items())
        if digest_file(again) != digest_file(bundle):
            raise Unreadable("The archive is not as it was written.", _REMEDY)
    return members


def members_of(bundle: Path) -> dict[str, bytes]:
    """Read an archive's members, without trust (VER-1).

    Raises:
        Unreadable: the archive is damaged, too large, or holds names that are not plain.
    """
    try:
        return dict(read_zip(bundle, limit_bytes=LIMIT_BYTES, limit_entries=LIMIT_ENTRIES))
    except Unreadable:
        raise
    except Exception as error:  # noqa: BLE001 - any fault of the unpacker is a damaged archive
        reason = type(error).__name__
        raise Unreadable(f"The archive is damaged ({reason}).", _REMEDY) from None


def _failed(first_bad: str, reason: str) -> dict[str, Any]:
    return {"ok": False, "records": 0, "first_bad": first_bad, "reason": reason}
