"""Writing files that survive a kill and a power cut, and locking among processes.

Rules:

- DUR-1  A file is whole under its name, or not there: written under a temporary name, synced,
         renamed, and its folder synced.
- DUR-2  A lock holds among processes and threads, and goes with the process that held it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from audit.errors import Fault


def write(target: Path, data: bytes, temporary: Path) -> None:
    """Put `data` under `target` in one step (DUR-1).

    Args:
        target: replaced if it exists.
        data: the whole content.
        temporary: on the same file system; what a killed process left there is removed. The
            caller holds a lock over it.

    Raises:
        Fault: if the disk is full or fails; then `target` is as it was, unless only the last sync
            failed.
    """
    try:
        make_folder(target.parent)
        temporary.unlink(missing_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        sync_folder(target.parent)
    except OSError as error:
        raise Fault(
            f"The ledger could not be written ({error.strerror}).",
            "Free space or repair the disk, then run the same command again.",
        ) from error


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, each synced into the one above."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file alone; it is created empty and never written (DUR-2)."""
    make_folder(path.parent)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # A lock on a file that was deleted meanwhile holds nobody off: take the new file's.
            if not _is_at(descriptor, path):
                continue
            yield
            return
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def shared(path: Path) -> Iterator[None]:
    """Keep writers out, if there can be any: a copy without its lock file has none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
