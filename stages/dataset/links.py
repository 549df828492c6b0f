"""Files kept once: a second name for the same bytes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system has no hard links.

    The two names share one inode, so neither may be written through: both stay read-only.

    Args:
        source: a plain file.
        target: the new name; its folder is made. An existing file is replaced in one step.

    Raises:
        OSError: the disk refused.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.new")
    beside.unlink(missing_ok=True)
    try:
        os.link(source, beside)
    except OSError:  # another file system, or none with hard links
        shutil.copyfile(source, beside)
        beside.chmod(0o444)
    beside.replace(target)
    beside.unlink(missing_ok=True)  # POSIX: renaming one name of a file onto another does nothing


def link_tree(source: Path, target: Path) -> None:
    """Give every file below a folder a second name below another folder."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.rglob("*")):
        if path.is_file():
            link(path, target / path.relative_to(source))
