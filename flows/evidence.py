"""A project's ledger, read offline: no lock, no worker, no Prefect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from audit.keys import public_keys
from audit.ledger import Ledger
from audit.reading import Selection
from audit.show import rows
from flows.chain import place_of
from stages.project import Machine


def _ledger(project: Path) -> tuple[Ledger, Path]:
    place, _ = place_of(project, Machine.here())
    return Ledger(place.ledger, origin=f"kette/{place.name}"), place.keys


def verify_ledger(project: Path) -> dict[str, Any]:
    """Check every record and checkpoint.

    Returns:
        The fields of `kette audit verify --json`.
    """
    ledger, keys = _ledger(project)
    found = ledger.verify(public_keys(keys))
    return {
        "ok": found.ok,
        "records": found.records,
        "covered": found.covered,
        "first_bad": found.first_bad,
        "reason": found.reason,
    }


def show_ledger(project: Path, selection: Selection) -> list[dict[str, Any]]:
    """The selected records, as rows."""
    ledger, _ = _ledger(project)
    return rows(ledger, selection)
