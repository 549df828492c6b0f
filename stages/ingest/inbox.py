"""A folder that received or fetched instances are put into, for `kette ingest` to take in.

Rules:

- INB-1  It lies outside of everything that is passed on or backed up: project, store, data, home.
- INB-2  A file is whole under its name or not there; what a killed process left is removed.
- INB-3  A name is a SHA-256, never anything that a peer chose. Folder and files are their owner's
         alone: they hold identities.
- INB-4  One process at a time fills a folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from audit.errors import WrongUse

_PARTIAL: Final = ".incoming-"
_NAME: Final = re.compile(r"[0-9a-f]{64}\.dcm")


class Inbox:
    """An open folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, name: str) -> bool:
        """Whether a file of that name is there."""
        return (self._folder / f"{name}.dcm").exists()

    def put(self, data: bytes, name: str | None = None) -> bool:
        """Write an instance (INB-2).

        Args:
            data: the file.
            name: a SHA-256 in hexadecimal; that of the bytes, if not given.

        Returns:
            Whether it is new.

        Raises:
            OSError: the disk is full or fails.
        """
        path = self._folder / f"{name or hashlib.sha256(data).hexdigest()}.dcm"
        if not _NAME.fullmatch(path.name):
            raise ValueError("an inbox names its files by digests")
        if path.exists():
            return False
        beside = self._folder / f"{_PARTIAL}{secrets.token_hex(8)}"
        try:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.rename(path)
        finally:
            beside.unlink(missing_ok=True)
        return True


@contextmanager
def open_inbox(folder: Path, forbidden: Sequence[Path]) -> Iterator[Inbox]:
    """Hold a folder, made if it is not there.

    Args:
        folder: where instances go.
        forbidden: project, store, data, DVC's cache, home.

    Raises:
        WrongUse: it lies in one of these (INB-1), is no folder, or another process fills it.
    """
    place = folder.resolve()
    if any(place.is_relative_to(other.resolve()) for other in forbidden):
        raise WrongUse(
            "The folder lies in the project, or beside the ledger.",
            "Name a folder apart from both with `--out`: what comes in holds identities.",
        )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise WrongUse(f"The folder cannot be used ({error.strerror}).", "Name another.") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for left in folder.glob(f"{_PARTIAL}*"):
            left.unlink()
        yield Inbox(folder)
    except BlockingIOError:
        raise WrongUse("Another process fills that folder.", "Stop it, or name another.") from None
    finally:
        os.close(descriptor)
