"""The way back from a pseudonym to a patient: recorded first, shown then.

Rules:

- RID-1  No identity is shown before a signed record that names pseudonym, purpose and person is on
         the disk.
- RID-2  The record, and every error, holds no identity: a purpose that quotes it is refused.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from audit.errors import WrongUse
from audit.ledger import Ledger
from audit.statement import event
from flows.ledger import cover, record, signer_for
from stages.ingest.vault import open_vault
from stages.project import Machine, Place

REIDENTIFIED: Final = "reidentified"


def reidentify(
    ledger: Ledger, place: Place, machine: Machine, pseudonym: str, *, purpose: str, person: str
) -> dict[str, Any]:
    """Record that somebody learns who a subject is, and tell who it is.

    Args:
        ledger: the project's.
        place: its folders.
        machine: this machine's settings.
        pseudonym: of the subject.
        purpose: why the identity is needed, one line.
        person: printed name of who will know it.

    Returns:
        `pseudonym`, `record`, `patient_id`, `issuer`.

    Raises:
        WrongUse: the vault does not know the pseudonym, or purpose or person is empty, not one
            line, or quotes the identity (RID-2).
        Refused, Fault: the record cannot be signed or written; then nothing is shown (RID-1).
    """
    details = {"pseudonym": pseudonym, "purpose": purpose.strip(), "person": person.strip()}
    if not all(text and text.isprintable() for text in details.values()):
        raise WrongUse("Purpose or person is empty or not printable.", "Give one line of text.")
    with open_vault(place.vault) as vault:
        patient_id, issuer = vault.identity(pseudonym)
    said = " ".join(details.values()).casefold()
    if patient_id.casefold() in said:
        raise WrongUse(
            "The purpose quotes what the record must not hold.", "Leave the patient's ID out of it."
        )
    signer = signer_for(place, machine, "pipeline")
    index = record(ledger, signer, event(REIDENTIFIED, at=datetime.now(UTC), details=details))
    cover(ledger, place, machine)
    return {
        "pseudonym": pseudonym,
        "record": index,
        "patient_id": patient_id,
        "issuer": issuer,
    }
