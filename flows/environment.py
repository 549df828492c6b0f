"""The environment of a past release: which interpreter runs its code.

Rules:

- ENV-1  The environment that runs now is used again if it is the lock's, distribution by
         distribution.
- ENV-2  Else one is made below `KETTE_HOME/environments/`, named by the lock: from the release's
         archive of wheels and interpreter without any network, or by pip from the lock.
- ENV-3  One that was cut off while it was made is made again; two that need the same one make it
         once.
"""

from __future__ import annotations

import fcntl
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from audit.errors import WrongUse
from flows.environment_make import libraries, make, minor
from stages.artifact import Digest
from stages.lock import check_environment, lock_digest, read_lock

Say = Callable[[str, float], None]
How = Literal["running", "kept", "archive", "pip"]
_STAMP = "kette-lock"


@dataclass(frozen=True)
class Environment:
    """An interpreter with the distributions of a lock."""

    python: Path
    how: How
    """`running`: this one; `kept`: made before; else what it was made from."""
    lock: Digest
    variables: Mapping[str, str] = field(default_factory=dict)
    """That the interpreter needs to start."""


def environment_for(
    lock: Path,
    *,
    running: Path,
    python: str,
    home: Path,
    archive: Callable[[], Path | None],
    say: Say,
) -> Environment:
    """Find or make the environment of a lock.

    Args:
        lock: `constraints.txt` of the release.
        running: the lock that every run here is held against.
        python: version of the interpreter that the release was made with, such as `3.11.7`.
        home: KETTE_HOME.
        archive: fetches the release's archived environment, if it has one.
        say: progress.

    Raises:
        WrongUse: there is no such interpreter here.
        Fault: pip failed.
    """
    pins = read_lock(lock)
    digest = lock_digest(pins)
    if minor(python) == minor(platform.python_version()) and _runs(pins, running):
        return Environment(Path(sys.executable), "running", digest)
    folder = home / "environments" / digest[:12]
    with _alone(folder):
        how: How = "kept"
        if _stamp(folder) != digest:
            say(f"making the environment of lock {digest[:12]}", 0.0)
            archived = archive()
            how = "archive" if archived else "pip"
            make(folder, python, pins, archived)
            (folder / _STAMP).write_text(f"{digest}\n", encoding="utf-8")
    return Environment(folder / "venv" / "bin" / "python", how, digest, libraries(folder))


def _runs(pins: dict[str, str], running: Path) -> bool:
    """Whether this environment is the lock's (ENV-1)."""
    try:
        same = read_lock(running) == pins
        check_environment(pins)
    except WrongUse:
        return False
    return same


def _stamp(folder: Path) -> str:
    path = folder / _STAMP
    return path.read_text("utf-8").strip() if path.is_file() else ""


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold an environment's name; the system frees it when the process ends (ENV-3)."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
