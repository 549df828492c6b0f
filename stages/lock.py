"""The lock: `constraints.txt`, the environment that decides bits.

Rules:

- LCK-1  A run refuses to start when an installed distribution is not the version the lock pins.
- LCK-2  The lock's digest covers the pins alone: a comment or an order of lines changes nothing.
"""

from __future__ import annotations

import platform
import sys
from importlib.metadata import distributions, version
from pathlib import Path

from audit.canonical import digest_json
from audit.errors import WrongUse
from stages.artifact import Digest


def normal_name(name: str) -> str:
    """A distribution's name as the packaging standards compare it."""
    return name.lower().replace("_", "-").replace(".", "-")


def read_lock(path: Path) -> dict[str, str]:
    """Distribution → version.

    Raises:
        WrongUse: the file is missing, or holds a line that is no pin.
    """
    if not path.is_file():
        raise WrongUse(
            "The project has no lock (`constraints.txt`).",
            "Copy the lock of the Kette that made it, or make a project with `kette init`.",
        )
    pins = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        text = line.split("#", 1)[0].strip()
        if not text:
            continue
        name, separator, version = text.partition("==")
        if not separator:
            raise WrongUse(
                f"Line {number} of `constraints.txt` is no pin.", "Write it as `name==version`."
            )
        pins[normal_name(name.strip())] = version.strip()
    return pins


def lock_digest(pins: dict[str, str]) -> Digest:
    """Digest of the pins (LCK-2)."""
    return digest_json(pins)


def check_environment(pins: dict[str, str]) -> None:
    """Hold what is installed against the lock (LCK-1).

    A local version (`2.13.0+cpu`) satisfies its public version (`2.13.0`).

    Raises:
        WrongUse: naming the distributions that differ.
    """
    differ = []
    for name, found in installed().items():
        pinned = pins.get(name)
        if pinned is not None and pinned not in (found, found.split("+", 1)[0]):
            differ.append(f"{name} {found} (lock: {pinned})")
    if differ:
        raise WrongUse(
            f"The environment is not the lock's: {', '.join(sorted(differ)[:5])}.",
            "Install it: `pip install -r constraints.txt`.",
        )


def installed() -> dict[str, str]:
    """Distribution → version, as an import finds it: the first of a name on the path."""
    found: dict[str, str] = {}
    for distribution in distributions():
        found.setdefault(normal_name(distribution.name or ""), distribution.version)
    return found


def environment() -> dict[str, str]:
    """Facts of this environment that may explain a difference of bits."""
    return {
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "system": platform.system(),
        "machine": platform.machine(),
        "libc": " ".join(platform.libc_ver()),
        "processor": _processor(),
        "torch": version("torch"),  # its local part (+cpu) is not in the lock
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
