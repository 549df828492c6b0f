"""Who signed a tag: the inverse of `flows/tag.py`, without git's or OpenSSH's help.

Rules:

- TSG-1  The signature holds over every byte of the tag object before it, in git's namespace.
- TSG-2  The key is the one that the signature carries; whether it is trusted is the caller's part.

Sources: OpenSSH PROTOCOL.sshsig; RFC 4251 Section 5; RFC 8709; RFC 5656 Section 3.1.
"""

from __future__ import annotations

import base64
import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_ssh_public_key,
)
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, Signature

from audit.errors import Refused, WrongUse
from audit.keys import key_from_pem
from flows.tag import NAMESPACE

_BEGIN, _END = b"-----BEGIN SSH SIGNATURE-----\n", b"-----END SSH SIGNATURE-----"
_MAGIC = b"SSHSIG"
_REMEDY = "Fetch the tag again from where the release was published, and compare."


def signer_of(tag: bytes) -> Key | None:
    """The key that signed a tag; None for a tag without an SSH signature.

    Args:
        tag: the tag object's bytes, as `git cat-file tag` gives them.

    Raises:
        Refused: the signature does not hold, or cannot be read.
    """
    text, begin, rest = tag.partition(_BEGIN)
    if not begin:
        return None
    try:
        encoded = b"".join(rest.partition(_END)[0].split())
        blob = base64.b64decode(encoded, validate=True)
        if base64.b64encode(blob) != encoded:
            raise ValueError("slack bits")  # noqa: TRY301 - told as all the others are
        return _verified(text, blob)
    except (
        IndexError, TypeError, ValueError, UnsupportedAlgorithm, UnverifiedSignatureError, WrongUse,
    ) as error:  # fmt: skip
        raise Refused("The tag's signature does not hold.", _REMEDY) from error


def _verified(text: bytes, blob: bytes) -> Key:
    # 1. The parts of the signature, in order.
    version, rest = int.from_bytes(blob[6:10], "big"), blob[10:]
    parts = []
    while rest:
        part, rest = _string(rest)
        parts.append(part)
    public, namespace, reserved, method, signature = parts
    if blob[:6] != _MAGIC or version != 1 or namespace != NAMESPACE.encode():
        raise ValueError("no signature of git")
    # 2. The key, as ours read it.
    kind = _string(public)[0]
    pem = load_ssh_public_key(kind + b" " + base64.b64encode(public)).public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    key = key_from_pem(pem)
    # 3. What was signed: the digest of the tag's text, bound to the namespace.
    digest = hashlib.new(method.decode("ascii"), text).digest()
    signed = _MAGIC + b"".join(map(_packed, [namespace, reserved, method, digest]))
    # 4. The signature, out of SSH's form.
    named, tail = _string(signature)
    raw = _string(tail)[0]
    if named != kind or method not in (b"sha256", b"sha512"):
        raise ValueError("another kind of signature")
    if kind != b"ssh-ed25519":
        first, tail = _string(raw)
        second = _string(tail)[0]
        raw = encode_dss_signature(int.from_bytes(first, "big"), int.from_bytes(second, "big"))
    key.verify_signature(Signature(key.keyid, raw.hex()), signed)
    return key


def _string(data: bytes) -> tuple[bytes, bytes]:
    """SSH's `string` at the beginning, and the rest."""
    length = int.from_bytes(data[:4], "big")
    if len(data) < 4 + length:
        raise ValueError("cut off")
    return data[4 : 4 + length], data[4 + length :]


def _packed(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value
