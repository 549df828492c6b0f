"""`kette.zip`: the source of the Kette that made a release, so that its own code can run again.

Unpacked on `PYTHONPATH` it is the three packages and their metadata; with the lock's environment it
runs `kette` as it was.

Rules:

- SRC-1  It holds every file of `flows`, `stages` and `audit` that runs or is read, data tables and
         templates included, and the distribution's metadata; no cache, test or editor's leftover.
- SRC-2  Its bytes depend on names and contents of these files alone.
- SRC-3  Of the stages it holds the very code that their keys name: an edit while the chain ran is
         found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from audit.errors import Fault
from stages.archive import write_zip
from stages.artifact import Digest

NAME = "kette.zip"
PACKAGES = ("flows", "stages", "audit")
ROOT = Path(__file__).resolve().parents[1]
_METADATA = {"METADATA": ("METADATA", "PKG-INFO"), "entry_points.txt": ("entry_points.txt",)}
"""Member of the distribution's folder → names that installers give it."""


def write_source(target: Path, code: Mapping[str, Digest], root: Path = ROOT) -> None:
    """Write the archive of the running code.

    Args:
        target: the new file.
        code: path below `stages/` → SHA-256, of the code that ran.
        root: the folder that holds the packages.

    Raises:
        Fault: the code was edited meanwhile, or Kette runs without being installed, so that its
            requirements are not known.
    """
    members = _sources(root)
    for path, digest in code.items():
        if hashlib.sha256(members.get(f"stages/{path}", b"")).hexdigest() != digest:
            raise Fault(
                f"The code of Kette was edited while the chain ran: stages/{path}.",
                "Run the same command again.",
            )
    write_zip(target, {**members, **_metadata()}.items())


def _sources(root: Path) -> dict[str, bytes]:
    """Member → bytes, of the packages' files (SRC-1)."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for package in PACKAGES
        for path in (root / package).rglob("*")
        if path.is_file() and _is_source(path.relative_to(root))
    }


def _is_source(path: Path) -> bool:
    hidden = any(part.startswith(".") or part == "__pycache__" for part in path.parts)
    return not hidden and path.suffix not in (".pyc", ".pyo") and not path.name.endswith("~")


def _metadata() -> dict[str, bytes]:
    """Name, version and requirements, as the bill of materials reads them."""
    try:
        kette = distribution("kette")
    except PackageNotFoundError:
        raise Fault(
            "Kette is not installed here: its requirements are not known.",
            "Install it: `pip install -c constraints.txt -e .`.",
        ) from None
    folder = f"kette-{kette.version}.dist-info"
    found = {}
    for member, names in _METADATA.items():
        texts = (kette.read_text(name) for name in names)
        if text := next((text for text in texts if text), None):
            found[f"{folder}/{member}"] = text.encode()
    return found
