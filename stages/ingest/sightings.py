"""What one look at each file of the sources tells, near it or over several processes.

Rules:

- SGT-1  A sighting holds a digest and whose instance the file is, never the file: only that comes
         back from another process. What it tells depends on the file and the limits alone.
- SGT-2  Files are read and identified in lots; sightings come in the order of the files, however
         many lots are under way.
- SGT-3  Archives, images, large files and tables of labels are looked at in this process: they are
         streamed, or their text is to stay here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Final

from stages.artifact import Digest
from stages.ingest.header import Header, Identifier, is_dicomdir, quiet
from stages.ingest.label_table import LabelTable, is_table, read_label_table
from stages.ingest.params import Limits
from stages.ingest.quarantine import Quarantined, Reason
from stages.ingest.sources import Found, Handle, Listed, files, large, small
from stages.stage import Spread

_LOT: Final = 20
"""Files that are looked at together: so few that all processes end at about the same time."""
_FEW: Final = 6
"""Lots for which no other process is asked: it would take longer to start than they do."""
Seen = Header | LabelTable | Reason | None


@dataclass(frozen=True)  # without slots: none is kept, and they go through a pipe faster
class Sighting:
    """A file, and what it is to ingestion."""

    handle: Handle = field(repr=False)
    sha256: Digest
    seen: Seen = field(repr=False)
    """Whose instance it is, a table of labels, why it is not taken in; None if it holds nothing to
    take in: a medium's directory, or what was read with another file."""
    whole: bool = True
    """Whether all of it was read, for its own sake: the same bytes again are its duplicate."""


def sightings(
    sources: Sequence[Path], limits: Limits, classes: Collection[str] = (), spread: Spread = map
) -> Iterator[Sighting]:
    """Look at every file of the sources.

    Args:
        sources: folders, media, archives.
        limits: of the instances.
        classes: names of the task's classes.
        spread: looks at lots of files, if there are more than a few.

    Raises:
        WrongUse: a source does not exist, or a medium's directory is refused.
    """
    identifier = Identifier(limits)
    lots = _lots(files(sources, limits))
    few = list(islice(lots, _FEW + 1))
    chosen = map if len(few) <= _FEW else spread
    for lot in chosen(partial(_look, limits=limits), chain(few, lots)):
        for one in lot:
            if isinstance(one, Sighting):
                yield one
                continue
            for found in large(one, limits):
                yield _sighted(found, identifier, classes, limits)


def _lots(listed: Iterator[Listed]) -> Iterator[list[Listed]]:
    while lot := list(islice(listed, _LOT)):
        yield lot


@quiet()
def _look(lot: Sequence[Listed], limits: Limits) -> list[Sighting | Listed]:
    """Each of some files as it was seen, or as it is: then it is not for this process (SGT-3)."""
    identifier = Identifier(limits)
    return [_looked_at(file, identifier, limits) for file in lot]


def _looked_at(file: Listed, identifier: Identifier, limits: Limits) -> Sighting | Listed:
    # A function of its own: a file goes before the next is read, into the same memory.
    found = small(file, limits)
    if found is None or is_table(found.data):
        return file
    return _sighted(found, identifier, (), limits)


def _sighted(
    found: Found, identifier: Identifier, classes: Collection[str], limits: Limits
) -> Sighting:
    opened = found.reason not in (Reason.UNREADABLE, Reason.TOO_LARGE)
    return Sighting(
        found.handle,
        found.sha256,
        _seen(found, identifier, classes, limits),
        whole=opened and not found.part,
    )


def _seen(found: Found, identifier: Identifier, classes: Collection[str], limits: Limits) -> Seen:
    if found.part or found.reason:
        return found.reason
    try:
        if is_table(found.data):
            return read_label_table(found.sha256, found.data, classes, limits.label_bytes)
        return None if is_dicomdir(found.data) else identifier.identify(found.data)
    except Quarantined as error:
        return error.reason
