"""The vault: the secrets that pseudonyms come from, and the table that leads back.

A folder of two files: `vault.key`, 32 random bytes or where they lie (`vault_key.py`), and
`vault.bin`, the table, encrypted and authenticated with them (AES-256-GCM). The table holds the
domain key, for each pseudonym the patient ID with its issuer and the subject's own secret, and a
list of whom not to take in again (`suppression.py`).

Rules:

- VLT-1  The folder is its owner's alone (0700, files 0600); one that others can open is refused.
- VLT-2  A changed table, or a table of another key, is refused; nothing of it is shown.
- VLT-3  A write is whole or not at all (temporary file, fsync, rename); one process at a time holds
         the vault (a lock that the system frees).
- VLT-4  A vault never lies in a folder that others get: project, store, data, sources, a git
         repository.
- VLT-5  A patient's entry is made once, and stays the same in every later run.
- VLT-6  Another key changes no pseudonym; killed while it is exchanged, the vault opens as before.
- VLT-7  Nothing of a destroyed subject is left in the vault but its entry of the suppression list;
         the table that was before does not open with the key that is after.
"""

from __future__ import annotations

import fcntl
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from audit.errors import WrongUse
from stages.ingest import vault_file, vault_key
from stages.ingest.vault_file import KEY_FILE, NEXT_KEY, SCHEMA, TABLE_FILE
from stages.ingest.vault_table import Vault

__all__ = [
    "KEY_FILE",
    "TABLE_FILE",
    "Vault",
    "check_place",
    "create",
    "destroy",
    "open_vault",
    "rotate",
]

_LOCK_FILE: Final = "lock"
_MISSING = "Make one with `kette init`, or restore it from its backup."


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
    key = vault_key.new_key(None)
    vault_file.write(beside / KEY_FILE, key)
    vault_file.save(
        beside, {"schema": SCHEMA, "domain_key": secrets.token_hex(32), "subjects": {}}, key
    )
    beside.rename(folder)
    vault_file.sync(folder.parent)


@contextmanager
def open_vault(folder: Path, *, dry: bool = False) -> Iterator[Vault]:
    """Hold a vault; what was added is written when the block ends without an error (VLT-3).

    With `dry` it is forgotten instead.

    Raises:
        WrongUse: there is none, others can open it (VLT-1), or its key is not where it says.
        Fault: it was changed, or its key is another's (VLT-2).
    """
    with _opened(folder) as (vault, key):
        yield vault
        if vault.changed and not dry:
            vault_file.save(folder, vault.export(), key)


def rotate(folder: Path, uri: str | None = None) -> None:
    """Put another key in the place of the vault's (VLT-6).

    1. The new key stands beside. 2. The table is written with it. 3. It takes the old one's place.

    Args:
        folder: the vault's.
        uri: where the new key shall lie (`vault_key.py`); null: in the vault's folder.

    Raises:
        WrongUse, Fault: as `open_vault`; WrongUse if the new key is the old one.
    """
    with _opened(folder) as (vault, key):
        _exchange(folder, vault, key, uri)


def destroy(folder: Path, name: str) -> None:
    """Destroy a subject's secret for good, and the key of every table that held it (VLT-7).

    A key that lies elsewhere is its owner's to exchange (`rotate`).

    Raises:
        WrongUse, Fault: as `open_vault`; WrongUse for an unknown pseudonym.
    """
    with _opened(folder) as (vault, key):
        vault.destroy(name)
        if vault_key.lies_elsewhere((folder / KEY_FILE).read_bytes()):
            vault_file.save(folder, vault.export(), key)
        else:
            _exchange(folder, vault, key, None)


def _exchange(folder: Path, vault: Vault, key: bytes, uri: str | None) -> None:
    """Write a vault with a new key: the three steps of `rotate`."""
    old, new = (folder / KEY_FILE).read_bytes(), vault_key.new_key(uri)
    if vault_key.key_of(new) == key:
        raise WrongUse("The vault has that key already.", "Name another place for the new key.")
    vault_file.write(folder / NEXT_KEY, new)
    vault_file.sync(folder)
    vault_file.save(folder, vault.export(), vault_key.key_of(new))
    vault_file.overwrite(folder / KEY_FILE)
    (folder / NEXT_KEY).replace(folder / KEY_FILE)
    vault_file.sync(folder)
    vault_key.forget(old)


@contextmanager
def _opened(folder: Path) -> Iterator[tuple[Vault, bytes]]:
    """A vault that this process holds, and its key."""
    if not (folder / KEY_FILE).is_file() or not (folder / TABLE_FILE).is_file():
        raise WrongUse("There is no vault for this project.", _MISSING)
    if any(path.stat().st_mode & 0o077 for path in (folder, folder / KEY_FILE)):
        raise WrongUse(
            "Others can open the vault.", "Run `chmod 700` on its folder, `chmod 600` on its files."
        )
    with (folder / _LOCK_FILE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        table, key = vault_file.load(folder)
        yield Vault(table), key


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
