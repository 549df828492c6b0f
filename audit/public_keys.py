"""Public keys: reading them, and the one form in which they are written and named.

Rules:

- SIG-6  A key is Ed25519, or ECDSA on P-256; its id follows from the public key alone.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)
from securesystemslib.signer import Key, SSlibKey

from audit.errors import WrongUse


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
