"""Writing files that survive a kill and a power cut, and locking among processes.

Rules:

- DUR-1  A file is whole under its name, or not there: written under a temporary name, synced,
         renamed, and its folder synced. A folder that holds anything is synced into the one above.
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
        raise _fault("written", error) from error


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, each synced into the one above before anything is in it."""
    try:
        with os.scandir(folder) as entries:
            if next(entries, None) is not None:
                return
    except FileNotFoundError:
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
    # One that is empty may be what a process left that was killed before this:
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file alone; it is created empty and never written (DUR-2).

    Raises:
        Fault: if the disk is full or fails.
    """
    try:
        make_folder(path.parent)
        descriptor = _locked(path, os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX)
        # A lock on a file that was deleted meanwhile holds nobody off: take the new file's.
        while not _is_at(descriptor, path):
            os.close(descriptor)
            descriptor = _locked(path, os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX)
    except OSError as error:
        raise _fault("locked", error) from error
    try:
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def shared(path: Path) -> Iterator[None]:
    """Keep writers out, if there can be any: a copy without its lock file has none.

    Raises:
        Fault: if the disk fails.
    """
    try:
        descriptor = _locked(path, os.O_RDONLY, fcntl.LOCK_SH)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        yield
        return
    except OSError as error:
        raise _fault("locked", error) from error
    try:
        yield
    finally:
        os.close(descriptor)


def _locked(path: Path, flags: int, kind: int) -> int:
    """A descriptor of the file, locked."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, kind)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _fault(done: str, error: OSError) -> Fault:
    return Fault(
        f"The ledger could not be {done} ({error.strerror}).",
        "Free space or repair the disk, then run the same command again.",
    )


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
