"""Where the bytes of the registry are: in the project, on this machine, or behind https.

Rules:

- WTS-3  A source that nothing permits is refused before a byte is read.
- WTS-14 No byte is given on before the file has the digest of its entry; of another file nothing is
         kept. A file of the project lies in it: no link leads out.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

from audit.errors import Refused, WrongUse
from stages.artifact import Digest, digest_file
from stages.pretrained_download import download
from stages.pretrained_license import require_license
from stages.pretrained_limits import Limits
from stages.pretrained_params import PretrainedSource, Weights
from stages.pretrained_place import ProjectFile, place_of

if TYPE_CHECKING:
    import requests


def fetch(
    name: str,
    weights: Weights,
    *,
    project: Path,
    home: Path,
    limits: Limits | None = None,
    session: requests.Session | None = None,
) -> Path:
    """Find the bytes of an entry, on the network last.

    Args:
        name: of the entry.
        weights: the registry.
        project: folder of the project.
        home: KETTE_HOME; `weights/<sha256>` below it holds what was downloaded or put there.
        limits: of the file's size; default: `Limits()`.
        session: for the download; default: a new one.

    Returns:
        A file that had the entry's digest when it was read.

    Raises:
        WrongUse: there is no such entry, or the project has no such file.
        Refused: its license permits no use, the file has another digest, is too large, or lies
            outside the project.
        Fault: the server does not give it.
    """
    source, limits = entry(name, weights), limits or Limits()
    if found := at_hand(name, weights, project=project, home=home, limits=limits):
        return found
    place = place_of(source.uri)
    if isinstance(place, ProjectFile):
        raise WrongUse(
            f"The project has no file for `weights.sources.{name}`.",
            "Put it where its `uri` says, with `dvc pull` for example, or into "
            f"`KETTE_HOME/weights/{source.sha256}`.",
        )
    return _downloaded(
        name, source, home / "weights", url=place.url, limits=limits, session=session
    )


def at_hand(
    name: str, weights: Weights, *, project: Path, home: Path, limits: Limits | None = None
) -> Path | None:
    """The bytes of an entry if they are here already; arguments and errors as of `fetch`."""
    source, limits = entry(name, weights), limits or Limits()
    require_license(name, source.license, source.license_justification, weights.licenses)
    place = place_of(source.uri)
    if isinstance(place, ProjectFile) and (path := _inside(name, project, place)):
        return _proven(name, path, source.sha256, limits)
    kept = home / "weights" / source.sha256
    return _proven(name, kept, source.sha256, limits) if kept.is_file() else None


def entry(name: str, weights: Weights) -> PretrainedSource:
    """The entry of a name.

    Raises:
        WrongUse: there is none.
    """
    if name not in weights.sources:
        raise WrongUse(
            f"There are no pre-trained weights `{name}`.",
            "Declare them in `weights.sources`, or name one that is declared.",
        )
    return weights.sources[name]


def _inside(name: str, project: Path, place: ProjectFile) -> Path | None:
    """The file of a place; None: there is none."""
    root = project.resolve()
    try:
        path = (root / place.path).resolve(strict=True)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, RuntimeError):  # links in a circle
        raise _outside(name) from None
    if not path.is_relative_to(root):
        raise _outside(name)
    return path


def _outside(name: str) -> Refused:
    return Refused(
        f"The file of `weights.sources.{name}` lies outside the project.",
        "Put the file itself there instead of a link.",
    )


def _proven(name: str, path: Path, sha256: Digest, limits: Limits) -> Path:
    """The same path, once its bytes are those of the entry."""
    told = path.stat()
    if not stat.S_ISREG(told.st_mode):
        raise Refused(f"`weights.sources.{name}` is no plain file.", "Put a plain file there.")
    if told.st_size > limits.file_bytes:
        raise Refused(
            f"The file of `weights.sources.{name}` has more than {limits.file_bytes} bytes.",
            "Take a smaller one.",
        )
    if digest_file(path) != sha256:
        raise _other(name)
    return path


def _other(name: str) -> Refused:
    return Refused(
        f"The file of `weights.sources.{name}` is not that of its entry: its SHA-256 differs.",
        "Find out why. If the new file is meant, review it and write its digest into the entry.",
    )


def _downloaded(
    name: str,
    source: PretrainedSource,
    folder: Path,
    *,
    url: str,
    limits: Limits,
    session: requests.Session | None,
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=folder, prefix=".unfinished-", delete=False) as file:
        path = Path(file.name)
        try:
            download(url, file, most=limits.file_bytes, session=session)
            file.flush()
            os.fsync(file.fileno())
            _proven(name, path, source.sha256, limits)
            path.replace(folder / source.sha256)
        finally:
            with suppress(FileNotFoundError):
                path.unlink()
    return folder / source.sha256
