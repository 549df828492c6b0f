"""What was computed from a series once: arrays on disk, by digest, memory-mapped.

A key says all that decides the arrays; what lies under it is held against its own digests before
it is used, and made again where it is not what it was. The folder may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.canonical import digest_json

Arrays = dict[str, NDArray[Any]]
_DIGESTS = "digests.json"


class Cache:
    """Arrays by key; without a folder nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def arrays(self, parts: Mapping[str, Any], make: Callable[[], Arrays]) -> Arrays:
        """The arrays of a key, made if they are not there.

        Args:
            parts: JSON of all that decides the arrays.
            make: makes them; names are file names.

        Returns:
            Memory-mapped where they are kept: a change stays in this process.
        """
        if self._folder is None:
            return make()
        place = self._folder / digest_json(dict(parts))
        if (kept := _read(place)) is not None:
            return kept
        _write(place, make())
        kept = _read(place)
        return make() if kept is None else kept


def sha256(array: NDArray[Any]) -> str:
    """Of an array's bytes, in C order."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def _read(place: Path) -> Arrays | None:
    try:
        digests: dict[str, str] = json.loads((place / _DIGESTS).read_bytes())
        found = {name: np.load(place / f"{name}.npy", mmap_mode="c") for name in digests}
    except (OSError, ValueError):
        return None
    whole = all(sha256(array) == digests[name] for name, array in found.items())
    return found if whole else None


def _write(place: Path, arrays: Arrays) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(place, ignore_errors=True)
    draft = Path(tempfile.mkdtemp(dir=place.parent, prefix="draft-"))
    try:
        for name, array in arrays.items():
            np.save(draft / f"{name}.npy", np.ascontiguousarray(array), allow_pickle=False)
        digests = {name: sha256(array) for name, array in arrays.items()}
        (draft / _DIGESTS).write_text(json.dumps(digests))
        draft.rename(place)
    except OSError:  # full, or another process was first: it can be made again
        shutil.rmtree(draft, ignore_errors=True)
