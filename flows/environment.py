"""The environment of a past release: which interpreter runs its code.

Rules:

- ENV-1  The environment that runs now is used again if it is the lock's, distribution by
         distribution.
- ENV-2  Else one is made below `KETTE_HOME/environments/`, named by the lock: from the release's
         archived wheels without any network, or by pip from the lock.
- ENV-3  One that was cut off while it was made is made again; two that need the same one make it
         once.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from audit.errors import Fault, WrongUse
from stages.artifact import Digest
from stages.lock import check_environment, lock_digest, normal_name, read_lock

Say = Callable[[str, float], None]
How = Literal["running", "kept", "wheelhouse", "pip"]
_STAMP = "kette-lock"


@dataclass(frozen=True)
class Environment:
    """An interpreter with the distributions of a lock."""

    python: Path
    how: How
    """`running`: this one; `kept`: made before; else what it was made from."""
    lock: Digest


def environment_for(
    lock: Path, *, running: Path, python: str, home: Path, wheels: Path | None, say: Say
) -> Environment:
    """Find or make the environment of a lock.

    Args:
        lock: `constraints.txt` of the release.
        running: the lock that this environment is held against by every run.
        python: version of the interpreter that the release was made with, such as `3.11.7`.
        home: KETTE_HOME.
        wheels: folder of the release's archived wheels, if it has one.
        say: progress.

    Raises:
        WrongUse: there is no such interpreter here.
        Fault: pip failed.
    """
    pins = read_lock(lock)
    digest = lock_digest(pins)
    minor = ".".join(python.split(".")[:2])
    if minor == f"{sys.version_info.major}.{sys.version_info.minor}" and _runs(pins, running):
        return Environment(Path(sys.executable), "running", digest)
    folder = home / "environments" / digest[:12]
    with _alone(folder):
        if _stamp(folder) == digest:
            return Environment(folder / "bin" / "python", "kept", digest)
        say(f"making the environment of lock {digest[:12]}", 0.0)
        _make(folder, _interpreter(minor), _requirements(pins, wheels))
        (folder / _STAMP).write_text(f"{digest}\n", encoding="utf-8")
    return Environment(folder / "bin" / "python", "wheelhouse" if wheels else "pip", digest)


def _runs(pins: dict[str, str], running: Path) -> bool:
    """Whether this environment is the lock's (ENV-1)."""
    try:
        same = read_lock(running) == pins
        check_environment(pins)
    except WrongUse:
        return False
    return same


def _requirements(pins: dict[str, str], wheels: Path | None) -> list[str]:
    """What pip is asked for: the archived wheels that the lock pins, or the whole lock.

    Raises:
        Fault: an archived wheel is not the lock's.
    """
    if wheels is None:
        return [f"{name}=={version}" for name, version in sorted(pins.items())]
    asked = []
    for path in sorted(wheels.glob("*.whl")):
        name, version = path.name.split("-")[:2]
        pinned = pins.get(normal_name(name))
        if pinned is not None and pinned in (version, version.split("+", 1)[0]):
            asked.append(str(path))
    if not asked:
        raise Fault(
            "The release's archive of wheels holds none that its lock pins.",
            "Fetch the release again, or delete the archive to install from the network.",
        )
    return asked


def _interpreter(minor: str) -> str:
    """An interpreter of that version.

    Raises:
        WrongUse: none is here.
    """
    if minor == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    found = shutil.which(f"python{minor}")
    if found is None:
        raise WrongUse(
            f"The release was made with Python {minor}, and there is no `python{minor}` here.",
            f"Install Python {minor}, so that `python{minor}` is on PATH.",
        )
    return found


def _make(folder: Path, interpreter: str, requirements: list[str]) -> None:
    """A virtual environment with exactly these distributions."""
    shutil.rmtree(folder, ignore_errors=True)
    _call([interpreter, "-m", "venv", str(folder)])
    network = [] if not _files(requirements) else ["--no-index"]
    _call([
        str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps",
        "--no-compile", "--disable-pip-version-check", *network, *requirements,
    ])  # fmt: skip


def _files(requirements: list[str]) -> bool:
    return all(path.endswith(".whl") for path in requirements)


def _call(command: list[str]) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=clean)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise Fault(
            f"The release's environment could not be made: {lines[-1].rstrip('.')}.",
            "Mend what pip says, then try again; an archive of wheels needs no network.",
        )


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
