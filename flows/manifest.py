"""A release's manifest: `releases/<version>.yaml`, the page in git that names every digest.

Rules:

- MAN-1  It is YAML in one canonical form: `load(m.dump()) == m`, and a file of any other bytes is
         refused. Its digest is the SHA-256 of the file.
- MAN-2  Fields have fixed order; files are sorted by path, stages stand in the order of the chain.
- MAN-3  A manifest of another schema version than this program's is refused by its number.
- MAN-4  No path of the machine, no person's name but a signer's, no secret.

Version 1 is the first schema. A later version names here how a manifest of the one before is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import yaml
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from audit.errors import Refused
from flows.release_params import Tolerances
from stages.artifact import Digest, FileEntry
from stages.package.params import SEMVER
from stages.params import Name
from stages.stage import Gate

Version = Annotated[str, Field(pattern=SEMVER, max_length=63)]
"""Semantic Versioning 2.0.0."""
Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")]
"""A full git object name."""
Md5 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}(\.dir)?$")]
"""DVC's name of a file or folder: it finds bytes and proves nothing."""

SCHEMA_VERSION: Literal[1] = 1


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class File(_Frozen):
    """One file of the release."""

    sha256: Digest
    size: Annotated[int, Field(ge=0)]
    """Bytes."""


class Bundle(File):
    """The archive that is the release."""

    name: str
    """Its file name, below `releases/<version>/`."""


class Data(_Frozen):
    """The dataset that the release was made of."""

    md5: Md5
    """What `data.dvc` pins."""
    tree: Digest
    """Digest of the dataset's tree, as the signed record of `dataset` names it."""


class StageMade(_Frozen):
    """What one stage made."""

    key: Digest
    """Of its merge."""
    artifact: Digest


class Approval(_Frozen):
    """One signature over the bundle, as the ledger holds it."""

    meaning: str
    role: str
    signer: str
    keyid: str
    index: Annotated[int, Field(ge=0)]
    """Of its record in the ledger."""
    at: AwareDatetime


class MachineClass(_Frozen):
    """What a machine must be alike in for a rebuild to be equal to the bit (R1)."""

    system: str
    machine: str
    """Processor architecture, such as `x86_64`."""
    libc: str
    python: str
    torch: str
    """With its local part (`2.13.0+cpu`), which the lock does not name."""
    processor: str
    """Model, for telling a difference; another one of the same instruction sets is alike."""
    isa: tuple[str, ...]
    """Vector instruction sets that the processor has, sorted."""


class Retention(_Frozen):
    """How long release and evidence are kept."""

    years: Annotated[int, Field(ge=1)]
    until: date
    legal_hold: bool
    """At the release; later ones are records of the ledger (`kette hold`)."""


class Archive(_Frozen):
    """The archived environment, shared by all releases of one lock."""

    path: str
    """Folder below the project; DVC pins it as `<path>.dvc`."""
    md5: Md5
    tree: Digest
    """Digest of the folder's manifest (`stages.artifact.Manifest`)."""


class ReleaseManifest(_Frozen):
    """`releases/<version>.yaml`, schema version 1."""

    schema_version: Literal[1] = SCHEMA_VERSION
    project: Name
    version: Version
    tag: str
    """`<project>@v<version>`, as GTO names a registered version."""
    source_commit: Commit
    """The commit that the chain ran on; the tag's commit adds the release's own files to it."""
    released_at: AwareDatetime
    bundle: Bundle
    files: Mapping[str, File]
    """Path below `releases/<version>/` → file; the bundle is among them."""
    pin: Md5
    """What `releases/<version>.dvc` pins."""
    data: Data
    lock: Digest
    """Of the pins of `constraints.txt`."""
    stages: Mapping[str, StageMade]
    gates: Mapping[str, Gate]
    checkpoint: str
    """The signed checkpoint (C2SP signed note) that covers the records of the release."""
    approvals: tuple[Approval, ...]
    machine_class: MachineClass
    tolerances: Tolerances
    """Declared before: what R2 allows."""
    retention: Retention
    environment: Archive | None
    """Null: not archived."""

    @field_validator("files")
    @classmethod
    def _paths(cls, value: Mapping[str, File]) -> Mapping[str, File]:
        for path, file in value.items():
            FileEntry(path=path, size=file.size, sha256=file.sha256)
        return dict(sorted(value.items()))

    @field_validator("bundle")
    @classmethod
    def _plain(cls, value: Bundle) -> Bundle:
        if PurePosixPath(value.name).name != value.name:
            raise ValueError("the bundle's name is no plain file name")
        return value

    def dump(self) -> bytes:
        """The file's bytes (MAN-1)."""
        return yaml.dump(
            self.model_dump(mode="json"),
            Dumper=_Dumper,
            sort_keys=False,
            allow_unicode=True,
            width=10_000,
            encoding="utf-8",
        )

    @property
    def digest(self) -> Digest:
        """SHA-256 of `dump()`."""
        return hashlib.sha256(self.dump()).hexdigest()


def manifest_path(project: Path, version: str) -> Path:
    """Where a version's manifest stands."""
    return project / "releases" / f"{version}.yaml"


def load(raw: bytes) -> ReleaseManifest:
    """Read a manifest's bytes, from git or from the work tree.

    Raises:
        Refused: it is not whole, was changed by hand, or is of another schema version.
    """
    remedy = "Take it from git: `git checkout -- releases`; a release's manifest is never edited."
    try:
        values = yaml.load(raw, Loader=_Loader)  # noqa: S506 - a safe loader without implicit times
    except yaml.YAMLError:
        values = None
    found = values.get("schema_version") if isinstance(values, dict) else None
    if isinstance(found, int) and found != SCHEMA_VERSION:
        raise Refused(
            f"The release's manifest has schema version {found}; "
            f"this Kette reads {SCHEMA_VERSION}.",
            "Use the Kette that made it: it is in the release as `kette.zip`.",
        )
    try:
        manifest = ReleaseManifest.model_validate(values)
    except ValidationError as error:
        key = ".".join(str(part) for part in error.errors()[0]["loc"]) or "(the whole)"
        raise Refused(f"The release's manifest is wrong at `{key}`.", remedy) from None
    if manifest.dump() != raw:
        raise Refused("The release's manifest is not as it was written.", remedy)
    return manifest


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, so that a checkpoint can be read and copied."""


class _Loader(yaml.SafeLoader):
    """Times and dates stay text; the model reads them."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag != "tag:yaml.org,2002:timestamp"]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Dumper.yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def retention(years: int, released_at: datetime) -> Retention:
    """Kept until the same day `years` later; from February 29 on, until February 28."""
    day = released_at.date()
    try:
        until = day.replace(year=day.year + years)
    except ValueError:
        until = day.replace(year=day.year + years, day=28)
    return Retention(years=years, until=until, legal_hold=False)
