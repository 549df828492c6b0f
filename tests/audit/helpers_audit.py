"""A small ledger and its signer, in a few lines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner, Key, Signer

from audit.ledger import Ledger
from audit.place import Place
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


def put(index: int, key_record: int | None = 0, origin: str = ORIGIN) -> Place:
    """A place as the ledger gives it, at a time that no record here is behind."""
    return Place(origin, index, "2099-01-01T00:00:00.000000Z", key_record)


def keys_of(*signers: Signer) -> dict[str, Key]:
    return {signer.public_key.keyid: signer.public_key for signer in signers}


def new_ledger(folder: Path, signer: Signer, sizes: tuple[int, ...] = (2, 1, 2)) -> Ledger:
    """Batches of these sizes, each of different records, with a checkpoint over all.

    Record 0, in the first batch too, enrolls the key; record n is `stage_run(n)`.
    """
    ledger = Ledger(folder, ORIGIN)
    number = 1
    for size in sizes:
        ledger.append([stage_run(number + step) for step in range(size)], signer)
        number += size
    ledger.checkpoint(signer)
    return ledger


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
