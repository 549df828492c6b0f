"""Where the ledger's files lie, and how one is read.

    checkpoint                 the newest signed checkpoint
    lock                       empty; writers lock it
    entries/000/012/345.jsonl  a batch: the envelopes of records 12345, 12346, …, one a line
    tile/0/x001/234            hashes of the tree (`audit.tiles`)
    append.tmp                 what a killed writer left: no record, removed by the next writer

Rules:

- LAY-1  A batch is named by its first record's index; the next batch begins where it ends.
- LAY-2  No other file, link or folder lies in a ledger.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from audit.bad import Bad
from audit.envelope import LIMIT_BYTES
from audit.tiles import Tile, is_tile_folder, tile_of

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
_NAMES = (re.compile(r"[0-9]{3}"), re.compile(r"[0-9]{3}"), re.compile(r"[0-9]{3}\.jsonl"))
_HIGHEST = ("999", "999", "999.jsonl")
_BLOCK = 2**16
_END = b"\n"


@dataclass(frozen=True)
class Contents:
    """What lies in a ledger's folder."""

    batches: list[int]
    """First indexes, in order."""
    tiles: list[Tile]
    """In order."""
    strays: list[str]
    """Relative path of everything that has no place in a ledger (LAY-2), in order."""


def contents(ledger: Path) -> Contents:
    """List a ledger in one pass."""
    batches, tiles, strays = [], [], []
    for path, entry in _walk(ledger, ""):
        if (match := _BATCH.fullmatch(path)) and _is_file(entry):
            batches.append(int("".join(match.groups())))
        elif (tile := tile_of(path)) and _is_file(entry):
            tiles.append(tile)
        elif not _has_place(path, entry):
            strays.append(path)
    return Contents(sorted(batches), sorted(tiles), sorted(strays))


def batches(ledger: Path) -> list[int]:
    """First indexes of all batches, in order."""
    found = (_BATCH.fullmatch(path) for path, _ in _walk(ledger / ENTRIES, f"{ENTRIES}/"))
    return sorted(int("".join(match.groups())) for match in found if match)


def batch_path(ledger: Path, first: int) -> Path:
    """Where the batch lies whose first record has this index."""
    digits = f"{first:09d}"
    return ledger / ENTRIES / digits[:3] / digits[3:6] / f"{digits[6:]}.jsonl"


def newest_batch(ledger: Path, index: int = RECORDS - 1) -> int | None:
    """First index of the last batch that begins at or before `index`; few folders are listed."""
    digits = f"{index:09d}"
    return _descend(ledger / ENTRIES, (digits[:3], digits[3:6], f"{digits[6:]}.jsonl"), "")


def read_batch(ledger: Path, first: int) -> list[bytes]:
    """The envelopes of a batch.

    Raises:
        Bad: for its first record if it is over the size limit, for its last if that is cut off.
    """
    with batch_path(ledger, first).open("rb") as file:
        data = file.read(BATCH_BYTES + 1)
    if len(data) > BATCH_BYTES:
        raise Bad(f"record {first}", "Its batch is over the size limit.")
    if not data.endswith(b"\n"):
        raise Bad(f"record {first + data.count(_END)}", "It is cut off.")
    return data[:-1].split(b"\n")


def last_of_batch(ledger: Path, first: int) -> bytes:
    """The last envelope of a batch, read from its end.

    Raises:
        Bad: for its first record, if it is empty, cut off or over the size limit.
    """
    with batch_path(ledger, first).open("rb") as file:
        start = end = file.seek(0, os.SEEK_END)
        tail = b""
        while start and tail.count(b"\n", 0, -1) == 0 and len(tail) <= LIMIT_BYTES:
            start = max(0, start - _BLOCK)
            file.seek(start)
            tail = file.read(min(_BLOCK, end - start)) + tail
            end = start
    if not tail.endswith(b"\n") or len(tail) > LIMIT_BYTES + _BLOCK:
        raise Bad(f"record {first}", "Its batch is empty, cut off or over the size limit.")
    return tail[:-1].rpartition(b"\n")[2]


def read_envelope(ledger: Path, index: int) -> bytes:
    """One record's envelope; of its batch, nothing behind it is read.

    Raises:
        Bad: if it is missing or cut off.
    """
    first = newest_batch(ledger, index)
    if first is not None:
        with batch_path(ledger, first).open("rb") as file:
            for _ in range(index - first):
                file.readline(LIMIT_BYTES + 1)
            line = file.readline(LIMIT_BYTES + 1)
        if line.endswith(b"\n"):
            return line[:-1]
    raise Bad(f"record {index}", "It is missing or cut off.")


def _walk(folder: Path | str, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Relative path and entry of everything below a folder; links are not followed."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                path = prefix + entry.name
                yield path, entry
                if entry.is_dir(follow_symlinks=False):
                    yield from _walk(entry.path, f"{path}/")
    except FileNotFoundError:
        return


def _is_file(entry: os.DirEntry[str]) -> bool:
    return entry.is_file(follow_symlinks=False)


def _has_place(path: str, entry: os.DirEntry[str]) -> bool:
    """Whether what is neither batch nor tile may lie in a ledger."""
    if entry.is_dir(follow_symlinks=False):
        return _FOLDER.fullmatch(path) is not None or is_tile_folder(path)
    if not _is_file(entry):
        return False
    return path in {CHECKPOINT, TEMPORARY} or (path == LOCK and entry.stat().st_size == 0)


def _descend(folder: Path, limits: tuple[str, ...], digits: str) -> int | None:
    """The last batch below a folder whose names are not above the limits; a folder may be empty."""
    try:
        names = sorted(os.listdir(folder), reverse=True)  # noqa: PTH208 - no path for each
    except (FileNotFoundError, NotADirectoryError):
        return None
    for name in names:
        if name > limits[0] or not _NAMES[-len(limits)].fullmatch(name):
            continue
        inner = digits + name[:3]
        if len(limits) == 1:
            return int(inner)
        rest = limits[1:] if name == limits[0] else _HIGHEST[-len(limits) + 1 :]
        found = _descend(folder / name, rest, inner)
        if found is not None:
            return found
    return None
