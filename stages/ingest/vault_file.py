"""A vault's two files: the sealed table and its key, each written whole or not at all.

A change of keys that was killed is ended or taken back when the vault is next loaded (VLT-6).
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from audit.errors import Fault, WrongUse
from stages.ingest import vault_key

KEY_FILE: Final = "vault.key"
NEXT_KEY: Final = "vault.key.next"
"""A key that is taking the place of the other."""
TABLE_FILE: Final = "vault.bin"
SCHEMA: Final = 1
_CONTEXT: Final = b"Kette vault, schema 1"
_NONCE: Final = 12


def load(folder: Path) -> tuple[dict[str, Any], bytes]:
    """The table and its key; a change of keys that was killed is ended or taken back (VLT-6)."""
    sealed = (folder / TABLE_FILE).read_bytes()
    key, waiting = folder / KEY_FILE, folder / NEXT_KEY
    opened = None
    if not waiting.exists():
        opened = _unsealed(sealed, key)
    else:
        try:
            opened = _unsealed(sealed, key)
        except WrongUse:  # the old key was taken away already
            opened = None
        if opened is not None:
            waiting.unlink()
        else:
            opened = _unsealed(sealed, waiting)
            if opened is not None:
                waiting.replace(key)
        sync(folder)
    if opened is None:
        raise Fault(
            "The vault was changed, or its key is another's.", "Restore both from one backup."
        )
    plain, secret = opened
    table: dict[str, Any] = json.loads(plain)
    if table.get("schema") != SCHEMA:
        raise WrongUse("The vault's schema is not this program's.", "Use the program that made it.")
    return table, secret


def _unsealed(sealed: bytes, file: Path) -> tuple[bytes, bytes] | None:
    """The plain table and the key that opens it; null if that key does not."""
    try:
        key = vault_key.key_of(file.read_bytes())
        return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], _CONTEXT), key
    except (InvalidTag, ValueError):
        return None


def save(folder: Path, table: dict[str, Any], key: bytes) -> None:
    nonce = secrets.token_bytes(_NONCE)
    plain = json.dumps(table, sort_keys=True).encode()
    beside = folder / f".{TABLE_FILE}.new"
    beside.unlink(missing_ok=True)
    write(beside, nonce + AESGCM(key).encrypt(nonce, plain, _CONTEXT))
    beside.replace(folder / TABLE_FILE)
    sync(folder)


def write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def overwrite(path: Path) -> None:
    """Write a key's bytes over: its file system may keep a freed block for long."""
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
        file.flush()
        os.fsync(file.fileno())


def sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
