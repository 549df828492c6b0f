"""The store: every tree that a stage made, kept under its digest, and which key made it.

Layout below `.kette/store/`:

- `objects/<2 hex>/<digest>/tree/…` and `manifest.json`: a tree and its manifest;
- `keys/<key>.json`: what ran under that key (an `Entry`);
- `scratch/…`: folders in the making; swept when a run starts.

Rules:

- STO-1  A tree appears by one rename after all its bytes are on disk: it is whole or absent.
- STO-2  An entry appears after its tree, by one rename.
- STO-3  A tree is checked against its manifest before a unit reads it; a damaged one is an error,
         never an input.
- STO-4  Nothing here is evidence: the store may be deleted and is rebuilt.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from audit.canonical import canonical_json
from audit.errors import Fault, Transient
from stages.artifact import Digest, Manifest
from stages.stage import Gate, Json

DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
"""What the system says when the disk, and not the program, is at fault."""
_UNFINISHED = ".new-"
"""How the names of files begin that are being written."""


class Entry(BaseModel):
    """What one key made: the unsigned half of a record."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    unit: str
    """Name of the unit; empty for the merged whole."""
    key: Digest
    parts: dict[str, Any]
    """What the key was made of: `code`, `parameters`, `inputs`, `facts`, `lock` (digests and
    labels), for the record and for saying why a unit would run again."""
    digest: Digest
    findings: Json
    measured: Json
    gate: Gate
    started: str
    finished: str
    """ISO 8601, UTC."""
    environment: dict[str, str] = {}
    """What a numeric worker ran with: threads, instruction set; empty for the others."""


def sync_folder(folder: Path) -> None:
    """Flush a folder's listing to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(path: Path, data: bytes, *, through: Path | None = None) -> None:
    """Write a file so that a kill leaves the old bytes or the new ones, on disk.

    Args:
        path: replaced if it is there.
        data: all of it.
        through: the folder, on the same disk, where the bytes are written first, and stay if the
            process is killed; none: beside the file.

    Raises:
        Transient: when the disk is full or fails.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=through or path.parent, prefix=_UNFINISHED)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise disk_fault(error) from None


def disk_fault(error: OSError) -> Transient:
    """Say what the system said of the disk, without the path it was said of."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = "Free space (`.kette/store` may be deleted), run again."
        return Transient("The disk is full.", free)
    return Transient(
        f"The disk refused a write or read ({errno.errorcode.get(error.errno or 0, 'unknown')}).",
        "Check the disk and its permissions, then run the same command again.",
    )


class Store:
    """Trees by digest, entries by key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _object(self, digest: Digest) -> Path:
        return self.folder / "objects" / digest[:2] / digest

    def scratch(self) -> Path:
        """Make an empty folder on the store's disk."""
        base = self.folder / "scratch"
        base.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=base))

    def sweep(self) -> None:
        """Remove what a killed run left half-made. Call it under the project's run lock."""
        shutil.rmtree(self.folder / "scratch", ignore_errors=True)
        for path in (self.folder / "keys").glob(f"{_UNFINISHED}*"):
            path.unlink(missing_ok=True)

    def has(self, digest: Digest) -> bool:
        return (self._object(digest) / "manifest.json").is_file()

    def manifest(self, digest: Digest) -> Manifest:
        """The manifest of a tree that the store holds.

        Raises:
            Fault: it is not the one that its digest names.
        """
        data = (self._object(digest) / "manifest.json").read_bytes()
        manifest = Manifest(files=json.loads(data)["files"])
        if manifest.digest != digest:
            raise self._damaged(digest)
        return manifest

    @staticmethod
    def _damaged(digest: Digest) -> Fault:
        return Fault(
            f"The stored tree {digest[:12]} is damaged: its files are not those of its digest.",
            f"Delete `.kette/store/objects/{digest[:2]}/{digest}` and run again.",
        )

    def get(self, digest: Digest, *, check: bool = False) -> Path:
        """Folder of a tree, read-only.

        Args:
            digest: the tree's digest.
            check: hash every file first (STO-3).

        Raises:
            Fault: the store does not hold it, or it is damaged.
        """
        folder = self._object(digest)
        tree = folder / "tree"
        if not self.has(digest):
            raise Fault(
                f"The store does not hold the tree {digest[:12]}.",
                "Run the chain again: `kette run`.",
            )
        if check and Manifest.of(tree).digest != digest:
            raise self._damaged(digest)
        return tree

    def put(self, folder: Path) -> Digest:
        """Take a finished folder into the store (it is moved) and name it.

        `get(put(folder))` holds the same relative paths and bytes as `folder` did.
        """
        try:
            manifest = Manifest.of(folder)
            digest = manifest.digest
            if self.has(digest):
                shutil.rmtree(folder)
                return digest
            staged = self.scratch()
            for entry in manifest.files:
                path = folder / entry.path
                path.chmod(0o444)
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            for path in sorted(folder.rglob("*")):
                if path.is_dir():
                    sync_folder(path)
            folder.rename(staged / "tree")
            sync_folder(staged / "tree")
            write_whole(staged / "manifest.json", canonical_json(manifest.model_dump()))
            sync_folder(staged)
            target = self._object(digest)
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists() and not self.has(digest):  # damaged by somebody's hand: replaced
                shutil.rmtree(target)
            try:
                staged.rename(target)
            except OSError:
                if not self.has(digest):
                    raise
                shutil.rmtree(staged)  # another worker made the same tree meanwhile
            sync_folder(target.parent)
        except OSError as error:
            raise disk_fault(error) from None
        return digest

    def remember(self, entry: Entry) -> None:
        """Keep what a key made (STO-2)."""
        write_whole(
            self.folder / "keys" / f"{entry.key}.json",
            canonical_json(entry.model_dump(mode="json")),
        )

    def entry(self, key: Digest) -> Entry | None:
        """What a key made, if its tree is still here."""
        path = self.folder / "keys" / f"{key}.json"
        if not path.is_file():
            return None
        entry = Entry.model_validate_json(path.read_bytes())
        return entry if self.has(entry.digest) else None

    def entries(self) -> Iterator[Entry]:
        """Every entry, oldest first."""
        found = [
            Entry.model_validate_json(path.read_bytes())
            for path in (self.folder / "keys").glob("*.json")
        ]
        yield from sorted(found, key=lambda entry: (entry.finished, entry.key))


def publish_folder(target: Path, fill: Callable[[Path], None]) -> None:
    """Make a folder anew: filled beside its place, then exchanged by two renames.

    A kill leaves the old folder, the new one, or for an instant none; never half of one.

    Raises:
        Transient: when the disk is full or fails; then the old folder stays.
    """
    new, old = (target.with_name(f".{target.name}.{word}") for word in ("new", "old"))
    try:
        if old.exists() and not target.exists():  # killed between the renames
            old.rename(target)
        for left in (new, old):
            if left.exists():
                shutil.rmtree(left)
        new.mkdir(parents=True)
        fill(new)
        if target.exists():
            target.rename(old)
        try:
            new.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise disk_fault(error) from None
        raise
    shutil.rmtree(old, ignore_errors=True)
