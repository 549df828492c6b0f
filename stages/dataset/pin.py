"""DVC, called so that it keeps to itself: what it pinned, and `dvc add`.

It has a database outside the project that remembers paths, settings of the user and the host that
could move its cache, analytics, and log handlers on standard output: all of that is kept away here.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import yaml

from audit.errors import Fault, WrongUse

CONFIG = """\
[core]
    analytics = false
    check_update = false
[cache]
    type = "reflink,hardlink,copy"
"""
"""The committed `.dvc/config`: for whoever calls `dvc` by hand."""
IGNORE = "/config.local\n/tmp\n/cache\n"
_MOVED = re.compile(r'\[core\]\n    site_cache_dir = "[^"\n]*"\n')
"""The local settings as they were written before the project's folder was moved or copied."""


def prepare(project: Path) -> None:
    """Write what DVC needs to find in a project, unless it is there."""
    folder = project / ".dvc"
    folder.mkdir(exist_ok=True)
    for name, text in (("config", CONFIG), (".gitignore", IGNORE)):
        if not (folder / name).exists():
            (folder / name).write_text(text, encoding="utf-8")
    local = folder / "config.local"  # ignored by git: it names this machine's folder
    text = f'[core]\n    site_cache_dir = "{site(project)}"\n'
    old = local.read_text("utf-8") if local.exists() else ""
    if old != text and (not old or _MOVED.fullmatch(old)):
        local.write_text(text, encoding="utf-8")


def add(project: Path, folder: str = "data") -> None:
    """`dvc add` of a folder of the project, hermetic and silent (PUB-5).

    Args:
        project: the project's folder.
        folder: relative to it; DVC writes `<folder>.dvc`.

    Raises:
        WrongUse: git tracks files in it.
        Fault: DVC refused.
    """
    settings: dict[str, Any] = {
        "core": {
            "no_scm": not (project / ".git").exists(),  # inside a larger repository: none of ours
            "autostage": False,
            "analytics": False,
            "site_cache_dir": str(site(project)),
        },
        "cache": {"dir": str(_cache(project)), "type": ["hardlink", "copy"]},
    }
    site(project).mkdir(parents=True, exist_ok=True)
    site(project).chmod(0o700)  # DVC opens its folders to everybody: they hold paths and hashes
    with alone(project):
        from dvc.exceptions import DvcException
        from dvc.output import OutputAlreadyTrackedError
        from dvc.repo import Repo

        # A killed DVC leaves this list of its readers and writers, cut off or naming a process
        # number that another has by now. One run works in a project at a time: nobody is in it.
        (project / ".dvc" / "tmp" / "rwlock").unlink(missing_ok=True)
        _drop_cut_off(project, folder)
        try:
            with Repo(str(project), config=settings) as repo:
                repo.add(str(project / folder))
        except OutputAlreadyTrackedError:
            raise WrongUse(
                f"Git tracks files below `{folder}/`; DVC pins them, git must not.",
                f"Run `git rm -r --cached {folder}` and commit, then run again.",
            ) from None
        except (DvcException, sqlite3.Error) as error:
            raise Fault(
                f"DVC could not pin `{folder}/` ({type(error).__name__}).",
                f"Run `dvc doctor` and `dvc add {folder}` in the project to see why.",
            ) from None
    _require_held(project, folder)


def _require_held(project: Path, folder: str) -> None:
    """Refuse a pin of bytes that DVC does not hold: it passes over what the disk refused.

    Raises:
        Fault: an object is missing or cut off; then the pin is removed.
    """
    try:
        missing = [
            path
            for path, held in listed(project, folder).items()
            if not held.is_file() or held.stat().st_size != (project / folder / path).stat().st_size
        ]
    except (FileNotFoundError, ValueError):
        missing = ["its list"]
    if missing:
        (project / f"{folder}.dvc").unlink(missing_ok=True)
        raise Fault(
            f"DVC could not keep `{folder}/`: {len(missing)} of its objects are missing.",
            "Free space or repair the disk, then run the same command again.",
        )


def _drop_cut_off(project: Path, folder: str) -> None:
    """Remove a pin that a killed DVC left half-written: it would refuse to read it."""
    try:
        whole = pinned_out(project, folder).keys() >= {"md5", "size", "nfiles", "hash", "path"}
    except FileNotFoundError:
        return
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, yaml.YAMLError):
        whole = False
    if not whole:
        (project / f"{folder}.dvc").unlink()


def pinned_out(project: Path, folder: str = "data") -> dict[str, Any]:
    """What `<folder>.dvc` says: `md5`, `size` (bytes), `nfiles`."""
    out: dict[str, Any] = yaml.safe_load((project / f"{folder}.dvc").read_bytes())["outs"][0]
    return out


def listed(project: Path, folder: str = "data") -> dict[str, Path]:
    """Path in a folder → its object in DVC's cache, as `<folder>.dvc` pins them."""
    cache = _cache(project) / "files" / "md5"
    name = str(pinned_out(project, folder)["md5"])
    entries = json.loads((cache / name[:2] / name[2:]).read_bytes())
    return {e["relpath"]: cache / e["md5"][:2] / e["md5"][2:] for e in entries}


def _cache(project: Path) -> Path:
    return project / ".dvc" / "cache"


def site(project: Path) -> Path:
    """DVC's folder for what it remembers: inside the project (PUB-5)."""
    return project / ".kette" / "dvc-site"


@contextmanager
def alone(project: Path) -> Iterator[None]:
    """Hide the user's and the host's DVC settings, and what DVC prints, while it works (PUB-5)."""
    nowhere = str(site(project) / "settings")
    ours = {
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(site(project)),
        "DVC_GLOBAL_CONFIG_DIR": nowhere,
        "DVC_SYSTEM_CONFIG_DIR": nowhere,
    }
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        with (
            Path(os.devnull).open("w") as void,
            redirect_stdout(void),
            redirect_stderr(void),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # of DVC's libraries about each other
            import dvc  # gives its loggers handlers on the streams of this moment

            for name in (dvc.__name__, "dvc_data", "dvc_objects"):
                logging.getLogger(name).handlers = [logging.NullHandler()]
                logging.getLogger(name).propagate = False
            yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
