"""The environment of a release, archived: it is installed again without network, years later.

    releases/environments/<first 12 of the lock's digest>/
        environment.json    what was installed, by which interpreter, on what machine
        wheels/*.whl        every installed distribution that the lock pins, at its exact version
        interpreter.zip     the interpreter: executable, standard library, the libraries they load

Releases of one lock share it; DVC pins it as `<folder>.dvc`.

Rules:

- ARC-1  It holds what ran: local versions (`2.13.0+cpu`) are kept as they are installed.
- ARC-2  It appears whole, and is made once for each lock.
- ARC-3  The interpreter leaves out tests, caches, packages installed beside it, and the C library,
         which belongs to the machine.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from importlib.metadata import distributions
from pathlib import Path

from audit.canonical import canonical_json
from audit.errors import Fault, WrongUse
from stages.archive import read_zip, write_zip
from stages.artifact import Digest
from stages.lock import environment, lock_digest, normal_name
from stages.store import publish_folder

FOLDER = "releases/environments"
INTERPRETER, WHEELS, FACTS = "interpreter.zip", "wheels", "environment.json"

_LIMIT_BYTES, _LIMIT_ENTRIES = 2**31, 50_000
_LEFT_OUT = frozenset({"__pycache__", "test", "tests", "site-packages", "dist-packages"})
_OF_THE_MACHINE = re.compile(r"(ld-linux.*|lib(c|m|pthread|dl|rt|util|resolv|nsl)\.so.*)")


def archive_path(lock: Digest) -> str:
    """The archive's folder, relative to the project."""
    return f"{FOLDER}/{lock[:12]}"


def archive_environment(project: Path, pins: Mapping[str, str]) -> str:
    """Make the archive of this environment, unless it is there.

    Args:
        project: the project's folder.
        pins: of the lock that this environment satisfies.

    Returns:
        The archive's folder, relative to the project.

    Raises:
        WrongUse: it was pinned before, and its bytes are not here.
        Fault: pip or the disk refused.
    """
    lock = lock_digest(dict(pins))
    name = archive_path(lock)
    target = project / name
    if target.is_dir():
        return name
    if (project / f"{name}.dvc").exists():
        raise WrongUse(
            "The lock's environment is archived already, but its files are not here.",
            f"Fetch them: `dvc pull {name}.dvc`, or `dvc checkout` where the cache has them.",
        )
    installed = _installed(pins)

    def fill(folder: Path) -> None:
        _wheels(folder / WHEELS, installed)
        write_zip(folder / INTERPRETER, ((name, path.read_bytes) for name, path in _parts()))
        facts = {
            "schema_version": 1,
            "lock": lock,
            "installed": installed,
            "environment": environment(),
            "tag": sysconfig.get_platform(),
        }
        (folder / FACTS).write_bytes(canonical_json(facts))

    publish_folder(target, fill)
    return name


def unpack_interpreter(archive: Path, folder: Path) -> Path:
    """Lay an archived interpreter down; gives its executable.

    Start it with `LD_LIBRARY_PATH` naming `folder/lib`.

    Raises:
        Unreadable: the archive is damaged or not ours.
    """
    for name, data in read_zip(archive, limit_bytes=_LIMIT_BYTES, limit_entries=_LIMIT_ENTRIES):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        if name.startswith("bin/") or ".so" in path.name:
            path.chmod(0o755)
    return next((folder / "bin").iterdir())


def _installed(pins: Mapping[str, str]) -> dict[str, str]:
    """Distribution → exact version here, of those that the lock pins (ARC-1)."""
    found = {normal_name(found.name or ""): found.version for found in distributions()}
    return {name: found[name] for name in sorted(pins.keys() & found.keys())}


def _wheels(folder: Path, installed: Mapping[str, str]) -> None:
    """Fetch every wheel; where a distribution has none, pip builds it."""
    folder.mkdir()
    asked = [f"{name}=={version}" for name, version in installed.items()]
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-cache-dir",
               "--disable-pip-version-check", "--wheel-dir", str(folder), *asked]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise Fault(
            f"The environment could not be archived: {lines[-1].rstrip('.')}.",
            "Give pip the index or the folder of wheels that the environment was installed from.",
        )


def _parts() -> Iterator[tuple[str, Path]]:
    """Member → file of the interpreter (ARC-3)."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    base = Path(sys.base_prefix)
    executable = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    library = Path(sysconfig.get_path("stdlib"))
    found = {f"bin/{version}": executable}
    loaded = [executable]
    for path in library.rglob("*"):
        inner = path.relative_to(library)
        if path.is_file() and not _LEFT_OUT & set(inner.parts) and path.suffix != ".a":
            found[f"lib/{version}/{inner.as_posix()}"] = path
            if path.suffix == ".so":
                loaded.append(path)
    for path in _libraries(loaded, base / "lib"):
        found[f"lib/{path.name}"] = path
    yield from found.items()


def _libraries(loaded: list[Path], own: Path) -> set[Path]:
    """Shared libraries that these files load, by `ldd`, without the machine's C library."""
    if platform.system() != "Linux" or shutil.which("ldd") is None:
        raise Fault("The interpreter's libraries cannot be listed here.", "Install `ldd`.")
    done = subprocess.run(
        ["ldd", *map(str, loaded)], capture_output=True, text=True, check=False,
        env={"LC_ALL": "C", "LD_LIBRARY_PATH": str(own)},
    )  # fmt: skip
    found = {Path(path) for path in re.findall(r"=> (/\S+) \(", done.stdout)}
    return {path for path in found if not _OF_THE_MACHINE.fullmatch(path.name)}
