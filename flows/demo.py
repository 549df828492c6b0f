"""The phantom cohort of `kette demo`: made once beside the vault, outside the project."""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path

from stages.project import Place


def incoming(place: Place) -> Path:
    """Folder of the phantom cohort; made if it is not there, whole or not at all.

    It plays the part of a hospital's export and carries invented identities, so it lies outside
    the project like any other incoming study.
    """
    from stages.key import code_digest

    place.check()
    folder = place.home / place.name / "incoming" / code_digest("phantom")[:12]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # another clone's demo may be at it
        if not folder.is_dir():
            from stages.phantom.cohort import generate

            beside = folder.with_name(f".{folder.name}.new")
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir()
            generate(beside)
            beside.rename(folder)
    return folder
