"""A ledger with every kind of record that an export meets."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from helpers_audit import EPOCH, ORIGIN, look, sha, stage_run
from helpers_trace import chain, file_of
from securesystemslib.signer import Signer

from audit import key_events
from audit.ledger import Ledger
from audit.reading import Entry, entries
from audit.statement import event

REFUSED = {
    "checks": [
        {
            "rule": "ASS-4", "figure": "0.1 <of> \"liver\"", "limit": "at least 0.8",
            "verdict": "refused", "remedy": "=Train & again.",
        }
    ]
}  # fmt: skip


def everything(folder: Path, signer: Signer) -> tuple[str, list[Entry]]:
    """Origin and entries of a chain, key events, a signature, a release and a refused gate."""
    ledger = Ledger(folder, ORIGIN)
    later = EPOCH + timedelta(days=1)
    roles = list(key_events.ROLES)
    ledger.append(key_events.enrolled(signer.public_key, roles, "=machine", EPOCH), signer)
    ledger.append(chain(), signer)
    bundle = file_of("package/bundle", "x-1.0.0.zip")
    hold = {"version": "1.0.0", "on": True, "reason": "a claim"}
    events = [
        key_events.signature(
            [bundle], "approved", "approver", signer="Ada <Byron> & Co", comment="=1+1", at=later
        ),
        event("legal_hold", at=later, details=hold),
        event("legal_hold", at=later, details={**hold, "on": False}),
        event("finding.raised", at=later, details={"rule": "X", "what": "a\nb", "version": None}),
        look(),
    ]
    ledger.append(events, signer)
    ledger.append(stage_run(8, stage="assess", unit="", gate=REFUSED), signer)
    ledger.append(stage_run(9, subjects=[("train/twice", sha(8))]), signer)
    return ledger.origin, list(entries(ledger))
