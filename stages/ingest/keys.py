"""Pseudonyms, UIDs and date shifts, all derived by HMAC-SHA-256 from a domain's and subject's key.

Rules:

- PSE-1  One domain key: the same UID, reader or device gets the same replacement in every run,
         process, batch and order; without the key none can be traced or tried out, and two domains
         share none.
- PSE-2  A subject's pseudonym and date shift come from a secret of the subject's own, never from
         the domain key of a vault: where the secret is destroyed, nobody who holds the domain key
         and the patient ID finds the subject's data or its original dates.
- PSE-3  Well-known UIDs, those in the standard's dictionary, stay.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Final, Protocol

PUBLIC_DEMO_KEY: Final = hashlib.sha256(b"Kette: public demo key, for phantoms alone").digest()
"""Known to everyone: whoever holds a patient ID can compute its pseudonym. Phantoms only."""
_STANDARD_ROOT: Final = "1.2.840.10008."
"""Of all UIDs in the standard's dictionary (PS3.6 Annex A)."""


@dataclass(frozen=True)
class SubjectSecrets:
    """A subject's pseudonym, and the secret that its date shift comes from."""

    pseudonym: str
    secret: bytes


class Keys(Protocol):
    """Where secrets come from: a project's vault, or the public demo key."""

    @property
    def domain_key(self) -> bytes: ...

    @property
    def version(self) -> str:
        """Names the key without showing it; stands in every record."""
        ...

    def subject(self, patient_id: str, issuer: str) -> SubjectSecrets:
        """Pseudonym and secret of a patient; the same for the same patient, always."""
        ...

    def named(self, pseudonym: str) -> SubjectSecrets | None:
        """The secrets behind a pseudonym; None if there are none, or no longer."""
        ...


class DemoKeys:
    """The public key: deterministic for everyone, secret from no one."""

    domain_key = PUBLIC_DEMO_KEY
    version = "public-demo-1"

    def subject(self, patient_id: str, issuer: str) -> SubjectSecrets:
        """Everything derives from the public key."""
        identity = json.dumps([patient_id, issuer], ensure_ascii=False)
        name = _name(derive(derive(self.domain_key, "subject"), identity))
        return self.named(name)

    def named(self, pseudonym: str) -> SubjectSecrets:
        """Also of a pseudonym that was never given: the secret derives from it."""
        return SubjectSecrets(pseudonym, derive(self.domain_key, f"subject {pseudonym}"))


def derive(key: bytes, purpose: str) -> bytes:
    """A key of its own for one purpose, 32 bytes."""
    return hmac.digest(key, purpose.encode(), "sha256")


def pseudonym(secret: bytes) -> str:
    """`s-` and ten base32 characters (50 bits) for a subject's secret."""
    return _name(derive(secret, "pseudonym"))


def reader(reader_key: bytes, name: str) -> str:
    """`r-` and eight base32 characters for a content creator's name."""
    return f"r-{_base32(derive(reader_key, name), 8)}"


def device(device_key: bytes, name: str) -> str:
    """`d-` and ten base32 characters for a device's serial number or name."""
    return f"d-{_base32(derive(device_key, name), 10)}"


def fingerprint(key: bytes) -> str:
    """Twelve hexadecimal digits that name a key and give nothing of it away."""
    return derive(key, "fingerprint").hex()[:12]


def shift_days(secret: bytes, low: int, high: int) -> int:
    """Days by which a subject's dates move: even over [low, high], never 0."""
    span = [days for days in (low, high) if days]
    drawn = int.from_bytes(derive(secret, "date shift")) % (high - low + 1)
    return low + drawn or span[0]


def replace_uid(uid_key: bytes, uid: str) -> str:
    """A UID below 2.25 for an original one (PSE-1, PSE-3).

    Source: PS3.5 Section B.2 for the form: 128 bits, here of an HMAC, as a decimal number.
    """
    if uid.startswith(_STANDARD_ROOT) and _is_listed(uid):
        return uid
    return f"2.25.{int.from_bytes(derive(uid_key, uid)[:16])}"


def _is_listed(uid: str) -> bool:
    from pydicom import config
    from pydicom.uid import UID

    return bool(UID(uid, validation_mode=config.IGNORE).type)


def _name(digest: bytes) -> str:
    return f"s-{_base32(digest, 10)}"


def _base32(digest: bytes, length: int) -> str:
    return base64.b32encode(digest).decode().lower()[:length]
