"""A past commit of a project as a folder of its own, below `.kette/reproduce/`.

Rules:

- WTR-1  The project's own work tree, index and branches are not touched.
- WTR-2  It is gone after use; what a kill left is taken away by the next one that is made here.
- WTR-3  What was asked to be kept stays until its folder is deleted.
- WTR-4  No hook of the repository runs: a past commit is laid, not checked out for work.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from audit.errors import Fault
from flows.git import Repository

_KEPT = "kept"


@contextmanager
def workplace(project: Path, label: str, *, keep: bool = False) -> Iterator[Path]:
    """A fresh folder below `.kette/reproduce/`, for the time of the block.

    Args:
        project: a git work tree.
        label: a word for the folder's name, such as the version.
        keep: leave the folder behind.
    """
    home = project / ".kette" / "reproduce"
    home.mkdir(parents=True, exist_ok=True)
    prune(project)
    place = home / f"{label}-{secrets.token_hex(4)}"
    with place.with_name(f"{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # A rebuild that outlives this process holds the lock on.
        os.set_inheritable(lock.fileno(), True)  # noqa: FBT003 - the library's own signature
        place.mkdir()
        try:
            yield place
        finally:
            if keep:
                (place / _KEPT).touch()
            else:
                _remove(project, place)


def lay(project: Path, commit: str, tree: Path) -> None:
    """A commit's files: a linked work tree, or where git cannot, a clone that shares its objects.

    Raises:
        Fault: git failed.
    """
    repository = Repository(project)
    if repository.ask("worktree", "add", "--force", "--detach", str(tree), commit) is not None:
        return
    shutil.rmtree(tree, ignore_errors=True)
    cloned = repository.ask("clone", "--shared", "--no-checkout", str(project), str(tree))
    if cloned is None or Repository(tree).ask("checkout", "--detach", commit) is None:
        raise Fault(
            f"Git could not lay commit {commit[:12]}.",
            "Run `git fsck` in the project; a shallow clone needs `git fetch --unshallow`.",
        )


def prune(project: Path) -> None:
    """Take away what no process holds and nobody asked to keep (WTR-2, WTR-3)."""
    for place in sorted((project / ".kette" / "reproduce").glob("*/")):
        if (place / _KEPT).exists():
            continue
        with place.with_name(f"{place.name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            _remove(project, place)


def _remove(project: Path, place: Path) -> None:
    """Delete the folder and what the repository knows of it."""
    for path in (place, *place.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)  # the store's trees are read-only
    shutil.rmtree(place, ignore_errors=True)
    Repository(project).ask("worktree", "prune")
    place.with_name(f"{place.name}.lock").unlink(missing_ok=True)
