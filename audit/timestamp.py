"""Time stamps of others (RFC 3161) over checkpoints: the ledger stood so, no later than this time.

A time stamp does not need the ledger's clock or its owner's word. It is the authority's response as
it came (`.tsr`), beside the note whose bytes it is over, so that `openssl ts -verify` reads it too.

Rules:

- TST-1  The response must be granted, over these bytes, with the nonce of this request; it carries
         the authority's certificate.
- TST-2  It holds where its chain ends in a root that the verifier gives, at the time it states;
         later expiry of a certificate takes nothing from it.
"""

from __future__ import annotations

import hashlib
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from rfc3161_client import (
    HashAlgorithm,
    PKIStatus,
    TimestampRequestBuilder,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

from audit.errors import Fault, Refused, WrongUse

SUFFIX = ".tsr"
LIMIT_BYTES = 64 * 1024
SECONDS = 30
"""How long an authority may take."""

_REMEDY = "Ask the authority again, or another one."


def request(note: bytes, authority: str) -> bytes:
    """Let an authority stamp a checkpoint.

    Args:
        note: the signed checkpoint.
        authority: its http or https URL.

    Returns:
        The response (DER), checked but for its chain (TST-1); `verify` holds it against roots.

    Raises:
        WrongUse: for a URL of another scheme.
        Fault: the authority cannot be reached.
        Refused: it refused, or its answer is to something else.
    """
    if not authority.startswith(("http://", "https://")):
        raise WrongUse("A time stamp authority has an http or https URL.", "Mend `KETTE_TSA`.")
    query = TimestampRequestBuilder().data(note).hash_algorithm(HashAlgorithm.SHA256).build()
    call = urllib.request.Request(  # noqa: S310 - http and https alone, checked above
        authority, query.as_bytes(), {"Content-Type": "application/timestamp-query"}
    )
    try:
        with urllib.request.urlopen(call, timeout=SECONDS) as answer:  # noqa: S310 - as above
            raw: bytes = answer.read(LIMIT_BYTES + 1)
    except OSError as error:
        raise Fault(
            f"The time stamp authority could not be reached ({type(error).__name__}).",
            "Check the network; the next run asks again.",
        ) from None
    try:
        response = decode_timestamp_response(raw)
        granted = PKIStatus(response.status) == PKIStatus.GRANTED
        same = granted and response.tst_info.nonce == query.nonce
        same = same and response.tst_info.message_imprint.message == hashlib.sha256(note).digest()
    except ValueError as error:
        raise Refused("The authority's answer is no time stamp.", _REMEDY) from error
    if not same:
        raise Refused("The authority gave no time stamp over this checkpoint.", _REMEDY)
    return raw


def verify(token: bytes, note: bytes, roots: Sequence[x509.Certificate]) -> datetime:
    """Hold a time stamp against a checkpoint and trusted roots (TST-2).

    Args:
        token: the authority's response (DER).
        note: the signed checkpoint.
        roots: certificates that the verifier trusts.

    Returns:
        When the authority saw the checkpoint, UTC.

    Raises:
        Refused: if it does not hold.
    """
    builder = VerifierBuilder()
    for root in roots:
        builder = builder.add_root_certificate(root)
    try:
        response = decode_timestamp_response(token)
        builder.build().verify_message(response, note)
        return response.tst_info.gen_time.astimezone(UTC)
    except (VerificationError, ValueError) as error:
        raise Refused("A checkpoint's time stamp does not hold.", _REMEDY) from error


def read_roots(path: Path) -> list[x509.Certificate]:
    """The certificates of a PEM file.

    Raises:
        WrongUse: if there is none.
    """
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise WrongUse(
            "The file of trusted roots cannot be read.", "Give certificates as PEM."
        ) from error
