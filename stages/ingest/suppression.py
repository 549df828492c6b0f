"""Suppression: a patient whose subject was destroyed is not taken in again.

Rules:

- SUP-1  The list holds keyed digests, never an identity; it lies within the encrypted vault.
- SUP-2  An instance of a suppressed patient is quarantined before a secret is drawn for it; so is
         an own output whose pseudonym the vault does not know any more.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from stages.ingest.keys import Keys, derive
from stages.ingest.quarantine import Reason

if TYPE_CHECKING:
    from stages.ingest.survey import Survey


def entry(domain_key: bytes, patient_id: str, issuer: str) -> str:
    """What the list holds for a patient: 64 hexadecimal digits (SUP-1)."""
    identity = json.dumps([patient_id, issuer], ensure_ascii=False)
    return derive(derive(domain_key, "suppression"), identity).hex()


def kept(found: Survey, secrets: Keys) -> Survey:
    """What was found, with suppressed patients' instances quarantined (SUP-2)."""
    from stages.ingest.vault_table import Vault

    if not isinstance(secrets, Vault):
        return found  # the public demo key knows no patient
    gone = {patient for patient in found.patients if secrets.suppressed(*patient)}
    erased = {name for name in found.own if secrets.named(name) is None}
    members = [m for one in gone for m in found.patients[one]]
    members += [m for name in erased for m in found.own[name]]
    refused = [(member.sha256, Reason.SUPPRESSED) for member in members]
    return replace(
        found,
        patients={one: theirs for one, theirs in found.patients.items() if one not in gone},
        own={name: theirs for name, theirs in found.own.items() if name not in erased},
        quarantined=sorted(found.quarantined + refused),
    )
