"""Put a cohort into the project as `data/` and pin it as `data.dvc`.

Rules:

- PUB-1  `data/` equals the tree, file for file; whatever else stood there is gone.
- PUB-2  `data.dvc` depends on the tree's paths and bytes alone, and is left alone while they stay.
- PUB-3  The bytes stand once on the disk: tree, `data/` and DVC's cache are names of one file
         (where the file system has hard links). The tree is not changed.
- PUB-4  What a kill leaves half-done, the next call finishes.
- PUB-5  DVC keeps its databases inside the project, reports nothing to anybody, reads no settings
         of the user or the host, and prints nothing.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml

from audit.errors import Fault, WrongUse
from stages.dataset.links import link, link_tree
from stages.dataset.pin import add, listed, pinned_out, prepare


@dataclass(frozen=True)
class PinResult:
    """What `data.dvc` now says."""

    md5: str
    """DVC's name of the folder: MD5 of the sorted list of its files' MD5s, and `.dir`."""
    files: int
    size: int
    """Bytes."""
    changed: bool
    """Whether `data/` or `data.dvc` had to be touched."""


def publish(tree: Path, project: Path) -> PinResult:
    """Make `data/` equal to a tree of the store and pin it.

    Args:
        tree: the cohort's folder in the store: plain, read-only files.
        project: the project's folder.

    Raises:
        WrongUse: `data/` holds files that no run wrote, git tracks it, or `.dvcignore` hides some.
        Fault: DVC or the disk refused.
    """
    tree, project = tree.resolve(), project.resolve()
    prepare(project)
    if pinned := _pinned(tree, project):
        return pinned
    try:
        _swap(tree, project)
        add(project)
        _keep_once(tree, project)
    except OSError as error:
        raise Fault(
            f"The disk refused to take the data set (error {error.errno}).",
            "Check free space and permissions of the project's folder, then run again.",
        ) from None
    return _result(project, changed=True)


def _pinned(tree: Path, project: Path) -> PinResult | None:
    """What is pinned, if `data/` and the cache are the tree's own files and `data.dvc` lists them.

    It looks at names and inodes alone, so it costs nothing on a large cohort.
    """
    data = project / "data"
    try:
        pinned = listed(project)
        if not _names(tree) == _names(data) == pinned.keys():
            return None
        same = all(
            (tree / path).samefile(data / path) and (tree / path).samefile(cached)
            for path, cached in pinned.items()
        )
        return _result(project, changed=False) if same else None
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return None  # nothing pinned yet, or damaged: pin again


def _swap(tree: Path, project: Path) -> None:
    """Build the new `data/` beside, and exchange the two by renames."""
    data, work = project / "data", project / ".kette" / "publish"
    if data.is_symlink() or (
        data.exists() and any(data.iterdir()) and not (data / "splits.parquet").is_file()
    ):
        raise WrongUse(
            "`data/` holds files that Kette did not write; it would replace them.",
            "Move them out of the project: studies are given to `kette run --source`.",
        )
    shutil.rmtree(work, ignore_errors=True)
    link_tree(tree, work / "new")
    if data.exists():
        data.rename(work / "old")
    (work / "new").rename(data)
    shutil.rmtree(work)


def _keep_once(tree: Path, project: Path) -> None:
    """Make cache and `data/` names of the tree's files (PUB-3).

    DVC trusts a cached object by its mode. One that stems from another file of the same bytes, or
    that was damaged since, is replaced by the tree's.
    """
    pinned = listed(project)
    if pinned.keys() != _names(tree):
        raise WrongUse(
            "DVC was told to leave out files of `data/`: the pin would not name them all.",
            "Take the pattern out of `.dvcignore`, then run again.",
        )
    for path, cached in pinned.items():
        for other in (cached, project / "data" / path):
            if not (tree / path).samefile(other):
                link(tree / path, other)


def _names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def _result(project: Path, *, changed: bool) -> PinResult:
    out = pinned_out(project)
    return PinResult(md5=out["md5"], files=out["nfiles"], size=out["size"], changed=changed)
