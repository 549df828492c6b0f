"""Sources: folders, media, archives and NIfTI images, walked in one order, opened read-only.

Rules:

- SRC-1  Symbolic links are not followed; what is neither a plain file nor a folder is passed over.
- SRC-2  Each file is handed over as bytes with its SHA-256, one at a time (memory stays flat); an
         archive's members come as files of their own, and an archive that cannot be trusted is
         quarantined whole, by the digest of the archive. A NIfTI image is an archive of the
         instances that it becomes (`nifti.py`).
- SRC-3  No file is read that is larger than the limit; it is told by the digest of its first bytes,
         as many as the limit allows.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Final

from audit.errors import Fault, Unreadable, WrongUse
from stages.archive import ZipReader
from stages.archive_tar import BLOCK, TarReader, is_tar
from stages.artifact import Digest, digest_file
from stages.ingest import dicomdir
from stages.ingest.nifti import NiftiReader, Role, is_image, roles
from stages.ingest.params import Limits
from stages.ingest.quarantine import Reason
from stages.ingest.raw import Buffer

UNKNOWN: Final[Digest] = "0" * 64
"""Stands for the digest of a file that cannot be opened."""
_SMALL: Final = 8 * 2**20
"""Bytes of a file that `small` reads."""
_PIECE: Final = 2**20
Archive = ZipReader | TarReader | NiftiReader
_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")


@dataclass(frozen=True)  # without slots: few are kept, and they go through a pipe faster
class Listed:
    """A file of the sources, not opened yet."""

    path: str = field(repr=False)
    role: Role | None


@dataclass(frozen=True, slots=True)
class Handle:
    """Where a file is found again; identities may stand in it."""

    path: str
    member: str | None


@dataclass(frozen=True)
class Found:
    """A file, or the reason why it was not read."""

    handle: Handle = field(repr=False)
    sha256: Digest
    data: bytes = field(repr=False)
    reason: Reason | None = None
    part: bool = False
    """Whether it was read with another file: a sidecar, or labels."""


def files(sources: Sequence[Path], limits: Limits) -> Iterator[Listed]:
    """All files of all sources, in one order, none opened but a medium's directory (SRC-1).

    Raises:
        WrongUse: a source does not exist, or a medium's directory is refused.
    """
    for number, source in enumerate(sources, start=1):
        if not (source.is_file() or source.is_dir()):
            what = "is no folder and no plain file" if source.exists() else "does not exist"
            raise WrongUse(f"Source {number} {what}.", "Name a folder, a ZIP or tar archive.")
    for source in sorted({path.absolute() for path in sources}):
        if source.is_file():
            if source.name.upper() == dicomdir.NAME:
                named = dicomdir.files_of(source, limits)
                yield from (Listed(str(path), None) for path in named)
            else:
                yield Listed(str(source), Role.IMAGE if is_image(source) else None)
            continue
        for folder, names in _folders(source):
            known = roles(Path(folder), names)
            yield from (Listed(os.path.join(folder, name), known.get(name)) for name in names)  # noqa: PTH118 - a path a file


def small(file: Listed, limits: Limits) -> Found | None:
    """A file that is read at once; None for a larger one, an archive and an image (SRC-2)."""
    if file.role is Role.IMAGE:
        return None
    handle = Handle(file.path, None)
    try:
        with _plain(file.path) as opened:
            if os.fstat(opened.fileno()).st_size > min(_SMALL, limits.file_bytes):
                return None
            data = opened.read()
    except OSError:
        return Found(handle, UNKNOWN, b"", Reason.UNREADABLE)
    if file.role is Role.PART:
        return Found(handle, digest(data), b"", part=True)
    return None if _is_archive(data[:BLOCK]) else Found(handle, digest(data), data)


def large(file: Listed, limits: Limits) -> Iterator[Found]:
    """A file of any size or kind; an archive's members, each (SRC-2, SRC-3)."""
    handle = Handle(file.path, None)
    if file.role is Role.PART:
        yield Found(handle, UNKNOWN, b"", part=True)
        return
    try:
        with _plain(file.path) as opened:
            image = file.role is Role.IMAGE
            packed = _is_archive(opened.read(BLOCK)) and not image
            opened.seek(0)
            limit = limits.archive_bytes if packed else limits.file_bytes
            if os.fstat(opened.fileno()).st_size > limit:
                yield _too_large(handle, iter(partial(opened.read, _PIECE), b""), limits)
            elif packed or image:
                yield from _members(file.path, limits)
            else:
                data = opened.read()
                yield Found(handle, digest(data), data)
    except OSError:
        yield Found(handle, UNKNOWN, b"", Reason.UNREADABLE)


