r"""Signed checkpoints: the size and root of the tree at one time, as a C2SP signed note.

    kette/phantom
    40
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

    — kette/phantom <base64 of 4 bytes of key hash and the signature>

Rules:

- CHK-1  A note has exactly these lines and bytes: one signature, no extension, canonical base64.
- CHK-2  The key's name is the ledger's origin, so that a note of another ledger does not open.
- CHK-3  The signature is of the note's text: Ed25519 (signed-note's type 0x01), or ECDSA on P-256
         with SHA-256 in DER (type 0x02) for keys in devices that have no Ed25519.

Sources: C2SP signed-note, tlog-checkpoint. The key hash is SHA-256(name || "\n" || 0x01 || key)[:4]
for Ed25519; for ECDSA it is SHA-256(DER of the public key's SubjectPublicKeyInfo)[:4].
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, Signature, Signer

from audit.errors import Refused, WrongUse

LIMIT_BYTES = 4096

_ORIGIN = re.compile(r"[!-*,-~]{1,200}")  # printable ASCII without space and "+"
_NOTE = re.compile(
    r"(?P<text>(?P<origin>[^\n]+)\n(?P<size>0|[1-9][0-9]{0,17})\n(?P<root>[^\n]{44})\n)"
    r"\n— (?P<name>[^ \n]+) (?P<signature>[A-Za-z0-9+/]+=*)\n"
)
_REMEDY = "Compare the checkpoint with one kept elsewhere: the mirror, a bundle or a backup."


@dataclass(frozen=True)
class Checkpoint:
    """The tree of one ledger at one size."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> bytes:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n".encode()


def sign_checkpoint(checkpoint: Checkpoint, signer: Signer) -> bytes:
    """The signed note; `open_checkpoint(sign_checkpoint(c, k), c.origin, {k}) == c`.

    Raises:
        WrongUse: if the origin or the key's type is not allowed in a note.
    """
    if not _ORIGIN.fullmatch(checkpoint.origin):
        raise WrongUse(
            "The ledger's origin has characters that a checkpoint does not allow.",
            "Use printable ASCII without spaces and plus signs.",
        )
    signature = bytes.fromhex(signer.sign(checkpoint.text).signature)
    return _note(checkpoint, key_hash(checkpoint.origin, signer.public_key), signature)


def open_checkpoint(raw: bytes, origin: str, keys: Mapping[str, Key]) -> Checkpoint:
    """Verify a note.

    Args:
        raw: the note's bytes.
        origin: the ledger's origin.
        keys: key id → public key, for each key that may have signed.

    Raises:
        Refused: if one bit is not as it was signed, or the origin or key is another.
    """
    # 1. Take the note apart, and refuse any bytes but its one encoding (CHK-1).
    checkpoint, blob = _parse(raw)
    if raw != _note(checkpoint, blob[:4], blob[4:]):
        raise Refused("The checkpoint's encoding is not canonical.", _REMEDY)
    # 2. Name and origin must be this ledger's (CHK-2).
    if checkpoint.origin != origin:
        raise Refused("The checkpoint is another ledger's.", _REMEDY)
    # 3. The key that the hash points to must be given, and its signature hold.
    for key in keys.values():
        if blob[:4] == key_hash(origin, key):
            try:
                key.verify_signature(Signature(key.keyid, blob[4:].hex()), checkpoint.text)
            except UnverifiedSignatureError as error:
                raise Refused("The checkpoint's signature does not hold.", _REMEDY) from error
            return checkpoint
    raise Refused("The checkpoint is signed by an unknown key.", _REMEDY)


def read_checkpoint(raw: bytes) -> Checkpoint:
    """What a note claims, without its signature verified: for looking up, never for proof.

    Raises:
        Refused: if the bytes are no signed checkpoint.
    """
    return _parse(raw)[0]


def origin_of(raw: bytes) -> str:
    """The origin that a note claims, for a verifier who was told a key but no origin."""
    return raw.split(b"\n", 1)[0].decode(errors="replace")


def key_hash(name: str, key: Key) -> bytes:
    """The first 4 bytes that name a key in a note (CHK-3).

    Raises:
        WrongUse: for a key of another type.
    """
    if key.scheme == "ed25519":
        public = bytes.fromhex(key.keyval["public"])
        return hashlib.sha256(name.encode() + b"\n\x01" + public).digest()[:4]
    if key.scheme == "ecdsa-sha2-nistp256":
        public = load_pem_public_key(key.keyval["public"].encode()).public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        return hashlib.sha256(public).digest()[:4]
    raise WrongUse(
        "A checkpoint is signed with Ed25519 or ECDSA P-256.", "Choose a signing key of these."
    )


def _parse(raw: bytes) -> tuple[Checkpoint, bytes]:
    """The checkpoint, and key hash with signature."""
    try:
        match = _NOTE.fullmatch(raw[:LIMIT_BYTES].decode())
        if match is not None:
            root = base64.b64decode(match["root"], validate=True)
            blob = base64.b64decode(match["signature"], validate=True)
            return Checkpoint(match["origin"], int(match["size"]), root), blob
    except ValueError:
        pass  # said below
    raise Refused("The bytes are no signed checkpoint.", _REMEDY)


def _note(checkpoint: Checkpoint, hint: bytes, signature: bytes) -> bytes:
    blob = base64.b64encode(hint + signature).decode()
    return checkpoint.text + f"\n— {checkpoint.origin} {blob}\n".encode()
