"""A folder or object store where copies are kept, through fsspec.

Rules:

- ELS-1  A file here is written in one step and synced; elsewhere it is one PUT of the whole, which
         object stores do in one step.
- ELS-2  A URL may hold credentials: it stands in no message.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from audit import durable
from audit.errors import Fault, KetteError, WrongUse

_TEMPORARY = "write.tmp"


class Elsewhere:
    """Files below one URL.

    Raises:
        WrongUse: for a URL that fsspec cannot open here.
    """

    def __init__(self, url: str) -> None:
        try:
            self._fs, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError, TypeError, OSError) as error:
            raise WrongUse(
                f"The URL of a copy cannot be opened here ({type(error).__name__}).",
                "Mend the URL, or install the fsspec driver of its scheme.",
            ) from None
        self._root = str(root).rstrip("/")

    def sizes(self, folder: str) -> dict[str, int]:
        """Relative path → bytes, of all files below a folder; none where there is none."""
        try:
            with _reached():
                self._fs.invalidate_cache()
                found = self._fs.find(f"{self._root}/{folder}", detail=True)
        except FileNotFoundError:
            return {}
        return {
            str(path).removeprefix(self._root).lstrip("/"): int(info["size"])
            for path, info in found.items()
        }

    def read(self, path: str, limit: int) -> bytes | None:
        """A file's first bytes; None where there is no such file."""
        try:
            with _reached():
                data: bytes = self._fs.cat_file(f"{self._root}/{path}", 0, limit)
                return data
        except FileNotFoundError:
            return None

    def write(self, path: str, data: bytes) -> None:
        """Put a whole file under a path (ELS-1)."""
        with _reached():
            if isinstance(self._fs, LocalFileSystem):
                root = Path(self._root)
                durable.write(root / path, data, root / _TEMPORARY)
            else:
                target = f"{self._root}/{path}"
                self._fs.makedirs(target.rpartition("/")[0], exist_ok=True)
                self._fs.pipe_file(target, data)


@contextmanager
def _reached() -> Iterator[None]:
    """Tell any driver's error as ours, by type alone (ELS-2)."""
    try:
        yield
    except (KetteError, FileNotFoundError):
        raise
    except Exception as error:  # noqa: BLE001 - each fsspec driver has errors of its own
        raise Fault(
            f"The copy elsewhere could not be reached ({type(error).__name__}).",
            "Check network, space and permissions there; the next run tries again.",
        ) from None
