"""Where a project's things lie, and the settings of this machine.

A machine setting decides no bits: it is read from `KETTE_…` variables or from
`KETTE_HOME/settings.toml` and enters neither keys nor bundles.

Rules:

- PRJ-1  Ledger, keys and vault lie outside the project, the store and DVC's cache.
- PRJ-2  One run at a time in a project; a second one is told so.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_data_path
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from audit.errors import WrongUse


class Machine(BaseModel):
    """Settings of this machine: `KETTE_HOME`, `KETTE_SOURCE`, `KETTE_WORKERS` and others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Field(default_factory=lambda: user_data_path("kette"))
    """Ledgers, keys and vaults of all projects."""
    source: tuple[Path, ...] = ()
    """Folders and archives of incoming studies; the variable separates them as PATH does."""
    workers: int = Field(default_factory=lambda: min(8, os.cpu_count() or 1), ge=1, le=64)
    """Processes that work on units at the same time."""
    loader_workers: int = Field(default=0, ge=0, le=16)
    """Processes that draw patches while the network trains; 0: the training process itself."""
    schedule: str = "0 3 * * *"
    """Cron expression of the scheduled chain (`kette serve`)."""
    proof_schedule: str = "0 4 * * 0"
    """Cron expression of the scheduled reproduction of the newest release."""
    signer: str | None = None
    """URI of the signing key; null: a file in the project's `keys/` below the home."""
    mirror: str | None = None
    """Folder or fsspec URL where every ledger is copied to, each below its project's name."""
    tsa: str | None = None
    """URL of a time stamp authority (RFC 3161) that stamps each run's last checkpoint."""

    @field_validator("mirror")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        """A folder's name means the same whatever folder a verb is called in."""
        if value is None or "://" in value:
            return value
        return str(Path(value).expanduser().absolute())

    @classmethod
    def here(cls) -> Machine:
        """Read the settings: variables first, then the settings file.

        Raises:
            WrongUse: naming the setting that is wrong.
        """
        home = Path(os.environ.get("KETTE_HOME") or user_data_path("kette")).expanduser()
        values: dict[str, object] = {}
        file = home / "settings.toml"
        try:
            if file.is_file():
                values.update(tomllib.loads(file.read_text("utf-8")))
            for name in set(cls.model_fields) - {"home", "source"}:
                if text := os.environ.get(f"KETTE_{name.upper()}"):
                    values[name] = text
            if text := os.environ.get("KETTE_SOURCE"):
                values["source"] = tuple(part for part in text.split(os.pathsep) if part)
            return cls.model_validate({**values, "home": home.absolute()})
        except (ValidationError, tomllib.TOMLDecodeError) as error:
            place = (
                ".".join(str(part) for part in error.errors()[0]["loc"])
                if isinstance(error, ValidationError)
                else "settings.toml"
            )
            raise WrongUse(
                f"The machine setting `{place}` is wrong.",
                "Mend the `KETTE_…` variable or `KETTE_HOME/settings.toml`.",
            ) from None


@dataclass(frozen=True)
class Place:
    """The folders of one project on this machine."""

    project: Path
    name: str
    home: Path

    @property
    def params(self) -> Path:
        return self.project / "params.yaml"

    @property
    def lock(self) -> Path:
        return self.project / "constraints.txt"

    @property
    def work(self) -> Path:
        return self.project / ".kette"

    @property
    def store(self) -> Path:
        return self.work / "store"

    @property
    def prefect(self) -> Path:
        return self.work / "prefect"

    @property
    def data(self) -> Path:
        return self.project / "data"

    @property
    def candidate(self) -> Path:
        return self.project / "releases" / "candidate"

    @property
    def shared(self) -> tuple[Path, ...]:
        """Folders that others may get: work folder, store, data, DVC's cache."""
        return (self.work, self.store, self.data, self.project / ".dvc" / "cache")

    @property
    def ledger(self) -> Path:
        return self.home / self.name / "ledger"

    @property
    def checkpoints(self) -> Path:
        """Time-stamped checkpoints."""
        return self.home / self.name / "checkpoints"

    @property
    def keys(self) -> Path:
        return self.home / self.name / "keys"

    @property
    def vault(self) -> Path:
        return self.home / self.name / "vault"

    def check(self) -> None:
        """Refuse a home inside the project (PRJ-1).

        Raises:
            WrongUse: evidence and secrets would lie beside what they are to protect.
        """
        theirs = [folder.resolve() for folder in (self.project, *self.shared)]
        mine = [folder.resolve() for folder in (self.home, self.ledger, self.keys, self.vault)]
        if any(folder.is_relative_to(other) for folder in mine for other in theirs):
            raise WrongUse(
                "KETTE_HOME lies inside the project: keys and ledger would lie beside the data.",
                "Set KETTE_HOME to a folder outside the project.",
            )


@contextmanager
def run_lock(place: Place) -> Iterator[None]:
    """Hold the project for one run (PRJ-2); the system frees it when the process ends.

    Raises:
        WrongUse: another run holds it.
    """
    place.work.mkdir(parents=True, exist_ok=True)
    with (place.work / "run.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WrongUse(
                "Another run is at work in this project.", "Wait until it has ended, or stop it."
            ) from None
        yield


def is_repository(project: Path) -> bool:
    """Whether the project is the top of a git work tree."""
    return (project / ".git").exists()


def commit_of(project: Path) -> str | None:
    """The commit checked out in the project; null outside git or before the first commit."""
    return _git(project, "rev-parse", "--verify", "--quiet", "HEAD") or None


def work_tree(project: Path) -> str:
    """Whether the tracked files are the commit's: `clean`, `changed`, or `no repository`."""
    if not is_repository(project):
        return "no repository"
    changed = _git(project, "status", "--porcelain", "--untracked-files=no")
    return "changed" if changed else "clean"


def _git(project: Path, *words: str) -> str:
    """What git says in a project; nothing where there is no repository or no git."""
    if not is_repository(project) or shutil.which("git") is None:
        return ""
    command = ["git", "-C", str(project), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
