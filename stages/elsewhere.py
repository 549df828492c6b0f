"""What a run leaves with others: its checkpoint, time-stamped by an authority, and the mirror.

Rules:

- OTH-1  No run is lost because others cannot be reached: a failure is told on stderr and recorded
         as a finding of the ledger (`finding.raised`), and the next run tries again.
- OTH-2  A ledger that does not extend its mirror is such a failure too, and from then on
         `kette audit verify` fails: the mirror's checkpoints are known to it.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from securesystemslib.signer import Signer

from audit import durable, layout
from audit.checkpoint import read_checkpoint
from audit.errors import KetteError
from audit.ledger import Ledger
from audit.mirror import mirror
from audit.statement import event
from audit.timestamp import SUFFIX, request
from stages.project import Machine, Place


def mirror_of(place: Place, machine: Machine) -> str | None:
    """Where this project's mirror is, if the machine has one."""
    return f"{machine.mirror.rstrip('/')}/{place.name}" if machine.mirror else None


def leave(ledger: Ledger, signer: Signer, place: Place, machine: Machine) -> list[str]:
    """Stamp and mirror the newest checkpoint, as far as the machine is told to.

    Returns:
        What failed, a sentence each; it is recorded and told already (OTH-1).
    """
    failed: list[str] = []
    if not (ledger.folder / layout.CHECKPOINT).exists():
        return failed  # a run that ended before its first record
    for rule, act in (("TST-1", _stamp), ("MIR-3", _mirror)):
        try:
            act(ledger, place, machine)
        except KetteError as error:
            failed.append(error.what)
            sys.stderr.write(f"kette: warning: {error.diagnostics()}\n")
            details = {"rule": rule, "what": error.what, "version": None}
            ledger.append(event("finding.raised", at=datetime.now(UTC), details=details), signer)
    if failed:
        ledger.checkpoint(signer)
    return failed


def _stamp(ledger: Ledger, place: Place, machine: Machine) -> None:
    """Stamp the newest checkpoint, once; note and response are kept under its size."""
    if machine.tsa is None:
        return
    note = ledger.signed_checkpoint()
    kept = place.checkpoints / str(read_checkpoint(note).size)
    token = kept.with_name(kept.name + SUFFIX)
    if token.exists() and kept.read_bytes() == note:
        return
    response = request(note, machine.tsa)
    temporary = place.checkpoints / "write.tmp"
    durable.write(kept, note, temporary)
    durable.write(token, response, temporary)


def _mirror(ledger: Ledger, place: Place, machine: Machine) -> None:
    url = mirror_of(place, machine)
    if url is not None:
        mirror(ledger, url, stamps=place.checkpoints)
