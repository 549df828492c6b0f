"""A release, opened for use: its configuration and its models, verified member by member."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from audit.errors import Unreadable, WrongUse
from stages.archive import read_zip
from stages.artifact import Digest, Manifest
from stages.bundle import CONFIG, MANIFEST, BundleConfig

LIMIT_BYTES = 8 * 2**30
LIMIT_ENTRIES = 1_000
_REMEDY = "Fetch the release again, and check it with `kette verify`."


@dataclass(frozen=True)
class Release:
    """A bundle whose members are what its manifest says."""

    config: BundleConfig
    digest: Digest
    """Of the manifest: names every byte of the bundle."""
    models: dict[str, bytes]
    """Member below `models/` → its bytes."""


def open_release(path: Path) -> Release:
    """Read a bundle (INF-1).

    Args:
        path: the archive, or the release's folder, which holds one.

    Raises:
        WrongUse: there is no archive.
        Unreadable: it is hostile, damaged, changed, or of a later schema.
    """
    members = dict(read_zip(_archive(path), limit_bytes=LIMIT_BYTES, limit_entries=LIMIT_ENTRIES))
    manifest = _verified(members)
    try:
        config = BundleConfig.model_validate_json(members[CONFIG])
    except (KeyError, ValidationError):
        raise Unreadable(
            "The bundle's configuration is missing or of another schema than this program's.",
            "Use the version of Kette that the bundle's bill of materials names.",
        ) from None
    for member in config.models.values():
        weights = PurePosixPath(member).with_suffix(".bin").as_posix()
        if member not in members or (member.endswith(".xml") and weights not in members):
            raise Unreadable("The bundle lacks a model that its configuration names.", _REMEDY)
    models = {name: data for name, data in members.items() if name.startswith("models/")}
    return Release(config, manifest.digest, models)


def _archive(path: Path) -> Path:
    if path.is_file():
        return path
    archives = sorted(path.glob("*.zip"))
    if len(archives) != 1:
        what = "no such file or folder" if not path.exists() else f"{len(archives)} archives there"
        raise WrongUse(
            f"The release cannot be opened: {what}.",
            "Name the release's archive (`<project>-<version>.zip`) or the folder that holds it.",
        )
    return archives[0]


def _verified(members: dict[str, bytes]) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(members[MANIFEST])
    except (KeyError, ValidationError):
        raise Unreadable("The bundle has no manifest that can be read.", _REMEDY) from None
    listed = {entry.path: entry.sha256 for entry in manifest.files}
    found = {
        name: hashlib.sha256(data).hexdigest() for name, data in members.items() if name != MANIFEST
    }
    wrong = sorted(
        name for name in listed.keys() | found.keys() if listed.get(name) != found.get(name)
    )
    if wrong:
        raise Unreadable(
            f"{len(wrong)} members of the bundle are not what its manifest says.", _REMEDY
        )
    return manifest
