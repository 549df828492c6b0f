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
from collections.abc import Mapping
from typing import Any

from in_toto_attestation.v1.statement import STATEMENT_TYPE_URI
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, Signer

from audit.canonical import canonical_json
from audit.errors import Refused

PAYLOAD_TYPE = "application/vnd.in-toto+json"
LIMIT_BYTES = 4 * 2**20
"""The largest envelope that is written or read."""

_REMEDY = "Compare the ledger with its mirror or a backup; the records before it still hold."


def sign(statement: dict[str, Any], signer: Signer) -> bytes:
    """Wrap and sign a statement; `open_envelope(sign(s, k), {k}) == s`.

    Raises:
        ValueError: if the statement is too large or no JSON.
    """
    envelope = Envelope(canonical_json(statement), PAYLOAD_TYPE, {})
    envelope.sign(signer)
    raw = canonical_json(envelope.to_dict())
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
    # 1. Read the envelope, and refuse any bytes but its one encoding (ENV-2).
    envelope = _parse(raw)
    # 2. Its one signature must be by a key that the caller names (ENV-3).
    (keyid,) = envelope.signatures
    if keyid not in keys:
        raise Refused("The envelope is signed by an unknown key.", _REMEDY)
    try:
        envelope.verify([keys[keyid]], threshold=1)
    except UnverifiedSignatureError as error:
        raise Refused("The envelope's signature does not hold.", _REMEDY) from error
    # 3. The payload must be a statement, in its one encoding (ENV-1).
    statement = _statement(envelope)
    if canonical_json(statement) != envelope.payload:
        raise Refused("The envelope's payload is not canonical JSON.", _REMEDY)
    return statement


def read_statement(raw: bytes) -> dict[str, Any]:
    """The statement without its signature verified: for looking up, never for proof.

    Raises:
        Refused: if the bytes are no envelope in its one encoding.
    """
    return _statement(_parse(raw))


def _parse(raw: bytes) -> Envelope:
    if len(raw) > LIMIT_BYTES:
        raise Refused("The envelope is over the size limit.", _REMEDY)
    try:
        envelope = Envelope.from_dict(json.loads(raw))
        signatures = list(envelope.signatures.values())
        canonical = canonical_json(envelope.to_dict()) == raw
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise Refused("The bytes are no DSSE envelope.", _REMEDY) from error
    if not canonical or any(signature.unrecognized_fields for signature in signatures):
        raise Refused("The envelope's encoding is not canonical.", _REMEDY)
    if len(signatures) != 1:
        raise Refused("The envelope must carry one signature.", _REMEDY)
    if envelope.payload_type != PAYLOAD_TYPE:
        raise Refused("The envelope's payload is no in-toto statement.", _REMEDY)
    return envelope


def _statement(envelope: Envelope) -> dict[str, Any]:
    try:
        statement = json.loads(envelope.payload)
    except (RecursionError, ValueError) as error:
        raise Refused("The envelope's payload is no JSON.", _REMEDY) from error
    if not isinstance(statement, dict) or statement.get("_type") != STATEMENT_TYPE_URI:
        raise Refused("The envelope's payload is no in-toto Statement v1.", _REMEDY)
    return statement
