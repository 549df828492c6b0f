"""DVC's objects of a project, one by one: from a folder at hand, DVC's cache, then every remote.

DVC's own `checkout` and `pull` of a whole folder restore nothing when one object is missing, so a
past state is laid file by file. Objects are fetched by the project's own repository: a remote that
is named relative to it means what it means there, wherever the bytes are laid then.

Rules:

- OBJ-1  What is given has the digest asked for: a damaged object counts as missing, and the next
         place is asked.
- OBJ-2  What a remote gave is kept in DVC's cache, whole or not at all.
- OBJ-3  A remote that does not answer is told by name, and hides nothing that another one has.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from stages.dataset.pin import alone, site

_CHUNK = 2**20


def md5_of(path: Path) -> str:
    """DVC's name of a file's bytes: their MD5."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while part := file.read(_CHUNK):
            digest.update(part)
    return digest.hexdigest()


class Objects:
    """What DVC holds of a project."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.silent: set[str] = set()
        """Names of the remotes that did not answer (OBJ-3)."""
        self._cache = project / ".dvc" / "cache" / "files" / "md5"
        self._remotes: dict[str, Any] | None = None

    def get(self, name: str, beside: Path | None = None) -> Path | None:
        """An object's file, or None where no place has it.

        Args:
            name: its MD5, for a folder's list with `.dir` at the end.
            beside: a file that may hold the same bytes, such as one of the work tree.
        """
        cached = self._cache / name[:2] / name[2:]
        for path in (cached, beside):
            if path is not None and path.is_file() and md5_of(path) == name.partition(".")[0]:
                return path
        return self._fetched(name, cached)

    def listing(self, name: str) -> dict[str, str] | None:
        """Path → object of a pinned folder, sorted; None where its list is missing."""
        path = self.get(name)
        if path is None:
            return None
        return {entry["relpath"]: entry["md5"] for entry in json.loads(path.read_bytes())}

    def _fetched(self, name: str, target: Path) -> Path | None:
        """An object from the first remote that has it whole (OBJ-1, OBJ-2)."""
        beside = target.with_name(f".{target.name}.new")
        for label, remote in self._opened().items():
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with alone(self.project):
                    remote.fs.get_file(remote.odb.oid_to_path(name), str(beside))
            except FileNotFoundError:
                continue
            except Exception:  # noqa: BLE001 - a remote's library raises what it likes (OBJ-3)
                self.silent.add(label)
                continue
            if md5_of(beside) == name.partition(".")[0]:
                beside.chmod(0o444)
                return beside.replace(target)
            beside.unlink()
        return None

    def _opened(self) -> dict[str, Any]:
        """Name → remote, the default one first; none where the project knows no DVC."""
        if self._remotes is None:
            self._remotes = {}
            if (self.project / ".dvc").is_dir():
                self._open()
        return self._remotes

    def _open(self) -> None:
        assert self._remotes is not None  # noqa: S101 - narrows the type
        settings = {
            "core": {
                "no_scm": not (self.project / ".git").exists(),
                "analytics": False,
                "site_cache_dir": str(site(self.project)),
            }
        }
        with alone(self.project):
            from dvc.repo import Repo

            with Repo(str(self.project), config=settings) as repo:
                first = repo.config["core"].get("remote")
                for label in sorted(repo.config["remote"], key=lambda name: (name != first, name)):
                    try:
                        self._remotes[label] = repo.cloud.get_remote(label)
                    except Exception:  # noqa: BLE001 - a remote that cannot be opened (OBJ-3)
                        self.silent.add(label)
