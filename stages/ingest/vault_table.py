"""What a vault holds: whose pseudonym is whose, the secrets, and whom not to take in again."""

from __future__ import annotations

import secrets
from typing import Any

from audit.errors import WrongUse
from stages.ingest import suppression
from stages.ingest.keys import SubjectSecrets, fingerprint, pseudonym


class Vault:
    """An open vault: `stages.ingest.keys.Keys`, and the way it is written back."""

    def __init__(self, table: dict[str, Any]) -> None:
        self._table = table
        table.setdefault("suppressed", [])
        self._names = {
            (entry["patient_id"], entry["issuer"]): name
            for name, entry in table["subjects"].items()
        }
        self.changed = False

    @property
    def domain_key(self) -> bytes:
        return bytes.fromhex(self._table["domain_key"])

    @property
    def version(self) -> str:
        return f"vault-{fingerprint(self.domain_key)}"

    def subject(self, patient_id: str, issuer: str) -> SubjectSecrets:
        """A patient's pseudonym and secret; drawn and entered at the first call (VLT-5)."""
        identity = (patient_id, issuer)
        if identity not in self._names:
            self._names[identity] = self._enter(*identity)
            self.changed = True
        name = self._names[identity]
        return SubjectSecrets(name, bytes.fromhex(self._table["subjects"][name]["secret"]))

    def named(self, pseudonym: str) -> SubjectSecrets | None:
        """The secrets behind a pseudonym; None if the vault knows none, or no longer."""
        entry = self._table["subjects"].get(pseudonym)
        return entry and SubjectSecrets(pseudonym, bytes.fromhex(entry["secret"]))

    def _enter(self, patient_id: str, issuer: str) -> str:
        """Draw a patient's secret; its pseudonym is nobody else's."""
        subjects = self._table["subjects"]
        while True:
            secret = secrets.token_bytes(32)
            name = pseudonym(secret)
            if name not in subjects:
                break
        subjects[name] = {"patient_id": patient_id, "issuer": issuer, "secret": secret.hex()}
        return name

    def identity(self, name: str) -> tuple[str, str]:
        """Patient ID and issuer behind a pseudonym.

        Raises:
            WrongUse: the vault knows no such subject, or no longer.
        """
        entry = self._entry(name)
        return entry["patient_id"], entry["issuer"]

    def destroy(self, name: str) -> None:
        """Forget a subject, and that patient's right to come again (VLT-7); see `destroy` below.

        Raises:
            WrongUse: as `identity`.
        """
        identity = self.identity(name)
        listed = {*self._table["suppressed"], suppression.entry(self.domain_key, *identity)}
        self._table["suppressed"] = sorted(listed)
        del self._table["subjects"][name], self._names[identity]
        self.changed = True

    def suppressed(self, patient_id: str, issuer: str) -> bool:
        """Whether a patient's subject was destroyed."""
        return suppression.entry(self.domain_key, patient_id, issuer) in self._table["suppressed"]

    def _entry(self, name: str) -> dict[str, str]:
        entry: dict[str, str] | None = self._table["subjects"].get(name)
        if entry is None:
            raise WrongUse(
                "The vault knows no subject of that pseudonym.",
                "Compare it with the dataset; a subject that was erased cannot be found again.",
            )
        return entry

    def export(self) -> dict[str, Any]:
        """The table, as it is encrypted."""
        return self._table
