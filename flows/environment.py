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
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from audit.errors import Fault, WrongUse
from flows.environment_archive import INTERPRETER, WHEELS, unpack_interpreter
from stages.artifact import Digest
from stages.lock import check_environment, lock_digest, normal_name, read_lock

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
    if _minor(python) == _minor(platform.python_version()) and _runs(pins, running):
        return Environment(Path(sys.executable), "running", digest)
    folder = home / "environments" / digest[:12]
    with _alone(folder):
        how: How = "kept"
        if _stamp(folder) != digest:
            say(f"making the environment of lock {digest[:12]}", 0.0)
            archived = archive()
            how = "archive" if archived else "pip"
            _make(folder, python, pins, archived)
            (folder / _STAMP).write_text(f"{digest}\n", encoding="utf-8")
    return Environment(folder / "venv" / "bin" / "python", how, digest, _libraries(folder))


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _runs(pins: dict[str, str], running: Path) -> bool:
    """Whether this environment is the lock's (ENV-1)."""
    try:
        same = read_lock(running) == pins
        check_environment(pins)
    except WrongUse:
        return False
    return same


def _make(folder: Path, python: str, pins: dict[str, str], archive: Path | None) -> None:
    """A virtual environment with exactly these distributions (ENV-2)."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    asked = _wheels(pins, archive) if archive else [f"{n}=={v}" for n, v in sorted(pins.items())]
    interpreter = _interpreter(folder, python, archive)
    variables = _libraries(folder)
    _call([str(interpreter), "-m", "venv", str(folder / "venv")], variables)
    offline = ["--no-index"] if archive else []
    _call([
        str(folder / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps",
        "--disable-pip-version-check", *offline, *asked,
    ], variables)  # fmt: skip


def _wheels(pins: dict[str, str], archive: Path) -> list[str]:
    """The archived wheels that the lock pins.

    Raises:
        Fault: there are none.
    """
    asked = []
    for path in sorted((archive / WHEELS).glob("*.whl")):
        name, version = path.name.split("-")[:2]
        pinned = pins.get(normal_name(name))
        if pinned is not None and pinned in (version, version.split("+", 1)[0]):
            asked.append(str(path))
    if not asked:
        raise Fault(
            "The release's archive of wheels holds none that its lock pins.",
            "Fetch the archive again from where the release was published.",
        )
    return asked


def _interpreter(folder: Path, python: str, archive: Path | None) -> Path:
    """This interpreter if it is the release's, else the archived one, else one of that version.

    Raises:
        WrongUse: none is here.
    """
    if python == platform.python_version():
        return Path(sys.executable)
    if archive and (archive / INTERPRETER).is_file():
        return unpack_interpreter(archive / INTERPRETER, folder / "interpreter")
    if _minor(python) == _minor(platform.python_version()):
        return Path(sys.executable)
    found = shutil.which(f"python{_minor(python)}")
    if found is None:
        raise WrongUse(
            f"The release was made with Python {_minor(python)}, and there is no "
            f"`python{_minor(python)}` here.",
            "Install that version of Python, so that it is on PATH.",
        )
    return Path(found)


def _libraries(folder: Path) -> dict[str, str]:
    """What the archived interpreter needs to find its libraries."""
    libraries = folder / "interpreter" / "lib"
    return {"LD_LIBRARY_PATH": str(libraries)} if libraries.is_dir() else {}


def _call(command: list[str], variables: Mapping[str, str]) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**clean, **variables}
    )
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise Fault(
            f"The release's environment could not be made: {lines[-1].rstrip('.')}.",
            "Mend what pip says, then try again; an archived environment needs no network.",
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
