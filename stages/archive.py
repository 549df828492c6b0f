"""ZIP archives: written the same each time, read without trusting them.

Rules:

- ZIP-1  The bytes of a written archive depend on its entries' names and contents alone: entries
         are stored, sorted by name, dated 1980-01-01, and carry no host's modes.
- ZIP-2  An archive is refused whole, before an entry is read, when any name is absolute, climbs,
         stands twice or holds a backslash or control character, when an entry is a link,
         encrypted or packed otherwise than by deflate (what else `zipfile` inflates knows no
         bound), or when count, size or ratio of compression exceed the limits.
- ZIP-3  No entry is extracted to a path: contents are handed over as bytes.

Names of entries may be identities: no error shows one.
"""

from __future__ import annotations

import os
import re
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

from audit.errors import Unreadable
from stages.archive_end import exceeds

Content = bytes | Callable[[], bytes]
"""An entry's bytes, or what makes them when their turn comes (memory stays flat)."""

_DATE = (1980, 1, 1, 0, 0, 0)
_RATIO = 200
"""Highest credible ratio of compression. An image slice of one value deflates about 1,000 times,
so entries up to `_SMALL` are exempt."""
_SMALL = 16 * 1024 * 1024
"""Bytes below which no ratio is held against an entry."""
_STEP = 64 * 1024 * 1024
"""Bytes that are reserved ahead of what is written, at most."""
_HEADER = 1024
_ODD = re.compile(r"[\x00-\x1f\\]")
_PIECE = 1024 * 1024
_REMEDY = "Pack the folder again with a common zip program, or give the folder itself."


def write_zip(path: Path, entries: Iterable[tuple[str, Content]]) -> None:
    """Write a stored, sorted archive (ZIP-1).

    Raises:
        ValueError: for two entries of one name, or a name that ZIP-2 would refuse.
    """
    with ZipWriter(path) as archive:
        for name, content in sorted(entries, key=lambda entry: entry[0]):
            archive.add(name, content if isinstance(content, bytes) else content())


class ZipWriter:
    """Writes an archive entry by entry, in ascending order of names (ZIP-1)."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b")
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED, allowZip64=True)
        self._last = ""
        self._reserved = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._file:
            self._zip.close()
            self._file.truncate()  # what was reserved and not needed

    def add(self, name: str, *pieces: bytes | bytearray | memoryview) -> None:
        """Append one entry, its content in pieces, none of which is copied.

        Raises:
            ValueError: for a name that is not above the last one, or that ZIP-2 would refuse.
        """
        if not is_plain(name) or name <= self._last:
            raise ValueError("entries need plain names in ascending order, each once")
        self._last = name
        entry = zipfile.ZipInfo(name, _DATE)
        entry.create_system = 3
        entry.external_attr = (stat.S_IFREG | 0o644) << 16
        entry.file_size = sum(map(len, pieces))
        self._reserve(entry.file_size)
        with self._zip.open(entry, "w") as file:
            for piece in pieces:
                file.write(piece)

    def _reserve(self, size: int) -> None:
        """Ask the file system for room ahead: one request for many writes."""
        end = self._file.tell() + size + _HEADER
        if end > self._reserved:
            step = min(max(end, size + _HEADER), _STEP)
            with suppress(OSError, AttributeError):  # a hint: without it writing is slower
                os.posix_fallocate(self._file.fileno(), self._reserved, end - self._reserved + step)
            self._reserved = end + step


class ZipReader:
    """An archive that was checked once (ZIP-2), read entry by entry in any order."""

    def __init__(self, path: Path, *, limit_bytes: int, limit_entries: int) -> None:
        """Open and check an archive.

        Args:
            path: the archive.
            limit_bytes: highest sum of the entries' sizes, uncompressed.
            limit_entries: highest number of entries.

        Raises:
            Unreadable: ZIP-2, or the file is no archive.
        """
        with _faults():
            many = exceeds(path, limit_entries)
        if many:
            raise Unreadable("An archive has more entries than the limit.", _REMEDY)
        with _faults():
            self._zip = zipfile.ZipFile(path)
        try:
            _check(self._zip.infolist(), limit_bytes=limit_bytes, limit_entries=limit_entries)
        except Unreadable:
            self._zip.close()
            raise
        self.names = [entry.filename for entry in self._zip.infolist() if not entry.is_dir()]
        """Names of the files, in the archive's own order; folders are passed over."""
        self.sizes = {entry.filename: entry.file_size for entry in self._zip.infolist()}
        """Name → bytes, unpacked; no more are ever read."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()

    def read(self, name: str) -> bytes:
        """An entry's bytes.

        Raises:
            Unreadable: the entry is damaged, absent or packed in a way that cannot be read.
        """
        with _faults():
            return self._zip.read(name)

    def stream(self, name: str) -> Iterator[bytes]:
        """An entry's bytes, piece by piece.

        Raises:
            Unreadable: as `read`, when the end is reached.
        """
        with _faults(), self._zip.open(name) as file:
            while piece := file.read(_PIECE):
                yield piece


def read_zip(path: Path, *, limit_bytes: int, limit_entries: int) -> Iterator[tuple[str, bytes]]:
    """The files of an archive, in its own order.

    Raises:
        Unreadable: as `ZipReader`.
    """
    with ZipReader(path, limit_bytes=limit_bytes, limit_entries=limit_entries) as archive:
        for name in archive.names:
            yield name, archive.read(name)


@contextmanager
def _faults() -> Iterator[None]:
    try:
        yield
    except Exception:  # noqa: BLE001 - any fault of the parser is a damaged archive; it may tell names
        raise Unreadable("An archive is damaged or cannot be unpacked.", _REMEDY) from None


def _check(entries: list[zipfile.ZipInfo], *, limit_bytes: int, limit_entries: int) -> None:
    if len(entries) > limit_entries:
        raise Unreadable("An archive has more entries than the limit.", _REMEDY)
    if sum(entry.file_size for entry in entries) > limit_bytes:
        raise Unreadable("An archive unpacks to more bytes than the limit.", _REMEDY)
    if len({entry.filename for entry in entries}) != len(entries):
        raise Unreadable("An archive holds one name twice.", _REMEDY)
    for entry in entries:
        kind = stat.S_IFMT(entry.external_attr >> 16) if entry.create_system == 3 else 0
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise Unreadable("An archive holds a link or a device.", _REMEDY)
        if not is_plain(entry.filename.removesuffix("/")):
            raise Unreadable("An archive holds a path that climbs out of it.", _REMEDY)
        if entry.flag_bits & 0x1:
            raise Unreadable("An archive is encrypted.", _REMEDY)
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Unreadable("An archive is packed otherwise than by deflate.", _REMEDY)
        if entry.file_size > max(_SMALL, _RATIO * entry.compress_size):
            raise Unreadable("An archive's entry is compressed beyond belief.", _REMEDY)


def is_plain(name: str) -> bool:
    """Whether a name is relative, does not climb, and means the same on every system."""
    if not name or _ODD.search(name):
        return False
    pure = PurePosixPath(name)
    drive = len(name) > 1 and name[1] == ":"
    return not pure.is_absolute() and not drive and ".." not in pure.parts and str(pure) == name
