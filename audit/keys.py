"""The folder of a project's keys: this machine's signing key, and keys of its own for some roles.

    signer.pub, signer.pem        the machine's key
    <role>.pub, <role>.pem        its key for one role, where that is another
    <slot>.uri                    where the private key lies, if not in the file beside
    <slot>.next.…                 the key that takes a slot's place: a rotation has begun

Rules:

- SIG-1  A private key on disk is PKCS#8 PEM of mode 0600 in a folder of mode 0700; one that others
         can read is refused.
- SIG-2  Its public key stands beside it (PEM); one that does not fit is refused. A private key that
         is gone is never replaced silently.
- SIG-3  A key is created once: of two processes at once, both get the same.
- SIG-5  While a key is being replaced, nothing else is signed with its slot.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, Key, Signer, SSlibKey

from audit.errors import WrongUse
from audit.signers import FILE, KEYRING, new_in_keyring, signer_at

SIGNER: Final = "signer"
PRIVATE: Final = "signer.pem"
PUBLIC: Final = "signer.pub"


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
    def next(self) -> Slot:
        """The slot of the key that is to take this one's place."""
        return Slot(self.folder, f"{self.name}.next")


def load_or_create_signer(
    folder: Path, uri: str | None = None, *, role: str = "pipeline"
) -> Signer:
    """This machine's signer for a role; without any key, one is created.

    Args:
        folder: the project's folder of keys.
        uri: where the machine's key lies, as `audit.signers` says; default: what the folder says.
        role: what will be signed; the same key for all, unless the folder holds one of its own.

    Raises:
        Refused: if others can read the private key (SIG-1), or the public key does not fit (SIG-2).
        WrongUse: if the key is missing, of another type, or being replaced (SIG-5).
    """
    slot = slot_of(folder, role)
    if slot.next.public.exists():
        raise WrongUse(
            "This machine's key is being replaced, and that has not ended.",
            "Run `kette keys rotate` again: it goes on where it stopped.",
        )
    return fill(slot, uri if slot.name == SIGNER else None)


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


def public_keys(folder: Path) -> dict[str, Key]:
    """Key id → key, of every `*.pub` in a folder."""
    keys = [load_public(path) for path in sorted(folder.glob("*.pub"))]
    return {key.keyid: key for key in keys}


def load_public(path: Path) -> Key:
    """Read one public key (PEM).

    Raises:
        WrongUse: if the file is no public key of ours.
    """
    try:
        return key_from_pem(path.read_bytes())
    except OSError as error:
        raise WrongUse("The public key cannot be read.", "Give a PEM file.") from error


def key_from_pem(pem: bytes) -> Key:
    """A public key: Ed25519, or ECDSA on P-256; its id follows from it alone.

    Raises:
        WrongUse: for other bytes or another type of key.
    """
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise WrongUse("The public key cannot be read.", "Give a PEM file.") from error
    match key:
        case Ed25519PublicKey():
            return SSlibKey.from_crypto(key)
        case EllipticCurvePublicKey() if isinstance(key.curve, SECP256R1):
            return SSlibKey.from_crypto(key)
    raise WrongUse(
        "The public key is neither Ed25519 nor ECDSA P-256.", "Give a key of these types."
    )


def public_pem(key: Key) -> bytes:
    """The one PEM form of a public key; `key_from_pem` reads it back.

    Raises:
        WrongUse: for another type of key.
    """
    if key.keytype == "ed25519":
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.keyval["public"]))
        return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    pem = str(key.keyval["public"]).encode()
    if key != key_from_pem(pem):
        raise WrongUse("The public key is not in its usual form.", "Give it as a PEM file.")
    return pem


def _write(path: Path, data: bytes, mode: int) -> None:
    """Write a file whole or not at all, unless it is there or another process was first (SIG-3)."""
    if path.exists():
        return
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return
    finally:
        temporary.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
