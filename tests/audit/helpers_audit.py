"""A small ledger and its signer, in a few lines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner, Key, Signer

from audit.ledger import Ledger
from audit.statement import event, statement

ORIGIN = "kette/test"
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def sha(number: int) -> str:
    return f"{number:064x}"


def stage_run(number: int = 0, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "subjects": [(f"train/file-{number}", sha(number))],
        "stage": "train",
        "unit": f"unit-{number}",
        "key": sha(number),
        "parameters": {"rate": 0.001, "patch": (8, 8, 8)},
        "inputs": {"dataset/cohort": sha(7)},
        "commit": "a" * 40,
        "lock": sha(9),
        "environment": {"torch": "2", "threads": 2},
        "findings": {"epochs": number},
        "measured": {"seconds": 1.5},
        "gate": None,
        "status": "ran",
        "started": EPOCH + timedelta(seconds=number),
        "finished": EPOCH + timedelta(seconds=number + 1),
    }
    return statement(**values | changes)


def look(number: int = 0) -> dict[str, Any]:
    return event("look", at=EPOCH, details={"split": "test", "number": number})


def new_signer() -> Signer:
    return CryptoSigner.generate_ed25519()


def keys_of(*signers: Signer) -> dict[str, Key]:
    return {signer.public_key.keyid: signer.public_key for signer in signers}


def new_ledger(folder: Path, signer: Signer, sizes: tuple[int, ...] = (3, 1, 2)) -> Ledger:
    """Batches of these sizes, each of different records, with a checkpoint over all."""
    ledger = Ledger(folder, ORIGIN)
    number = 0
    for size in sizes:
        ledger.append([stage_run(number + step) for step in range(size)], signer)
        number += size
    ledger.checkpoint(signer)
    return ledger


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
