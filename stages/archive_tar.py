"""Tar archives, read without trusting them: as `stages.archive.ZipReader` reads ZIP archives.

Rules:

- TAR-1  An archive is refused whole, before an entry is read, when any name is absolute, climbs,
         stands twice or holds a backslash or control character, when an entry is anything but a
         plain file or a folder (a link, device, pipe, sparse file), when a header is damaged, when
         the archive ends before an entry does, or when count or size exceed the limits.
- TAR-2  No entry is extracted to a path: contents are handed over as bytes.
- TAR-3  Compressed tar archives are not read: an entry could not be found without inflating all
         before it.

Sources: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Extended Header"; GNU tar manual,
"Basic Tar Format", for long names.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from audit.errors import Unreadable
from stages.archive import is_plain

BLOCK: Final = 512
_MAGIC: Final = slice(257, 262)
_LARGEST_NAME: Final = 2**16
_PIECE: Final = 2**20
_FILE, _FOLDER, _LONG_NAME, _PAX, _PAX_ALL = b"0\0", b"5", b"L", b"x", b"g"
_REMEDY = "Pack the folder again with a common tar program, or give the folder itself."


def is_tar(head: bytes) -> bool:
    """Whether a file's first 512 bytes are a tar header, and no DICOM file's preamble."""
    return head[_MAGIC] == b"ustar" and head[128:132] != b"DICM"


class TarReader:
    """An archive that was checked once (TAR-1), read entry by entry in any order."""

    def __init__(self, path: Path, *, limit_bytes: int, limit_entries: int) -> None:
        """Open and check an archive.

        Args:
            path: the archive.
            limit_bytes: highest sum of the entries' sizes.
            limit_entries: highest number of entries.

        Raises:
            Unreadable: TAR-1.
        """
        self._file = path.open("rb")
        self._places: dict[str, tuple[int, int]] = {}
        try:
            self._scan(path.stat().st_size, limit_bytes, limit_entries)
        except (UnicodeDecodeError, ValueError, OSError):
            self._file.close()
            raise Unreadable("An archive is damaged or cannot be read.", _REMEDY) from None
        except Unreadable:
            self._file.close()
            raise
        self.names = list(self._places)
        """Names of the files, in the archive's own order; folders are passed over."""
        self.sizes = {name: size for name, (_, size) in self._places.items()}
        """Name → bytes."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def read(self, name: str) -> bytes:
        """An entry's bytes.

        Raises:
            Unreadable: it is absent, or the archive was cut off since.
        """
        return b"".join(self.stream(name))

    def stream(self, name: str) -> Iterator[bytes]:
        """An entry's bytes, piece by piece.

        Raises:
            Unreadable: as `read`.
        """
        at, left = self._places.get(name, (0, -1))
        if left < 0:
            raise Unreadable("An archive has no such entry.", _REMEDY)
        while left:
            self._file.seek(at)
            piece = self._file.read(min(left, _PIECE))
            if not piece:
                raise Unreadable("An archive is cut off.", _REMEDY)
            at, left = at + len(piece), left - len(piece)
            yield piece

    def _scan(self, end: int, limit_bytes: int, limit_entries: int) -> None:
        """Find every entry, and refuse what TAR-1 refuses."""
        at, entries, total = 0, 0, 0
        told: dict[str, str] = {}
        while at + BLOCK <= end:
            self._file.seek(at)
            header = self._file.read(BLOCK)
            if not header.strip(b"\0"):
                return
            if _octal(header[148:156]) != sum(header[:148]) + 8 * 32 + sum(header[156:]):
                raise ValueError
            kind, size, at = header[156:157], _octal(header[124:136]), at + BLOCK
            entries += 1
            if entries > 2 * limit_entries:
                raise Unreadable("An archive has more entries than the limit.", _REMEDY)
            if kind in (_LONG_NAME, _PAX, _PAX_ALL):
                if size > _LARGEST_NAME:
                    raise ValueError
                told |= _told(kind, self._file.read(size))
            else:
                name, size = told.get("path") or _name(header), int(told.get("size", size))
                told = {}
                total += size
                self._enter(kind, name, at, size)
            at += -(-size // BLOCK) * BLOCK
            if len(self._places) > limit_entries or total > limit_bytes:
                raise Unreadable("An archive has more in it than the limit.", _REMEDY)
        raise ValueError

    def _enter(self, kind: bytes, name: str, at: int, size: int) -> None:
        name = name.removeprefix("./")
        folder = kind == _FOLDER
        if not folder and kind not in (b"0", b"\0"):
            raise Unreadable("An archive holds a link or a device.", _REMEDY)
        if folder:
            name = name.removesuffix("/")
        if not (is_plain(name) or (folder and name in ("", "."))):
            raise Unreadable("An archive holds a path that climbs out of it.", _REMEDY)
        if name in self._places:
            raise Unreadable("An archive holds one name twice.", _REMEDY)
        if not folder:
            self._places[name] = (at, size)


def _octal(field: bytes) -> int:
    """A number of a header: octal digits, or base 256 where the first bit is set."""
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:])
    return int(field.strip(b" \0") or b"0", 8)


def _name(header: bytes) -> str:
    name, prefix = header[:100], header[345:500]
    gnu = header[257:265] == b"ustar  \0"
    parts = [name] if gnu or not prefix.strip(b"\0") else [prefix, name]
    return "/".join(part.partition(b"\0")[0].decode() for part in parts)


def _told(kind: bytes, data: bytes) -> dict[str, str]:
    """What an entry says of the next one: its name, its size."""
    if kind == _LONG_NAME:
        return {"path": data.partition(b"\0")[0].decode()}
    told, at = {}, 0
    while at < len(data):
        digits, _, _ = data[at:].partition(b" ")
        length = int(digits)
        key, _, value = data[at + len(digits) + 1 : at + length - 1].partition(b"=")
        if length <= len(digits) + 1 or key.startswith(b"GNU.sparse") or key == b"linkpath":
            raise ValueError
        if key in (b"path", b"size"):
            if kind == _PAX_ALL:
                raise ValueError
            told[key.decode()] = value.decode()
        at += length
    if int(told.get("size", "0")) < 0:
        raise ValueError
    return told
