"""`kette.zip`: the source of the Kette that made a release, so that its own code can run again.

Unpacked on `PYTHONPATH` it is the three packages and their metadata; with the lock's environment it
runs `kette` as it was.

Rules:

- SRC-1  It holds every file of `flows`, `stages` and `audit` that runs or is read, data tables and
         templates included, and the distribution's metadata; no cache, test or editor's leftover.
- SRC-2  Its bytes depend on names and contents of these files alone.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from audit.errors import Fault
from stages.archive import write_zip

NAME = "kette.zip"
PACKAGES = ("flows", "stages", "audit")
ROOT = Path(__file__).resolve().parents[1]
_METADATA = {"METADATA": ("METADATA", "PKG-INFO"), "entry_points.txt": ("entry_points.txt",)}
"""Member of the distribution's folder → names that installers give it."""


def write_source(target: Path, root: Path = ROOT) -> None:
    """Write the archive of the running code.

    Args:
        target: the new file.
        root: the folder that holds the packages.

    Raises:
        Fault: Kette runs without being installed, so that its requirements are not known.
    """
    write_zip(target, {**_sources(root), **_metadata()}.items())


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
