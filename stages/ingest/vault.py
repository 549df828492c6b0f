"""The vault: the secrets that pseudonyms come from, and the table that leads back.

A folder of two files: `vault.key`, 32 random bytes, and `vault.bin`, the table, encrypted and
authenticated with it (AES-256-GCM). The table holds the domain key and, for each pseudonym, the
patient ID with its issuer and the subject's own secret.

Rules:

- VLT-1  The folder is its owner's alone (0700, files 0600); one that others can open is refused.
- VLT-2  A changed table, or a table of another key, is refused; nothing of it is shown.
- VLT-3  A write is whole or not at all (temporary file, fsync, rename); one process at a time holds
         the vault (a lock that the system frees).
- VLT-4  A vault never lies in a folder that others get: project, store, data, sources, a git
         repository.
- VLT-5  A patient's entry is made once, and stays the same in every later run.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from audit.errors import Fault, WrongUse
from stages.ingest.keys import SubjectSecrets, fingerprint, pseudonym

KEY_FILE: Final = "vault.key"
TABLE_FILE: Final = "vault.bin"
_LOCK_FILE: Final = "lock"
_SCHEMA: Final = 1
_CONTEXT: Final = b"Kette vault, schema 1"
_NONCE: Final = 12
_MISSING = "Make one with `kette init`, or restore it from its backup."


class Vault:
    """An open vault: `stages.ingest.keys.Keys`, and the way it is written back."""

    def __init__(self, table: dict[str, Any]) -> None:
        self._table = table
        self._names = {
            (entry["patient_id"], entry["issuer"]): name
            for name, entry in table["subjects"].items()
        }
        self.changed = False

    @property
    def domain_key(self) -> bytes:
        return bytes.fromhex(self._table["domain_key"])

    @property
    def version(self) -> str:
        return f"vault-{fingerprint(self.domain_key)}"

    def subject(self, patient_id: str, issuer: str) -> SubjectSecrets:
        """A patient's pseudonym and secret; drawn and entered at the first call (VLT-5)."""
        identity = (patient_id, issuer)
        if identity not in self._names:
            self._names[identity] = self._enter(*identity)
            self.changed = True
        name = self._names[identity]
        return SubjectSecrets(name, bytes.fromhex(self._table["subjects"][name]["secret"]))

    def _enter(self, patient_id: str, issuer: str) -> str:
        """Draw a patient's secret; its pseudonym is nobody else's."""
        subjects = self._table["subjects"]
        while True:
            secret = secrets.token_bytes(32)
            name = pseudonym(secret)
            if name not in subjects:
                break
        subjects[name] = {"patient_id": patient_id, "issuer": issuer, "secret": secret.hex()}
        return name

    def export(self) -> dict[str, Any]:
        """The table, as it is encrypted."""
        return self._table


def create(folder: Path) -> None:
    """Make an empty vault with fresh keys, whole or not at all.

    Raises:
        WrongUse: there is something already, or the place is a git repository (VLT-4).
    """
    check_place(folder, ())
    if folder.exists() and any(folder.iterdir()):
        raise WrongUse("The vault's folder is not empty.", "Keep the vault that is there.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    beside.mkdir(mode=0o700)
    _write(beside / KEY_FILE, secrets.token_bytes(32))
    _save(beside, {"schema": _SCHEMA, "domain_key": secrets.token_hex(32), "subjects": {}})
    beside.rename(folder)
    _sync(folder.parent)


@contextmanager
def open_vault(folder: Path) -> Iterator[Vault]:
    """Hold a vault; what was added is written when the block ends without an error (VLT-3).

    Raises:
        WrongUse: there is none, or others can open it (VLT-1).
        Fault: it was changed, or its key is another's (VLT-2).
    """
    if not (folder / KEY_FILE).is_file() or not (folder / TABLE_FILE).is_file():
        raise WrongUse("There is no vault for this project.", _MISSING)
    if any(path.stat().st_mode & 0o077 for path in (folder, folder / KEY_FILE)):
        raise WrongUse(
            "Others can open the vault.", "Run `chmod 700` on its folder, `chmod 600` on its files."
        )
    with (folder / _LOCK_FILE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        vault = Vault(_load(folder))
        yield vault
        if vault.changed:
            _save(folder, vault.export())


def check_place(vault: Path, forbidden: Sequence[Path]) -> None:
    """Refuse a vault below a folder that others get (VLT-4).

    Args:
        vault: the vault's folder; it need not exist.
        forbidden: project, store, data, DVC's cache, ledger, sources.

    Raises:
        WrongUse: the vault lies in one of them, or in a git repository.
    """
    place = vault.resolve()
    if any(place.is_relative_to(folder.resolve()) for folder in forbidden):
        raise WrongUse(
            "The vault lies in a folder that is passed on.",
            "Set KETTE_HOME to a folder apart from project, store and sources.",
        )
    if any((folder / ".git").exists() for folder in (place, *place.parents)):
        raise WrongUse(
            "The vault lies in a git repository.", "Set KETTE_HOME to a folder outside of it."
        )


def _load(folder: Path) -> dict[str, Any]:
    sealed = (folder / TABLE_FILE).read_bytes()
    try:
        key = AESGCM((folder / KEY_FILE).read_bytes())
        plain = key.decrypt(sealed[:_NONCE], sealed[_NONCE:], _CONTEXT)
    except (InvalidTag, ValueError):
        raise Fault(
            "The vault was changed, or its key is another's.", "Restore both from one backup."
        ) from None
    table: dict[str, Any] = json.loads(plain)
    if table.get("schema") != _SCHEMA:
        raise WrongUse("The vault's schema is not this program's.", "Use the program that made it.")
    return table


def _save(folder: Path, table: dict[str, Any]) -> None:
    nonce = secrets.token_bytes(_NONCE)
    key = AESGCM((folder / KEY_FILE).read_bytes())
    plain = json.dumps(table, sort_keys=True).encode()
    beside = folder / f".{TABLE_FILE}.new"
    beside.unlink(missing_ok=True)
    _write(beside, nonce + key.encrypt(nonce, plain, _CONTEXT))
    beside.replace(folder / TABLE_FILE)
    _sync(folder)


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
