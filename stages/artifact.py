"""Manifests and artifacts: what a stage made, named by its bytes.

A **manifest** lists the files of one folder (path, size, SHA-256), sorted; its digest is the
SHA-256 of its canonical JSON. An **artifact** is what one stage made of its inputs: a manifest
digest for each unit and one for the merged whole; its digest covers them all.

Rules:

- ART-1  The digest of a folder depends on relative paths and bytes alone: not on times, owners,
         modes, the folder's place or the order of its listing.
- ART-2  A folder that holds anything but plain files and folders is refused.
- ART-3  Paths in a manifest are relative, use `/`, and never climb.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from audit.canonical import digest_json

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 in lower-case hexadecimal."""


def digest_file(path: Path) -> Digest:
    """SHA-256 of a file's bytes, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(_Frozen):
    """One file of a manifest."""

    path: str
    size: Annotated[int, Field(ge=0)]
    sha256: Digest

    @field_validator("path")
    @classmethod
    def _relative(cls, value: str) -> str:
        pure = PurePosixPath(value)
        if pure.is_absolute() or ".." in pure.parts or str(pure) != value or value == ".":
            raise ValueError("a manifest's path must be relative and canonical")
        return value


class Manifest(_Frozen):
    """The files of one folder, sorted by path."""

    files: tuple[FileEntry, ...]

    @property
    def digest(self) -> Digest:
        return digest_json([entry.model_dump() for entry in self.files])

    @classmethod
    def of(cls, folder: Path) -> Manifest:
        """Read a folder.

        Raises:
            ValueError: for a symbolic link, device or socket below it (ART-2).
        """
        entries = []
        for path in sorted(folder.rglob("*")):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise ValueError(f"{path.relative_to(folder)} is neither a plain file nor a folder")
            if path.is_file():
                entries.append(
                    FileEntry(
                        path=path.relative_to(folder).as_posix(),
                        size=path.stat().st_size,
                        sha256=digest_file(path),
                    )
                )
        return cls(files=tuple(sorted(entries, key=lambda entry: entry.path)))


class Artifact(_Frozen):
    """What one stage made: the small reference that flows pass around."""

    stage: str
    units: Mapping[str, Digest]
    """Unit name → digest of its manifest."""
    merged: Digest
    """Digest of the merged folder's manifest: the cohort's tables, the whole."""

    @property
    def digest(self) -> Digest:
        return digest_json(self.model_dump(mode="json"))
