"""Where the ledger's files lie, and how one is read.

    checkpoint                 the newest signed checkpoint
    lock                       empty; writers lock it
    entries/000/012/345.jsonl  a batch: the envelopes of records 12345, 12346, …, one a line
    append.tmp                 what a killed writer left: no record, removed by the next writer

Rules:

- LAY-1  A batch is named by its first record's index; the next batch begins where it ends.
- LAY-2  No other file, link or folder lies in a ledger.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from audit.envelope import LIMIT_BYTES
from audit.errors import Refused

CHECKPOINT = "checkpoint"
LOCK = "lock"
TEMPORARY = "append.tmp"
ENTRIES = "entries"

BATCH_BYTES = 8 * LIMIT_BYTES
"""The largest batch that is written or read."""
RECORDS = 10**9
"""The most records that a ledger holds."""

_BATCH = re.compile(rf"{ENTRIES}/([0-9]{{3}})/([0-9]{{3}})/([0-9]{{3}})\.jsonl")
_FOLDER = re.compile(rf"{ENTRIES}(/[0-9]{{3}}){{0,2}}")


def batch_path(ledger: Path, first: int) -> Path:
    """Where the batch lies whose first record has this index."""
    digits = f"{first:09d}"
    return ledger / ENTRIES / digits[:3] / digits[3:6] / f"{digits[6:]}.jsonl"


def batches(ledger: Path) -> list[int]:
    """First indexes of all batches, in order."""
    found = (_first(path, ledger) for path in (ledger / ENTRIES).glob("*/*/*.jsonl"))
    return sorted(first for first in found if first is not None)


def newest_batch(ledger: Path) -> int | None:
    """First index of the last batch, without listing the others; a folder may be empty."""
    entries = ledger / ENTRIES
    for folder in _descending(entries):
        for inner in _descending(folder):
            for path in _descending(inner):
                first = _first(path, ledger)
                if first is not None:
                    return first
    return None


def read_batch(ledger: Path, first: int) -> list[bytes]:
    """The envelopes of a batch.

    Raises:
        Refused: if the batch is empty, cut off or over the limit.
    """
    path = batch_path(ledger, first)
    with path.open("rb") as file:
        data = file.read(BATCH_BYTES + 1)
    if len(data) > BATCH_BYTES or not data.endswith(b"\n"):
        raise Refused(
            f"The batch of record {first} is empty, cut off or over the size limit.",
            "Restore the ledger from its mirror or a backup.",
        )
    return data[:-1].split(b"\n")


def strays(ledger: Path) -> Iterator[str]:
    """Relative path of everything that has no place in a ledger (LAY-2), in order."""
    for path in sorted(ledger.rglob("*")):
        relative = path.relative_to(ledger).as_posix()
        if path.is_symlink() or not _has_place(relative, path):
            yield relative


def _has_place(relative: str, path: Path) -> bool:
    if path.is_dir():
        return _FOLDER.fullmatch(relative) is not None
    if not path.is_file():
        return False
    if relative == LOCK:
        return path.stat().st_size == 0
    return relative in {CHECKPOINT, TEMPORARY} or _BATCH.fullmatch(relative) is not None


def _first(path: Path, ledger: Path) -> int | None:
    match = _BATCH.fullmatch(path.relative_to(ledger).as_posix())
    return int("".join(match.groups())) if match else None


def _descending(folder: Path) -> list[Path]:
    return sorted(folder.iterdir(), reverse=True) if folder.is_dir() else []
