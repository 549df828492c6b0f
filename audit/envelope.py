"""Signed envelopes: a statement in DSSE, in exactly one encoding.

Rules:

- ENV-1  The payload is the statement's canonical JSON; its type is in-toto's.
- ENV-2  An envelope is canonical JSON, its base64 canonical too, with one signature and no other
         field. Anything else is refused, so that no bit can change unseen.
- ENV-3  An envelope opens only with a key that the caller names.

Source: DSSE v1.0.2 (secure-systems-lab/dsse), envelope and pre-authentication encoding.
"""

from __future__ import annotations

import json
import re
from binascii import Error as BadBase64
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from in_toto_attestation.v1.statement import STATEMENT_TYPE_URI
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, Signature, Signer

from audit.canonical import canonical_json
from audit.errors import Refused

PAYLOAD_TYPE = "application/vnd.in-toto+json"
LIMIT_BYTES = 4 * 2**20
"""The largest envelope that is written or read."""

_HEAD = b'{"payload":"'
_TAIL = re.compile(
    rb'","payloadType":"application/vnd\.in-toto\+json","signatures":'
    rb'\[\{"keyid":"([0-9a-f]{64})","sig":"([A-Za-z0-9+/]{4,200}={0,2})"\}\]\}'
)
"""All of canonical JSON's one encoding that is not the payload itself."""
_REMEDY = "Compare the ledger with its mirror or a backup; the records before it still hold."


def sign(statement: dict[str, Any], signer: Signer) -> bytes:
    """Wrap and sign a statement; `open_envelope(sign(s, k), {k}) == s`.

    Raises:
        ValueError: if the statement is too large or no JSON.
    """
    payload = canonical_json(statement)
    signature = signer.sign(_signed(payload))
    raw = canonical_json(
        {
            "payload": _base64(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [
                {
                    "keyid": signature.keyid,
                    "sig": _base64(bytes.fromhex(signature.signature)).decode(),
                }
            ],
        }
    )
    if len(raw) > LIMIT_BYTES:
        raise ValueError(f"a record of {len(raw)} bytes is over the limit of {LIMIT_BYTES}")
    return raw


def open_envelope(raw: bytes, keys: Mapping[str, Key]) -> dict[str, Any]:
    """Verify an envelope and give its statement.

    Args:
        raw: the envelope's bytes.
        keys: key id → public key, for each key that may have signed.

    Raises:
        Refused: if one bit is not as it was signed, or the key is none of these.
    """
    # 1. Take the envelope apart, and refuse any bytes but its one encoding (ENV-2).
    payload, keyid, signature = _parse(raw)
    # 2. Its one signature must be by a key that the caller names (ENV-3).
    if keyid not in keys:
        raise Refused("The envelope is signed by an unknown key.", _REMEDY)
    _verify(keys[keyid], signature, _signed(payload))
    # 3. The payload must be a statement, in its one encoding (ENV-1).
    statement = _statement(payload)
    if not _is_canonical(statement, payload):
        raise Refused("The envelope's payload is not canonical JSON.", _REMEDY)
    return statement


def read_statement(raw: bytes) -> dict[str, Any]:
    """The statement without its signature verified: for looking up, never for proof.

    Raises:
        Refused: if the bytes are no envelope in its one encoding.
    """
    return _statement(_parse(raw)[0])


def keyid_of(raw: bytes) -> str:
    """The key that an envelope names.

    Raises:
        Refused: if the bytes are no envelope.
    """
    return _split(raw)[1].decode()


def _parse(raw: bytes) -> tuple[bytes, str, bytes]:
    """Payload, key id and signature."""
    payload, keyid, signature = _split(raw)
    return _decoded(payload), keyid.decode(), _decoded(signature)


def _split(raw: bytes) -> tuple[bytes, bytes, bytes]:
    """The three texts between what is fixed; parsing JSON and writing it again would cost more."""
    if len(raw) > LIMIT_BYTES:
        raise Refused("The envelope is over the size limit.", _REMEDY)
    end = raw.find(b'"', len(_HEAD))
    tail = _TAIL.fullmatch(raw, end) if end > 0 and raw.startswith(_HEAD) else None
    if tail is None:
        raise Refused("The bytes are no DSSE envelope in its canonical encoding.", _REMEDY)
    return raw[len(_HEAD) : end], tail[1], tail[2]


def _decoded(text: bytes) -> bytes:
    """Base64 in its one encoding: alphabet, padding and slack bits are what we would write."""
    try:
        data = a2b_base64(text)
    except BadBase64 as error:
        raise Refused("The envelope's base64 cannot be read.", _REMEDY) from error
    if _base64(data) != text:
        raise Refused("The envelope's base64 is not canonical.", _REMEDY)
    return data


def _base64(data: bytes) -> bytes:
    return b2a_base64(data, newline=False)


def _signed(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding of type and payload."""
    return b"DSSEv1 %d %b %d %b" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def _verify(key: Key, signature: bytes, signed: bytes) -> None:
    try:
        if key.keytype == "ed25519":
            _ed25519(key.keyval["public"]).verify(signature, signed)
        else:
            key.verify_signature(Signature(key.keyid, signature.hex()), signed)
    except (InvalidSignature, UnverifiedSignatureError) as error:
        raise Refused("The envelope's signature does not hold.", _REMEDY) from error


@lru_cache(maxsize=64)
def _ed25519(public: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))


def _statement(payload: bytes) -> dict[str, Any]:
    try:
        statement = json.loads(payload)
    except (RecursionError, ValueError) as error:
        raise Refused("The envelope's payload is no JSON.", _REMEDY) from error
    if not isinstance(statement, dict) or statement.get("_type") != STATEMENT_TYPE_URI:
        raise Refused("The envelope's payload is no in-toto Statement v1.", _REMEDY)
    return statement


def _is_canonical(statement: dict[str, Any], payload: bytes) -> bool:
    try:
        return canonical_json(statement) == payload
    except ValueError:  # a number or text that JSON does not have
        return False
