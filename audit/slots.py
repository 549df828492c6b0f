"""The folder of a project's keys: a slot for this machine's key, and for keys of its own by role.

    signer.pub, signer.pem        the machine's key
    <role>.pub, <role>.pem        its key for one role, where that is another
    <slot>.uri                    where the private key lies, if not in the file beside
    <slot>.next.…                 the key that is to take a slot's place: a rotation has begun

Rules:

- SIG-2  A slot's public key stands beside its private one (PEM); one that does not fit is refused.
         A private key that is gone is never replaced silently.
- SIG-3  A key is created once: of two processes at once, both get the same.
- SIG-7  Filling, replacing and emptying a slot may be killed at any point: the same call finishes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from securesystemslib.signer import CryptoSigner, Key, Signer

from audit import durable
from audit.errors import KetteError
from audit.public_keys import load_public, public_pem
from audit.signers import FILE, KEYRING, forget, new_in_keyring, signer_at

SIGNER: Final = "signer"
_LOCK: Final = ".lock"
_TEMPORARY: Final = ".new"


@dataclass(frozen=True)
class Slot:
    """The place of one key in the folder."""

    folder: Path
    name: str

    @property
    def private(self) -> Path:
        return self.folder / f"{self.name}.pem"

    @property
    def public(self) -> Path:
        return self.folder / f"{self.name}.pub"

    @property
    def uri(self) -> Path:
        return self.folder / f"{self.name}.uri"

    @property
    def complete(self) -> bool:
        """Whether it holds a key with the place of its private half."""
        return self.public.exists() and (self.private.exists() or self.uri.exists())

    @property
    def next(self) -> Slot:
        """The slot of the key that is to take this one's place."""
        return Slot(self.folder, f"{self.name}.next")


def slot_of(folder: Path, role: str) -> Slot:
    """The slot of this machine's key for a role."""
    own = Slot(folder, role)
    return own if own.public.exists() else Slot(folder, SIGNER)


def fill(slot: Slot, uri: str | None = None, public: Key | None = None) -> Signer:
    """The signer in a slot; an empty slot gets a key first.

    Args:
        slot: the slot.
        uri: where the key lies; default: what the slot says, else a file beside.
        public: the public key, where the key's place does not tell it.

    Raises:
        Refused, WrongUse, Fault: as `audit.signers.signer_at`.
    """
    slot.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    known = load_public(slot.public) if slot.public.exists() else public
    uri = uri or (slot.uri.read_text("utf-8") if slot.uri.exists() else None)
    if uri is None and known is None and not slot.private.exists():
        _write(slot.private, CryptoSigner.generate_ed25519().private_bytes, mode=0o600)
    if uri is not None and uri.startswith(KEYRING) and known is None:
        signer = new_in_keyring(uri)
    else:
        signer = signer_at(uri or f"{FILE}{slot.private}", known)
    _write(slot.public, public_pem(signer.public_key), mode=0o644)
    return signer


def install(slot: Slot, uri: str | None, public: Key | None) -> Signer:
    """Fill a slot with a key that lies elsewhere, and remember where; without URI, a file beside.

    Raises:
        Refused, WrongUse, Fault: as `fill`; an empty slot then stays empty.
    """
    if uri is None or slot.public.exists():
        return fill(slot, uri, public)
    slot.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write(slot.uri, uri.encode(), mode=0o600)
    try:
        return fill(slot, None, public)
    except KetteError:
        slot.uri.unlink()
        raise


def take_place(slot: Slot) -> None:
    """Put the next key in a slot, and remove the old one's private half (SIG-7)."""
    new = load_public(slot.next.public)
    # 1. The private key, or where it lies. What the slot then holds of the new key tells its kind.
    if slot.next.private.exists():
        slot.next.private.replace(slot.private)
    beside = _is_beside(slot, new)
    if slot.uri.exists() and (beside or slot.next.uri.exists()):
        forget(slot.uri.read_text("utf-8"))
    if slot.next.uri.exists():
        slot.next.uri.replace(slot.uri)
    # 2. What is left of the old one.
    (slot.uri if beside else slot.private).unlink(missing_ok=True)
    durable.sync_folder(slot.folder)
    # 3. The public key last: while the next one's is there, this is not finished.
    slot.next.public.replace(slot.public)
    durable.sync_folder(slot.folder)


def forsake(slot: Slot) -> None:
    """Empty a slot whose private key is elsewhere and stays there."""
    slot.uri.unlink(missing_ok=True)
    slot.public.unlink(missing_ok=True)
    durable.sync_folder(slot.folder)


def empty(slot: Slot) -> None:
    """Remove a slot's key, the public half last (SIG-7)."""
    if slot.uri.exists():
        forget(slot.uri.read_text("utf-8"))
    for path in (slot.private, slot.uri, slot.public):
        path.unlink(missing_ok=True)
    durable.sync_folder(slot.folder)


def _is_beside(slot: Slot, key: Key) -> bool:
    try:
        return signer_at(f"{FILE}{slot.private}").public_key == key
    except KetteError:
        return False


def _write(path: Path, data: bytes, mode: int) -> None:
    """Write a file whole or not at all, unless it is there or another process was first (SIG-3).

    What a killed process left beside may be a private key: the next write removes it.
    """
    if path.exists():
        return
    with durable.exclusive(path.with_name(_LOCK)):
        temporary = path.with_name(_TEMPORARY)
        temporary.unlink(missing_ok=True)
        if path.exists():
            return
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        temporary.rename(path)
        durable.sync_folder(path.parent)
