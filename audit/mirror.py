"""The ledger's mirror: a copy that the ledger's owner cannot take back, if it is kept elsewhere.

    entries/…  tile/…    as in the ledger
    checkpoints/<size>   every signed checkpoint that was ever mirrored; `<size>.tsr` its time stamp
    checkpoint           the newest

Rules:

- MIR-1  Append-only: nothing is deleted, and nothing that a mirrored checkpoint covers is written
         again. (Where the mirror lets its writer delete, only the mirror's own rights hold this: a
         bucket with object lock, a folder of another user.)
- MIR-2  Records go before tiles, tiles before the checkpoint: what a killed copy left lies behind
         the newest checkpoint, and the next copy writes it again.
- MIR-3  A ledger that does not extend the mirror's newest checkpoint was cut off, rolled back or
         forked: it is refused, and the mirror stays as it is.

    mirror(ledger, "s3://bucket/phantom")
    known = checkpoints("s3://bucket/phantom")
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from audit import durable, layout
from audit.checkpoint import LIMIT_BYTES, Checkpoint, read_checkpoint
from audit.elsewhere import Elsewhere
from audit.errors import Fault, Refused
from audit.ledger import Ledger
from audit.merkle import Tree, peaks_of
from audit.tiles import FOLDER, Tiles

KEPT = "checkpoints"
"""Folder of all mirrored checkpoints."""

_SIZE = re.compile(r"0|[1-9][0-9]{0,17}")
_REMEDY = (
    "Find out who cut or replaced the ledger, then restore it from the mirror; never make a new "
    "mirror over this one."
)


@dataclass(frozen=True)
class Mirrored:
    """What a copy did."""

    size: int
    """Records that the mirror's newest checkpoint covers."""
    files: int
    """Files that were written."""


def mirror(ledger: Ledger, url: str, *, stamps: Path | None = None) -> Mirrored:
    """Copy what is new up to the newest checkpoint.

    Args:
        ledger: a ledger with a checkpoint.
        url: a folder or an fsspec URL, for this ledger alone.
        stamps: folder of time-stamped checkpoints; what it holds is copied too.

    Raises:
        Refused: the ledger does not extend what the mirror holds (MIR-3).
        WrongUse: the URL cannot be opened here.
        Fault: the mirror cannot be reached or written.
    """
    there = Elsewhere(url)
    note = ledger.signed_checkpoint()
    now, last = read_checkpoint(note), _newest(there)
    if last is not None:
        _check_extends(ledger, now, last)
    # 1. Records and tiles that the mirror's checkpoint does not cover, in this order (MIR-2).
    files = 0
    held = there.sizes(layout.ENTRIES) | there.sizes(FOLDER)
    for path in _files(ledger.folder, now.size):
        data = _differing(ledger.folder / path, held.get(path))
        if data is not None:
            _check_open(path, held, last)
            there.write(path, data)
            files += 1
    # 2. The checkpoint over them: under its size for ever, and as the newest.
    if last is None or last.size < now.size:
        there.write(f"{KEPT}/{now.size}", note)
        files += 1
    files += _copy_stamps(there, stamps) if stamps is not None else 0
    if there.read(layout.CHECKPOINT, LIMIT_BYTES + 1) != note:
        there.write(layout.CHECKPOINT, note)
        files += 1
    return Mirrored(now.size, files)


def checkpoints(url: str) -> dict[str, bytes]:
    """Name → signed note, of every checkpoint that a mirror holds.

    Raises:
        WrongUse: the URL cannot be opened here.
        Fault: the mirror cannot be reached.
    """
    there = Elsewhere(url)
    names = [name for name in there.sizes(KEPT) if _SIZE.fullmatch(name.rpartition("/")[2])]
    names.sort(key=lambda name: int(name.rpartition("/")[2]))
    found = {name: there.read(name, LIMIT_BYTES + 1) for name in (*names, layout.CHECKPOINT)}
    return {name: note for name, note in found.items() if note is not None}


def _newest(there: Elsewhere) -> Checkpoint | None:
    """The mirror's checkpoint over the most records; one cut off by a kill does not count."""
    named = (path.rpartition("/")[2] for path in there.sizes(KEPT))
    sizes = sorted((int(name) for name in named if _SIZE.fullmatch(name)), reverse=True)
    for path in (*(f"{KEPT}/{size}" for size in sizes), layout.CHECKPOINT):
        try:
            return read_checkpoint(there.read(path, LIMIT_BYTES + 1) or b"")
        except Refused:
            continue
    return None


def _check_extends(ledger: Ledger, now: Checkpoint, last: Checkpoint) -> None:
    if last.origin != now.origin:
        raise Refused("The mirror is another ledger's.", "Give each ledger a mirror of its own.")
    if last.size > now.size:
        raise Refused(
            f"The mirror's checkpoint covers {last.size} records, the ledger's {now.size}: "
            "the ledger was cut off or rolled back.",
            _REMEDY,
        )
    root = now.root if last.size == now.size else _root(ledger, last.size, now.size)
    if root != last.root:
        raise Refused(
            f"The ledger's first {last.size} records are not those of the mirror: "
            "the ledger was forked or rewritten.",
            _REMEDY,
        )


def _root(ledger: Ledger, size: int, now: int) -> bytes:
    """The root over the ledger's first records, from the tiles of its newest checkpoint."""
    return Tree(size, peaks_of(size, Tiles(ledger.folder, now).node)).root()


def _files(folder: Path, size: int) -> Iterator[str]:
    """Relative paths of the batches that begin below `size`, then of the tiles."""
    with durable.shared(folder / layout.LOCK):
        starts = [start for start in layout.batches(folder) if start < size]
        tiles = sorted(path for path in (folder / FOLDER).rglob("*") if path.is_file())
    for path in (*(layout.batch_path(folder, start) for start in starts), *tiles):
        yield path.relative_to(folder).as_posix()


def _differing(path: Path, there: int | None) -> bytes | None:
    """A file's bytes, unless the copy has as many: batches and tiles never change.

    None too for a partial tile that a fuller one has replaced meanwhile: what replaced it is copied
    with its own checkpoint.
    """
    try:
        return None if path.stat().st_size == there else path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Fault(
            f"The ledger cannot be read ({error.strerror}).", "Repair the disk, then run again."
        ) from error


def _copy_stamps(there: Elsewhere, stamps: Path) -> int:
    """Add the time stamps that the mirror has not, each beside its note."""
    held = there.sizes(KEPT)
    files = 0
    for token in sorted(stamps.glob("*.tsr")):
        for path in (token.with_suffix(""), token):
            data = _differing(path, held.get(f"{KEPT}/{path.name}"))
            if data is not None:
                there.write(f"{KEPT}/{path.name}", data)
                files += 1
    return files


def _check_open(path: str, held: Collection[str], last: Checkpoint | None) -> None:
    """Refuse to write a batch again that the mirror's checkpoint covers (MIR-1)."""
    batch = path.startswith(f"{layout.ENTRIES}/")
    first = int("".join(re.findall(r"[0-9]{3}", path))) if batch else 0
    if batch and path in held and last is not None and first < last.size:
        raise Refused(
            f"The mirror's copy of record {first} and those after it is of another length.", _REMEDY
        )
