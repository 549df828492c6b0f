"""Signing keys, by URI: a file here; an HSM or a key service where `securesystemslib` knows one.

Rules:

- SIG-1  A private key on disk is PKCS#8 PEM of mode 0600 in a folder of mode 0700; one that others
         can read is refused.
- SIG-2  Its public key stands beside it (`signer.pub`, PEM); one that does not fit is refused.
- SIG-3  A key is created once: of two processes at once, both get the same.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import TypeGuard

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, Key, Signer, SSlibKey

from audit.errors import Refused, WrongUse

PRIVATE = "signer.pem"
PUBLIC = "signer.pub"
PublicKey = Ed25519PublicKey | EllipticCurvePublicKey
_FILE = "file2:"
"""The scheme by which `securesystemslib` names a PKCS#8 file."""


def load_or_create_signer(
    folder: Path, uri: str | None = None, *, role: str = "pipeline"
) -> Signer:
    """The signer that a URI names; without one, the key in `folder`, created if there is none.

    Args:
        folder: the project's folder of keys.
        uri: `file2:<path>` or another scheme of `securesystemslib`, whose public key must then
            stand in `folder` as `signer.pub`.
        role: what will be signed; the same key for all, unless the folder holds one of its own
            (`<role>.pub`).

    Raises:
        Refused: if others can read the private key (SIG-1), or the public key does not fit (SIG-2).
        WrongUse: if the key is missing, unreadable or not Ed25519.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    public = folder / PUBLIC
    if (own := folder / f"{role}.pub").exists():
        public, uri = own, f"{_FILE}{own.with_suffix('.pem')}"
    if uri is None:
        private = folder / PRIVATE
        if not private.exists():
            _create(private)
    elif uri.startswith(_FILE):
        private = Path(uri.removeprefix(_FILE))
    else:
        return _remote(uri, public)
    signer = CryptoSigner(_private_key(private))
    pem = public_pem(signer.public_key)
    if not public.exists():
        _write(public, pem, mode=0o644)
    if public.read_bytes() != pem:
        raise Refused(
            "The public key beside the signing key is another key's.",
            "Restore the pair from a backup; do not sign with a key of unknown origin.",
        )
    return signer


def public_keys(folder: Path) -> dict[str, Key]:
    """Key id → key, of every `*.pub` in a folder."""
    keys = [load_public(path) for path in sorted(folder.glob("*.pub"))]
    return {key.keyid: key for key in keys}


def load_public(path: Path) -> Key:
    """Read one public key (PEM).

    Raises:
        WrongUse: if the file is no Ed25519 public key.
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
    if not _is_allowed(key):
        raise WrongUse(
            "The public key is neither Ed25519 nor ECDSA P-256.", "Give a key of these types."
        )
    return SSlibKey.from_crypto(key)


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


def _is_allowed(key: object) -> TypeGuard[PublicKey]:
    match key:
        case Ed25519PublicKey():
            return True
        case EllipticCurvePublicKey():
            return isinstance(key.curve, SECP256R1)
    return False


def _remote(uri: str, public: Path) -> Signer:
    if not public.exists():
        raise WrongUse(
            "The signing key's public key is missing.",
            f"Export it from the key's device as PEM into the folder of keys, named {PUBLIC}.",
        )
    try:
        return Signer.from_priv_key_uri(uri, load_public(public))
    except ValueError as error:
        raise WrongUse("The signing key's URI is not understood.", "Correct the URI.") from error


def _private_key(path: Path) -> Ed25519PrivateKey:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise Refused(
                    f"The private signing key can be read by others (mode {mode:04o}).",
                    "Set its mode to 0600, and replace the key if others may have read it.",
                )
            key = load_pem_private_key(file.read(), None)
    except (OSError, TypeError, ValueError, UnsupportedAlgorithm) as error:
        raise WrongUse(
            "The private signing key cannot be read.",
            "Give an unencrypted PKCS#8 PEM file, or restore it from a backup.",
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise WrongUse("The private signing key is not Ed25519.", "Give an Ed25519 key.")
    return key


def _create(path: Path) -> None:
    """A new key; whichever process is first wins (SIG-3)."""
    _write(path, CryptoSigner.generate_ed25519().private_bytes, mode=0o600)


def _write(path: Path, data: bytes, mode: int) -> None:
    """Write a file whole or not at all, unless another process has."""
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
