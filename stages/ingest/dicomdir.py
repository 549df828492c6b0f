"""A medium's directory: which files of a medium it names, each inside that medium.

Rules:

- DDR-1  A directory is refused whole when a file ID is absolute, climbs, is empty, or leads through
         a symbolic link: nothing of that medium is read.
- DDR-2  A file that is named and not there is told as one that cannot be opened.

Sources: PS3.3 Section F.3 (directory records), PS3.10 Section 8.2 (file IDs). CVE-2026-32711 is
what happens without DDR-1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from audit.errors import WrongUse
from stages.ingest.header import parsed, quiet
from stages.ingest.params import Limits
from stages.ingest.raw import scan
from stages.ingest.raw_file import open_file

NAME: Final = "DICOMDIR"
_RECORDS: Final = "DirectoryRecordSequence"
_FILE_ID: Final = "ReferencedFileID"
_REMEDY = "Name the folder instead, if you trust the medium."


def files_of(path: Path, limits: Limits) -> list[Path]:
    """The files that a directory names, in its order, each once.

    Args:
        path: the file `DICOMDIR`; the medium is the folder that it lies in.
        limits: `header_bytes` holds for it as a whole.

    Raises:
        WrongUse: it cannot be read, or names what is not inside the medium (DDR-1).
    """
    medium = path.parent.resolve()
    try:
        large = path.stat().st_size > limits.header_bytes
        data = b"" if large else path.read_bytes()
    except OSError:
        raise WrongUse("A DICOMDIR cannot be read.", _REMEDY) from None
    if large:
        raise WrongUse("A DICOMDIR is larger than the limit.", _REMEDY)
    try:
        with quiet():
            file = open_file(data, limits)
            scan(file.data, file.at, file.syntax, limits)
            dataset = parsed(bytes(file.data[file.at :]), file.syntax)
            identifiers = [_parts(record.get(_FILE_ID)) for record in dataset.get(_RECORDS) or ()]
    except Exception:  # noqa: BLE001 - any fault of the parser, whose text may quote values
        raise WrongUse("A DICOMDIR cannot be read.", _REMEDY) from None
    found = {_inside(medium, parts): None for parts in identifiers if parts}
    return list(found)


def _parts(value: object) -> tuple[str, ...]:
    """The components of a file ID; none for a record without one."""
    if value is None or value == "":
        return ()
    return (value,) if isinstance(value, str) else tuple(map(str, value))  # type: ignore[call-overload]


def _inside(medium: Path, parts: tuple[str, ...]) -> Path:
    wrong = any(
        part in ("", ".", "..") or "/" in part or ":" in part or not part.isprintable()
        for part in parts
    )
    path = medium.joinpath(*parts) if not wrong else medium
    if wrong or path.resolve() != path:
        raise WrongUse("A DICOMDIR names a file outside of its medium.", _REMEDY)
    return path
