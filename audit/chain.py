"""What the records of a release must say together: decisions alone, no files."""

from __future__ import annotations

from collections.abc import Sequence

from audit.bad import Bad
from audit.record import Record


def check_bundle(records: Sequence[Record], bundle_sha256: str) -> None:
    """Raise `Bad` unless the chain packaged this archive (EVD-3)."""
    packaged = (record.subjects for record in records if record.stage == "package")
    if not any(bundle_sha256 in {sha256 for _, sha256 in subjects} for subjects in packaged):
        raise Bad("bundle", "No record of the stage `package` names this archive.")


def check_chain(records: Sequence[Record]) -> None:
    """Raise `Bad` unless the chain is whole and no gate refused (EVD-4)."""
    made = {subject for record in records for subject in record.subjects}
    for record in records:
        for label, digest in record.inputs.items():
            outside = label == "lock" or label.startswith("source/")
            if not outside and (label, digest) not in made:
                raise Bad(f"record {record.index}", f"What made its input {label} is not here.")
        if record.gate and any(check["verdict"] == "refused" for check in record.gate["checks"]):
            raise Bad(f"record {record.index}", "Its gate refused.")
    if not any(record.stage == "package" and record.gate is not None for record in records):
        raise Bad("bundle", "The record of the gate of `package` is not here.")
