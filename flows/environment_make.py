"""Making the environment of a lock, from a release's archive or by pip.

Rules:

- MKE-1  It holds the lock's distributions and no other: pip resolves nothing.
- MKE-2  With an archive no network is asked, and its interpreter runs where this one is of another
         version.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from audit.errors import Fault, WrongUse
from flows.environment_archive import INTERPRETER, WHEELS, unpack_interpreter
from stages.lock import normal_name


def make(folder: Path, python: str, pins: dict[str, str], archive: Path | None) -> None:
    """Make a virtual environment with exactly these distributions, in `folder/venv`.

    Args:
        folder: made anew.
        python: version of the interpreter that the release was made with.
        pins: distribution → version.
        archive: the release's archived environment, if there is one.

    Raises:
        WrongUse: there is no such interpreter here.
        Fault: pip failed, or the archive holds nothing of the lock.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    asked = _wheels(pins, archive) if archive else [f"{n}=={v}" for n, v in sorted(pins.items())]
    interpreter = _interpreter(folder, python, archive)
    variables = libraries(folder)
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
    if minor(python) == minor(platform.python_version()):
        return Path(sys.executable)
    found = shutil.which(f"python{minor(python)}")
    if found is None:
        raise WrongUse(
            f"The release was made with Python {minor(python)}, and there is no "
            f"`python{minor(python)}` here.",
            "Install that version of Python, so that it is on PATH.",
        )
    return Path(found)


def libraries(folder: Path) -> dict[str, str]:
    """Variables that an environment's interpreter needs to find its libraries."""
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


def minor(version: str) -> str:
    """`3.11` of `3.11.7`."""
    return ".".join(version.split(".")[:2])
