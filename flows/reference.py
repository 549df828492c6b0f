"""Which release a user means: a version, its tag, or a commit; and how it stands today.

Rules:

- REF-1  A reference names one release: by version, by tag (`<project>@v<version>`, as GTO names
         it), or by a commit that its tag or its manifest names.
- REF-2  The manifest is read from the tag's commit, never from the work tree.
- REF-3  A tag whose signature does not hold is refused. One whose signer this machine does not know
         (another's clone) is told as that.
- REF-4  A deprecated or withdrawn release is a release still: its standing is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from audit.errors import Refused, WrongUse
from flows.git import Repository
from flows.manifest import ReleaseManifest, load
from stages.package.params import SEMVER


@dataclass(frozen=True)
class Reference:
    """A release, found."""

    tag: str
    commit: str
    """That the tag names."""
    manifest: ReleaseManifest

    @property
    def version(self) -> str:
        return self.manifest.version


def resolve(repository: Repository, name: str, ref: str) -> Reference:
    """Find a release (REF-1, REF-2).

    Args:
        repository: the project's.
        name: the project's.
        ref: version, tag or commit.

    Raises:
        WrongUse: no release, or more than one, has that name.
        Refused: its manifest is missing or cannot be read.
    """
    known = tags(repository, name)
    for tag in (ref, f"{name}@v{ref.removeprefix('v')}"):
        if tag in known:
            return _read(repository, tag)
    found = _by_commit(repository, known, ref)
    if len(found) == 1:
        return found[0]
    told = ", ".join(_version(tag) for tag in known[-5:]) or "none yet"
    raise WrongUse(
        f"`{ref}` names {'more than one release' if found else 'no release of this project'}.",
        f"Name a version; the newest are: {told}. Tags of others come with `git fetch --tags`.",
    )


def newest(repository: Repository, name: str, *, without: Iterable[str] = ()) -> str | None:
    """The highest version, those of `without` left out; None before the first one."""
    versions = [_version(tag) for tag in tags(repository, name)]
    left = [version for version in versions if version not in set(without)]
    return left[-1] if left else None


def tags(repository: Repository, name: str) -> list[str]:
    """The tags of all releases, in rising order of version."""
    found = repository.tags(f"{name}@v*")
    return sorted((t for t in found if re.fullmatch(SEMVER, _version(t))), key=_precedence)


def _version(tag: str) -> str:
    return tag.partition("@v")[2]


def _precedence(tag: str) -> tuple[object, ...]:
    """Where a version stands among others (Semantic Versioning 2.0.0, clause 11)."""
    core, _, before = _version(tag).partition("+")[0].partition("-")
    parts = [
        (0, int(part), "") if part.isdigit() else (1, 0, part) for part in before.split(".") if part
    ]
    return (tuple(int(part) for part in core.split(".")), not before, parts)


def _by_commit(repository: Repository, known: list[str], ref: str) -> list[Reference]:
    """The releases whose tag's commit, or the commit they were made from, is this one."""
    commit = repository.ask(
        "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}"
    )
    if not commit:
        return []
    read = [_read(repository, tag) for tag in known]
    return [one for one in read if commit in (one.commit, one.manifest.source_commit)]


def _read(repository: Repository, tag: str) -> Reference:
    commit = repository.commit_of(tag)
    raw = repository.read(commit, f"releases/{_version(tag)}.yaml") if commit else None
    if commit is None or raw is None:
        raise Refused(
            f"The tag {tag} names no commit with that release's manifest.",
            "Fetch the tag again from where the release was published.",
        )
    manifest = load(raw)
    if manifest.version != _version(tag):
        raise Refused(
            f"The manifest of {tag} is that of version {manifest.version}.",
            "Fetch the tag again from where the release was published.",
        )
    return Reference(tag, commit, manifest)
