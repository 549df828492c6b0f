"""A project opened for releasing: its repository, ledger and version, and what must be so before.

Rules:

- REL-2  A release is recorded once and tagged once. What was released is never changed: another
         content needs another version.
- REL-3  It is made from a commit: nothing is changed or new in the work tree but what a run or this
         command writes.
- REL-5  The ledger is verified first, against every checkpoint known elsewhere; nothing is released
         on evidence that does not hold.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from audit.errors import Refused, WrongUse
from audit.keys import public_keys
from audit.ledger import Ledger
from audit.reading import Selection, entries
from audit.record import Record
from audit.slots import slot_of
from flows import tag
from flows.git import Repository
from flows.known import known_checkpoints
from flows.ledger import open_ledger, signer_for
from flows.manifest import manifest_path
from flows.parameters import Parameters, load
from stages.elsewhere import leave
from stages.package.params import SEMVER
from stages.project import Machine, Place

RELEASED = "released"
WRITTEN = (
    "data.dvc", ".dvc/config", ".dvc/.gitignore", "releases/.gitignore",
    "releases/environments/.gitignore", "releases/environments/*.dvc",
)  # fmt: skip
"""What a run or a release writes into the work tree, beside the release's own pin and manifest."""


@dataclass(frozen=True)
class Releasing:
    """One version of one project."""

    version: str
    place: Place
    machine: Machine
    ledger: Ledger
    repository: Repository
    parameters: Parameters

    @property
    def project(self) -> Path:
        """Its folder, without links: DVC names files by it."""
        return self.place.project.resolve()

    @property
    def tag(self) -> str:
        return tag.registered(self.place.name, self.version)

    @property
    def folder(self) -> Path:
        """`releases/<version>/`."""
        return self.project / "releases" / self.version

    @property
    def manifest(self) -> Path:
        """`releases/<version>.yaml`."""
        return manifest_path(self.project, self.version)

    def own(self) -> list[str]:
        """The files that the release's commit takes, relative to the project, sorted."""
        patterns = (*WRITTEN, f"releases/{self.version}.dvc", f"releases/{self.version}.yaml")
        found = {path for pattern in patterns for path in self.project.glob(pattern)}
        return sorted(path.relative_to(self.project).as_posix() for path in found)

    def committed(self) -> str | None:
        """The commit of the branch that brought the manifest; None before it."""
        name = self.manifest.relative_to(self.project).as_posix()
        return (
            self.repository.ask("log", "-1", "--diff-filter=A", "--format=%H", "HEAD", "--", name)
            or None
        )

    def released(self) -> Record | None:
        """The ledger's record of this version, if there is one."""
        for entry in entries(self.ledger, Selection(event=RELEASED)):
            if entry.record.details["version"] == self.version:
                return entry.record
        return None

    def require_free(self) -> None:
        """Refuse what no run could mend.

        Raises:
            WrongUse: the version is released already, no branch is checked out, or git knows no
                committer.
        """
        self.repository.head()
        self.repository.branch()
        self.repository.identity()
        if self.repository.commit_of(self.tag):
            raise WrongUse(
                f"Version {self.version} is released: the tag {self.tag} is there.",
                "Give the next version, in `package.version` and here.",
            )

    def require_source(self) -> None:
        """Refuse to build from anything but a commit that declares this version (REL-2, REL-3).

        Raises:
            WrongUse: another version is declared, or the work tree has changes.
            Refused: the ledger knows a release of this version that this branch does not have.
        """
        declared = self.parameters.package.version
        if declared != self.version:
            raise WrongUse(
                f"`package.version` in params.yaml is {declared}, not {self.version}.",
                "Set it, commit, and release that version.",
            )
        mine = (*WRITTEN, f"releases/{self.version}.dvc", f"releases/{self.version}.yaml")
        others = [
            path
            for path in self.repository.changed()
            if not any(fnmatchcase(path, pattern) for pattern in mine)
        ]
        if others:
            more = f" and {len(others) - 1} more" if len(others) > 1 else ""
            raise WrongUse(
                f"The work tree is not the commit: {others[0]}{more} is changed or new.",
                "Commit it, or add it to `.gitignore`; then run the same command again.",
            )
        if (before := self.released()) is not None:
            raise Refused(
                f"Version {self.version} was released before (record {before.index}), and this "
                "branch does not have it.",
                "Fetch that release's commit and tag, or release another version.",
            )

    def require_ledger(self) -> None:
        """Verify every record and checkpoint (REL-5).

        Raises:
            Refused: naming the first that does not hold.
            Fault: the mirror cannot be reached.
        """
        known = known_checkpoints(self.place, self.machine)
        found = self.ledger.verify(public_keys(self.place.keys), known=known)
        if not found.ok:
            raise Refused(
                f"The ledger does not hold: {found.first_bad}: {found.reason}",
                "Restore it from its mirror or a backup; `kette audit verify` tells more.",
            )

    def cover(self) -> None:
        """Sign a checkpoint over all records, and leave it with others where the machine says so.

        A machine that holds only a releaser's key signs none: the next run's covers the record.
        """
        if slot_of(self.place.keys, "pipeline").public.exists():
            signer = signer_for(self.place, self.machine, "pipeline")
            self.ledger.checkpoint(signer)
            leave(self.ledger, signer, self.place, self.machine)


def open_releasing(project: Path, version: str) -> Releasing:
    """Open a project for one of its versions; nothing is written.

    Raises:
        WrongUse: no version, no project, or no git repository of its own.
    """
    if not re.fullmatch(SEMVER, version):
        raise WrongUse(
            f"`{version}` is no version.", "Use Semantic Versioning, such as 1.2.0 or 1.2.0-rc.1."
        )
    ledger, place, machine = open_ledger(project)
    repository = Repository(place.project)
    found = Releasing(version, place, machine, ledger, repository, load(place.params))
    if repository.ask("check-ref-format", f"refs/tags/{found.tag}") is None:
        raise WrongUse(f"Git allows no tag {found.tag}.", "Choose another version.")
    return found
