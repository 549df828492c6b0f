"""Checkpoints of a project's ledger that were kept elsewhere: what a ledger must extend.

Rules:

- KNW-1  Known are: every checkpoint of the machine's mirror, those that the tags of the project's
         releases carry, those of the releases' manifests and evidence, and the time-stamped ones.
- KNW-2  A copy that cannot be read is an error, never passed over; what carries no checkpoint by
         its nature (a tag made by hand) is.
"""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from audit.checkpoint import LIMIT_BYTES, read_checkpoint
from audit.errors import Fault, Refused, WrongUse
from audit.mirror import checkpoints
from flows.git import Repository
from flows.tag import checkpoint_in
from stages.elsewhere import mirror_of
from stages.project import Machine, Place, is_repository

MIRROR = "the mirror"
"""How the labels of the mirror's checkpoints begin."""
_EVIDENCE = ("proof.json", "checkpoint")
_LARGEST = 2**30


def known_checkpoints(place: Place, machine: Machine) -> dict[str, bytes]:
    """Where from → signed note (KNW-1).

    Raises:
        Fault: the mirror cannot be reached.
        Refused: a release's manifest or evidence cannot be read.
    """
    found = {}
    if url := mirror_of(place, machine):
        try:
            found = {f"{MIRROR} ({name})": note for name, note in checkpoints(url).items()}
        except Fault as error:
            raise Fault(
                error.what, "Mend the mirror; without it: `KETTE_MIRROR= kette audit verify`."
            ) from None
    found |= _tags(place)
    releases = place.project / "releases"
    for path in sorted(releases.glob("*.yaml")):
        found[f"release {path.stem}"] = _note(path)
    for path in sorted(folder for folder in releases.glob("*") if folder.is_dir()):
        if note := _evidence(path):
            found[f"evidence of {path.name}"] = note
    for path in sorted(place.checkpoints.glob("*.tsr")):
        found[f"time stamp {path.stem}"] = path.with_suffix("").read_bytes()
    return found


def checkpoints_at(where: str) -> dict[str, bytes]:
    """The checkpoints that a user names: where from → signed note.

    Args:
        where: a mirror (folder or fsspec URL), a release's folder, or a file: a signed checkpoint,
            a proof, a release's manifest, or the text of a tag.

    Raises:
        WrongUse: there is none.
        Fault: the mirror cannot be reached.
    """
    path = Path(where)
    found: dict[str, bytes] = {}
    if "://" in where or (path / "checkpoints").is_dir() or (path / "checkpoint").is_file():
        found = {f"{MIRROR} ({name})": note for name, note in checkpoints(where).items()}
    elif path.is_dir():
        note = _evidence(path)
        found = {path.name: note} if note else {}
    elif path.is_file():
        found = {path.name: _note(path)}
    if not found:
        raise WrongUse(
            "There is no checkpoint at the place given by `--against`.",
            "Name a mirror, a release's folder, or a file that holds a signed checkpoint.",
        )
    return found


def _tags(place: Place) -> dict[str, bytes]:
    """The checkpoints that the tags of the project's releases carry."""
    if not is_repository(place.project):
        return {}
    form = "--format=%(refname:strip=2)%00%(contents)%00"
    listed = Repository(place.project).ask("for-each-ref", form, f"refs/tags/{place.name}@v*")
    fields = (listed or "").split("\0")
    found = {}
    for name, text in zip(fields[::2], fields[1::2], strict=False):
        try:
            found[f"tag {name.strip()}"] = checkpoint_in(text)
        except Refused:
            continue  # KNW-2
    return found


def _evidence(release: Path) -> bytes | None:
    """The checkpoint that a release's evidence ends in."""
    paths = (release / "evidence" / name for name in _EVIDENCE)
    return next((_note(path) for path in paths if path.is_file()), None)


def _note(path: Path) -> bytes:
    """The signed note that a file is, or carries.

    Raises:
        Refused: it carries none.
    """
    with path.open("rb") as file:
        raw = file.read(_LARGEST)
    try:
        if path.suffix == ".yaml":
            raw = yaml.safe_load(raw)["checkpoint"].encode()
        elif raw.startswith(b"{"):
            raw = json.loads(raw)["checkpoint"].encode()
        elif len(raw) > LIMIT_BYTES or b"-----BEGIN" in raw:
            raw = checkpoint_in(raw.decode())
        read_checkpoint(raw)
    except (AttributeError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise Refused(
            f"`{path.name}` carries no signed checkpoint.", "Fetch the file again from its source."
        ) from error
    return raw
