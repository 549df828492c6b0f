"""Events about keys and by people: what a ledger says of who may sign, and of what was signed.

Rules:

- KEY-1  A key is enrolled with its public key, its roles and its holder; its id must be the one
         that the public key gives.
- KEY-2  A new key that takes an old one's place proves that its holder has it: `possession` is its
         own signature over the enrolment. Where another enrols a person's public key, the custodian
         vouches for it and `possession` is null; the key proves itself by what it signs later.
- KEY-3  A signature of a person says name, role, meaning and time (21 CFR Part 11 § 11.50,
         EU GMP Annex 11 § 14).

Kinds: `key.enrolled`, `key.retired`, `key.revoked`, `signature`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, Signature, Signer

from audit.canonical import canonical_json
from audit.errors import Refused, WrongUse
from audit.public_keys import key_from_pem, public_pem
from audit.statement import event

Json = dict[str, Any]

ENROLLED: Final = "key.enrolled"
RETIRED: Final = "key.retired"
REVOKED: Final = "key.revoked"
SIGNATURE: Final = "signature"
KEY_EVENTS: Final = frozenset({ENROLLED, RETIRED, REVOKED})

ROLES: Final = ("custodian", "pipeline", "reviewer", "approver", "releaser")
MEANINGS: Final = {"reviewed": "reviewer", "approved": "approver", "released": "releaser"}
"""Meaning of a signature → the role that may give it."""

_CONTEXT: Final = "urn:kette:possession:v1"
_REMEDY = "Compare the ledger with its mirror or a backup."


@dataclass(frozen=True)
class Enrolment:
    """What a `key.enrolled` event says."""

    key: Key
    roles: tuple[str, ...]
    holder: str


def enrolled(
    key: Key, roles: Sequence[str], holder: str, at: datetime, *, possession: str | None = None
) -> Json:
    """A key may sign from here on.

    Args:
        key: the public key.
        roles: one or more of `ROLES`.
        holder: who holds the key: a person's printed name, or a machine's.
        at: aware time.
        possession: `possess(...)` of the same key, roles and holder, where the holder is here.

    Raises:
        WrongUse: for no role or an unknown one, or an empty holder.
    """
    if not roles or set(roles) - set(ROLES):
        raise WrongUse("A key needs roles.", f"Name one or more of: {', '.join(ROLES)}.")
    details = {**_claim(key, roles, _printed(holder)), "possession": possession}
    return event(ENROLLED, at=at, details=details)


def possess(signer: Signer, roles: Sequence[str], holder: str) -> str:
    """The new key's own signature over its enrolment, in hexadecimal (KEY-2)."""
    claim = _claim(signer.public_key, roles, _printed(holder))
    return signer.sign(_challenge(claim)).signature


def enrolment(details: Mapping[str, Any]) -> Enrolment:
    """What a `key.enrolled` event says, its key checked (KEY-1, KEY-2).

    Raises:
        Refused: if the details are not as `enrolled` makes them.
    """
    try:
        key = key_from_pem(details["public"].encode())
        claim = _claim(key, details["roles"], _printed(details["holder"]))
        possession = details["possession"]
        known = bool(claim["roles"]) and set(claim["roles"]) <= set(ROLES)
        if {**claim, "possession": possession} != details or not known:
            raise Refused("An enrolled key is not as its details say.", _REMEDY)
        if possession is not None:
            key.verify_signature(Signature(key.keyid, possession), _challenge(claim))
    except (AttributeError, KeyError, TypeError, ValueError, WrongUse, UnsupportedAlgorithm) as bad:
        raise Refused("An enrolment cannot be read.", _REMEDY) from bad
    except UnverifiedSignatureError as error:
        raise Refused("An enrolled key's proof of possession does not hold.", _REMEDY) from error
    return Enrolment(key, tuple(claim["roles"]), claim["holder"])


def retired(keyid: str, reason: str, at: datetime) -> Json:
    """A key signs nothing from here on; what it signed before stays good."""
    return event(RETIRED, at=at, details={"keyid": keyid, "reason": _printed(reason)})


def revoked(keyid: str, reason: str, at: datetime) -> Json:
    """A key is no longer trusted from here on: lost, stolen or misused."""
    return event(REVOKED, at=at, details={"keyid": keyid, "reason": _printed(reason)})


def signature(
    subjects: Sequence[tuple[str, str]],
    meaning: str,
    role: str,
    *,
    signer: str,
    comment: str,
    at: datetime,
) -> Json:
    """A person's signature over files (KEY-3).

    Args:
        subjects: name and SHA-256 of each file signed.
        meaning: `reviewed`, `approved` or `released`.
        role: the signer's role that allows this meaning (`MEANINGS`).
        signer: the printed name.
        comment: what the signer adds; may be empty.
        at: when it was signed; aware time.

    Raises:
        WrongUse: for no file, a meaning that its role does not give, or an empty name.
    """
    if not subjects or MEANINGS.get(meaning) != role:
        raise WrongUse(
            "A signature needs a file, and a meaning that its role may give.",
            "The meanings are: reviewed (reviewer), approved (approver), released (releaser).",
        )
    details = {"meaning": meaning, "role": role, "signer": _printed(signer), "comment": comment}
    return event(SIGNATURE, at=at, details=details, subjects=subjects)


def _claim(key: Key, roles: Sequence[str], holder: str) -> Json:
    return {
        "keyid": key.keyid,
        "keytype": key.keytype,
        "public": public_pem(key).decode(),
        "roles": [role for role in ROLES if role in roles] or list(roles),
        "holder": holder,
    }


def _challenge(claim: Json) -> bytes:
    return canonical_json({"context": _CONTEXT, **claim})


def _printed(text: str) -> str:
    """A text that a reader sees: not empty, one line."""
    if not text.strip() or not text.isprintable():
        raise WrongUse("A name or reason is empty or not printable.", "Give one line of text.")
    return text.strip()
