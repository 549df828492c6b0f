"""A release's own code, run again on its own data, and its ladder held against the release's.

Rules:

- RBT-1  Without its code, ladder, measurements or citations no release is rebuilt; other lost bytes
         do not hinder it.
- RBT-2  A lost file of the dataset ends it before anything runs. Without erased subjects it runs
         with what is left: the release's code says how far that comes.
- RBT-3  A file of a newer format than this program reads is refused by its number.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from audit.errors import Fault, Refused
from flows.environment import Environment, environment_for
from flows.objects import Objects
from flows.rebuild import rebuild, unpack, variables
from flows.reference import Reference
from flows.reproduced import Rebuild
from flows.retrieval import Dataset, Retrieved, lay_data, lay_folder
from flows.worktree import lay
from stages.ladder import Ladder, compare
from stages.project import Machine

Say = Callable[[str, float], None]

LADDER, SOURCE, MEASUREMENTS, CITED = "ladder.json", "kette.zip", "measurements.json", "cited"
_NEEDED = (LADDER, SOURCE, MEASUREMENTS)
_REFUSED = 1
_HOW = {
    "running": "The environment of this machine is the lock's, and was used again.",
    "kept": "The environment of the lock had been made here before.",
    "archive": "The environment was made from the release's archive, without a network.",
    "pip": "The environment was made by pip from the lock.",
}
_NONE = "No environment was needed."


@dataclass(frozen=True)
class Work:
    """What a rebuild starts from."""

    objects: Objects
    """Of the project."""
    reference: Reference
    release: Retrieved
    folder: Path
    """To work in."""
    machine: Machine
    erased: frozenset[str]
    """Pseudonyms that the ledger says were erased."""
    say: Say


def rebuilt(work: Work) -> Rebuild:
    """Rebuild and compare.

    Raises:
        WrongUse: no interpreter of the release's version.
        Refused: a ladder of an unknown version.
        Fault: git, pip or the release's code failed.
    """
    release, manifest = work.release.folder, work.reference.manifest
    cited = [path for path in manifest.files if path.startswith(f"{CITED}/")]
    lost = [path for path in (*_NEEDED, *cited) if not (release / path).is_file()]
    if lost:
        return Rebuild(_NONE, Dataset(), None, f"it needs {', '.join(lost[:3])} of the release")
    released = read_ladder(release / LADDER)
    tree = work.folder / "project"
    lay(work.objects.project, work.reference.commit, tree)
    work.say("laying the dataset", 0.0)
    dataset = lay_data(work.objects, manifest.data.md5, tree / "data", work.erased)
    if dataset.missing:
        return Rebuild(_NONE, dataset, None, "its dataset is not whole")
    environment = _environment(work, tree)
    code = unpack(release / SOURCE, work.folder / "code")
    given = variables(os.environ, code, work.folder / "home", work.machine)
    given |= environment.variables
    ended = rebuild(
        environment.python, tree, release, given, work.say, without_missing=bool(dataset.erased)
    )
    if ended.code > _REFUSED and not dataset.erased:
        raise Fault(
            f"The rebuild failed: {ended.told}",
            "Mend what it says, then try again; with `--keep` its folder and its log stay.",
        )
    told = "" if ended.code == 0 else ended.told
    if not (ended.candidate / LADDER).is_file():
        return Rebuild(_HOW[environment.how], dataset, None, told or "it made no ladder")
    again = read_ladder(ended.candidate / LADDER)
    return Rebuild(
        environment=_HOW[environment.how],
        dataset=dataset,
        comparison=compare(released, again, manifest.tolerances.model_dump()),
        told=told,
        facts=_side_by_side(released, again),
    )


def read_ladder(path: Path) -> Ladder:
    """Read a ladder (RBT-3).

    Raises:
        Refused: it is of another schema version, or no ladder.
    """
    remedy = "Use a newer Kette: it reads what older ones wrote."
    try:
        raw = json.loads(path.read_bytes())
        version = raw["schema_version"]
        if version == 1:
            return Ladder.model_validate(raw)
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        raise Refused("The release's ladder cannot be read.", remedy) from None
    raise Refused(f"The release's ladder has schema version {version}; this Kette reads 1.", remedy)


def _environment(work: Work, tree: Path) -> Environment:
    """The release's interpreter; its archive is fetched only where it is needed."""
    manifest = work.reference.manifest

    def archive() -> Path | None:
        if manifest.environment is None:
            return None
        work.say("retrieving the archived environment", 0.0)
        return lay_folder(work.objects, manifest.environment, work.folder / "environment")

    return environment_for(
        tree / "constraints.txt",
        running=work.objects.project / "constraints.txt",
        python=manifest.machine_class.python,
        home=work.machine.home,
        archive=archive,
        say=work.say,
    )


def _side_by_side(released: Ladder, again: Ladder) -> tuple[tuple[str, str, str], ...]:
    """Each fact of the environment: name, before, now."""
    before, after = released.facts.environment, again.facts.environment
    names = sorted({*before, *after})
    return tuple((name, before.get(name, "–"), after.get(name, "–")) for name in names)
