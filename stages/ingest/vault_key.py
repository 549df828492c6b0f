"""The key of a vault: in the vault's own folder, or elsewhere, where the vault says.

    file:<path>                  a file of its owner alone
    keyring:<service>/<name>     the system's keyring
    env:<VARIABLE>               an environment variable

Elsewhere a key is written as 64 hexadecimal digits; in the vault's folder it is 32 bytes, and where
it lies elsewhere, a line that says so.

Rules:

- VKY-1  A key in a file that others can open is refused.
- VKY-2  What is no key of 32 bytes is refused; no error shows a part of it.
- VKY-3  A key that is there already is taken as it is, never written over: killed at any point, the
         same call goes on.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from audit.errors import WrongUse
from audit.signers import KEYRING, KeyringSigner

FILE: Final = "file:"
ENVIRONMENT: Final = "env:"
KINDS: Final = {FILE: "file", KEYRING: "keyring", ENVIRONMENT: "environment"}
_ELSEWHERE: Final = b"The key of this vault lies elsewhere: "
_BYTES: Final = 32
_MAKE = "Make one of 32 random bytes: `openssl rand -hex 32`."


def key_of(raw: bytes) -> bytes:
    """The key that a vault's key file holds, or names.

    Raises:
        WrongUse: the key is not where the file says, is none, or is open to others.
        ValueError: the file is neither a key nor the name of a place.
    """
    if not raw.startswith(_ELSEWHERE):
        if len(raw) != _BYTES:
            raise ValueError
        return raw
    uri = raw.removeprefix(_ELSEWHERE).decode().removesuffix("\n")
    text = _stored(uri)
    if text is None:
        raise WrongUse(
            "The vault's key is not where the vault says.",
            "Set the variable, log in as the keyring's owner, or bring the file back.",
        )
    return _key(text)


def new_key(uri: str | None) -> bytes:
    """What a vault's key file holds for a new key; one that is elsewhere is made if need be.

    Args:
        uri: where the key shall lie; null: in the vault's own folder.

    Raises:
        WrongUse: the place is none of the module's table, or holds what is no key.
    """
    if uri is None:
        return secrets.token_bytes(_BYTES)
    if uri.startswith(FILE):
        uri = f"{FILE}{Path(uri.removeprefix(FILE)).expanduser().absolute()}"
    text = _stored(uri)
    if text is None:
        text = secrets.token_hex(_BYTES)
        if uri.startswith(FILE):
            _make(Path(uri.removeprefix(FILE)), text)
        elif uri.startswith(KEYRING):
            KeyringSigner.store(uri, text)
        else:
            raise WrongUse("The variable that shall hold the vault's key is not set.", _MAKE)
    _key(text)
    return _ELSEWHERE + uri.encode() + b"\n"


def forget(raw: bytes) -> None:
    """Remove an old key from the system's keyring; a file or variable is its owner's to remove."""
    uri = raw.removeprefix(_ELSEWHERE)
    if uri != raw and uri.startswith(KEYRING.encode()):
        KeyringSigner.remove(uri.decode().removesuffix("\n"))


def lies_elsewhere(raw: bytes) -> bool:
    """Whether a vault's key file only names where the key lies."""
    return raw.startswith(_ELSEWHERE)


def _stored(uri: str) -> str | None:
    """What stands at a place; null where nothing does."""
    if uri.startswith(KEYRING):
        return KeyringSigner.stored(uri)
    if uri.startswith(ENVIRONMENT):
        return os.environ.get(uri.removeprefix(ENVIRONMENT)) or None
    if not uri.startswith(FILE):
        raise WrongUse("A vault's key cannot lie there.", f"Name one of: {', '.join(KINDS)}…")
    path = Path(uri.removeprefix(FILE))
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise WrongUse("Others can open the vault's key.", "Run `chmod 600` on its file.")
            return file.read(4 * _BYTES).decode("ascii", "replace")
    except FileNotFoundError:
        return None
    except OSError:
        raise WrongUse("The vault's key cannot be read.", "Check the file's owner.") from None


def _key(text: str) -> bytes:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != _BYTES:
        raise WrongUse("The vault's key is not 64 hexadecimal digits.", _MAKE)
    return key


def _make(path: Path, text: str) -> None:
    """Write a key's file, whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)
