"""The ledger as rows: what `kette audit show` shows."""

from __future__ import annotations

from typing import Any

from audit.ledger import Ledger
from audit.record import Record


def rows(ledger: Ledger, *, stage: str | None = None, since: int = 0) -> list[dict[str, Any]]:
    """One row a record, in order of index; signatures are not verified here.

    Args:
        ledger: the ledger to read.
        stage: only records of this stage.
        since: only records from this index on.
    """
    found = (Record(index, statement) for index, statement in ledger.records(since=since))
    return [_row(record) for record in found if stage is None or record.stage == stage]


def _row(record: Record) -> dict[str, Any]:
    return {
        "index": record.index,
        "time": record.time,
        "stage": record.stage,
        "unit": record.unit,
        "event": record.kind,
        "status": record.status,
        "gate": _verdict(record.gate) if record.gate else None,
        "key": record.key,
        "commit": record.commit,
        "subjects": len(record.subjects),
    }


def _verdict(gate: dict[str, Any]) -> str:
    """The worst verdict of a gate's checks."""
    found = {check["verdict"] for check in gate["checks"]}
    return next((word for word in ("refused", "passed with findings") if word in found), "passed")