def _plain(path: str | Path) -> FileIO:
    """Open a plain file; what became anything else since it was found is never waited for.

    Raises:
        OSError: it is no plain file, or cannot be opened.
    """
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0)
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise OSError


def read(handles: Sequence[tuple[Handle, Digest]], limits: Limits) -> Iterator[bytes]:
    """The bytes of files found before, in the order given.

    Raises:
        Fault: a file is gone or has changed since (its digest is another).
    """
    archives: dict[str, Archive] = {}
    with ExitStack() as stack:
        for handle, sha256 in handles:
            try:
                if handle.member is None:
                    with _plain(handle.path) as file:
                        data = file.read()
                else:
                    if handle.path not in archives:
                        archives[handle.path] = archive = _open(handle.path, limits)
                        stack.enter_context(archive)
                    data = archives[handle.path].read(handle.member)
            except (OSError, Unreadable):
                data = b""
            if digest(data) != sha256:
                raise Fault(
                    f"The source file {sha256[:16]} changed or vanished while it was taken in.",
                    "Leave the sources as they are during a run, and run again.",
                )
            yield data


def _is_archive(head: bytes) -> bool:
    return head[:4] in _ZIP or is_tar(head)


def _open(path: str, limits: Limits) -> Archive:
    if is_image(path):
        return NiftiReader(Path(path), limits)
    with _plain(Path(path)) as file:
        tar = is_tar(file.read(BLOCK))
    size, count = limits.archive_bytes, limits.archive_entries
    if tar:
        return TarReader(Path(path), limit_bytes=size, limit_entries=count)
    return ZipReader(Path(path), limit_bytes=size, limit_entries=count)


def _members(path: str, limits: Limits) -> Iterator[Found]:
    try:
        with _open(path, limits) as archive:
            for name in archive.names:  # a damaged entry must not let the others pass first
                deque(archive.stream(name), maxlen=0)
            for name in archive.names:
                handle = Handle(path, name)
                if archive.sizes[name] > limits.file_bytes:
                    yield _too_large(handle, archive.stream(name), limits)
                else:
                    data = archive.read(name)
                    yield Found(handle, digest(data), data)
    except Unreadable:
        reason = Reason.NIFTI if is_image(path) else Reason.ARCHIVE
        yield Found(Handle(path, None), digest_file(Path(path)), b"", reason)


def _too_large(handle: Handle, pieces: Iterator[bytes], limits: Limits) -> Found:
    """A file told by the digest of as many of its bytes as the limit allows (SRC-3)."""
    state, left = hashlib.sha256(), limits.file_bytes
    while left > 0 and (piece := next(pieces, b"")):
        state.update(memoryview(piece)[:left])
        left -= len(piece)
    return Found(handle, state.hexdigest(), b"", Reason.TOO_LARGE)


def _folders(top: Path) -> Iterator[tuple[str, list[str]]]:
    """Each folder below one, and the names of its plain files, sorted; no link is followed."""
    left = [str(top)]
    while left:
        folder = left.pop()
        try:
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError:  # it vanished, or may not be read
            continue
        # What kind an entry is stands in the folder: no file is asked.
        below = [entry.path for entry in listed if entry.is_dir(follow_symlinks=False)]
        left += reversed(below)
        yield folder, [e.name for e in listed if e.is_file(follow_symlinks=False)]


def digest(*pieces: Buffer) -> Digest:
    """SHA-256 of bytes in memory."""
    state = hashlib.sha256()
    for piece in pieces:
        state.update(piece)
    return state.hexdigest()
