"""`kette init`: the folder that a project starts as, and its vault on this machine."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from string import Template

from pydantic import ValidationError

from audit.errors import Fault, WrongUse
from stages.dataset.pin import prepare
from stages.params import Project
from stages.project import Machine, Place

LOCK = Path(__file__).resolve().parents[1] / "constraints.txt"
"""The lock of the Kette that runs."""
IGNORE = (
    "/data",
    "/.kette/",
    "/releases/?*/",
    "!/releases/environments/",
    "/releases/environments/?*/",
)
"""What DVC pins or a run rebuilds; the pins and manifests in `releases/` are committed.

`?*`, not `*`: DVC's matcher lets `/releases/*/` hide `releases/` itself, and would push no release.
"""


def create(folder: Path, name: str, *, lock: Path = LOCK) -> list[str]:
    """Make a project: parameters with comments, lock, DVC's settings, git repository, vault.

    Args:
        folder: made if it is missing; what else is in it stays.
        name: of the project, and of its folder below KETTE_HOME.
        lock: pins to start with.

    Returns:
        The files made, relative to the folder, sorted.

    Raises:
        WrongUse: the folder is a project already, the name is none or taken, or the lock is
            missing.
        Fault: git failed.
    """
    from stages.ingest.vault import create as create_vault

    if (folder / "params.yaml").exists():
        raise WrongUse(
            "The folder is a project already: it has a `params.yaml`.",
            "Choose another folder, or edit that project.",
        )
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        project = Project(name=name, epoch=midnight)
    except ValidationError:
        raise WrongUse(
            "A project's name is made of a-z, 0-9, `-` and `_`, with a letter or digit first.",
            "Give one with `--name`.",
        ) from None
    if not lock.is_file():
        raise WrongUse(
            "The lock of this Kette (`constraints.txt`) is missing: nothing to pin a project to.",
            "Install Kette from its repository: `pip install -c constraints.txt -e .`.",
        )
    place = Place(folder, project.name, Machine.here().home)
    place.check()
    if place.vault.exists():
        raise WrongUse(
            "This machine has the vault of a project of that name already.",
            "Give another name with `--name`: two projects share no pseudonyms.",
        )
    text = Template(Path(__file__).with_name("template.yaml").read_text("utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    before = _files(folder)
    _ignore(folder / ".gitignore")
    shutil.copyfile(lock, folder / "constraints.txt")
    prepare(folder)
    _repository(folder)
    create_vault(place.vault)
    (folder / "params.yaml").write_text(
        text.substitute(name=project.name, epoch=f"{project.epoch:%Y-%m-%dT%H:%M:%SZ}"),
        encoding="utf-8",
    )
    return sorted(_files(folder) - before)


def _ignore(path: Path) -> None:
    """Add the lines that a `.gitignore` lacks."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    lines += [line for line in IGNORE if line not in lines]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _repository(folder: Path) -> None:
    if any((parent / ".git").exists() for parent in (folder.resolve(), *folder.resolve().parents)):
        return
    try:
        subprocess.run(["git", "init", "--quiet", str(folder)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        raise Fault(
            "Git could not make a repository of the project.",
            "Install git, run `git init` in the folder, then run `kette init` again.",
        ) from None


def _files(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(folder).parts
    }
