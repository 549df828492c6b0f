"""Retrieving a release's bytes (R0), and the dataset that it was made of.

Rules:

- RET-1  A file of the release is the one whose SHA-256 and size the manifest in git names, from the
         work tree, DVC's cache or a remote; what is missing or other is named, and nothing else is
         given up for it.
- RET-2  A file of the dataset is the one that the tag's `data.dvc` lists. A subject of whom no file
         is left, or whom the ledger says was erased, is told apart from a lost file.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from audit.errors import Refused
from flows.manifest import Archive, ReleaseManifest
from flows.objects import Objects
from stages.artifact import Manifest, digest_file
from stages.dataset.links import link


@dataclass(frozen=True)
class Retrieved:
    """The release's folder, and what is wrong with it."""

    folder: Path
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Dataset:
    """What of the dataset could not be laid."""

    missing: tuple[str, ...] = ()
    """Paths in `data/`, of subjects that are there."""
    erased: tuple[str, ...] = ()
    """Pseudonyms of whom nothing is there."""

    @property
    def causes(self) -> tuple[str, ...]:
        """The same in sentences."""
        erased = [f"the subject {subject} was erased from the dataset" for subject in self.erased]
        return (*erased, *(f"the object of data/{path} is missing" for path in self.missing))


def retrieve(objects: Objects, manifest: ReleaseManifest, folder: Path) -> Retrieved:
    """Lay a release's files into a folder, each checked (RET-1)."""
    here = objects.project / "releases" / manifest.version
    listing = objects.listing(manifest.pin)
    problems = [] if listing else ["DVC's list of the release's files is missing"]
    for path, expected in manifest.files.items():
        name = (listing or {}).get(path)
        source = here / path if (here / path).is_file() else None
        if source is None or _differs(source, expected.sha256, expected.size):
            source = objects.get(name) if name else None
        if source is None:
            problems.append(f"{path} is missing")
        elif _differs(source, expected.sha256, expected.size):
            problems.append(f"{path} is not what the manifest says")
        else:
            link(source, folder / path)
    return Retrieved(folder, tuple(problems))


def lay_data(objects: Objects, pin: str, data: Path, erased: Collection[str]) -> Dataset:
    """Lay the dataset file by file (RET-2).

    Args:
        objects: of the project.
        pin: what the tag's `data.dvc` pins.
        data: folder to fill.
        erased: pseudonyms that the ledger says were erased.
    """
    listing = objects.listing(pin)
    if listing is None:
        return Dataset(missing=("(DVC's list of its files)",))
    there, missing = set(), []
    for path, name in listing.items():
        subject = path.partition("/")[0]
        here = objects.project / "data" / path
        source = None if subject in erased else objects.get(name, beside=here)
        if source is None:
            missing.append(path)
        else:
            link(source, data / path)
            there.add(subject)
    gone = {path.partition("/")[0] for path in missing if "/" in path} - there
    return Dataset(
        missing=tuple(path for path in missing if path.partition("/")[0] not in gone),
        erased=tuple(sorted(gone)),
    )


def lay_folder(objects: Objects, archive: Archive, folder: Path) -> Path | None:
    """Lay an archived environment; None where its bytes are not to be had.

    Raises:
        Refused: they are not what the manifest says.
    """
    listing = objects.listing(archive.md5)
    if listing is None:
        return None
    for path, name in listing.items():
        source = objects.get(name, beside=objects.project / archive.path / path)
        if source is None:
            return None
        link(source, folder / path)
    if Manifest.of(folder).digest != archive.tree:
        raise Refused(
            "The archived environment is not what the release's manifest says.",
            "Fetch it again from where the release was published.",
        )
    return folder


def _differs(path: Path, sha256: str, size: int) -> bool:
    return path.stat().st_size != size or digest_file(path) != sha256
