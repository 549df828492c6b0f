"""Where an entry of the weights registry says that its bytes are: a decision on its URI alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath
from urllib.parse import quote, urlsplit

from stages.params import Params


class ProjectFile(Params):
    """A place in the project."""

    path: PurePosixPath


class Remote(Params):
    """A place behind https."""

    url: str


def place_of(uri: str) -> ProjectFile | Remote:
    """Where a URI points to (WTS-2).

    Raises:
        ValueError: it is none of the kinds, climbs, or names no version.
    """
    if any(ord(letter) <= 32 or ord(letter) == 127 for letter in uri) or "\\" in uri:
        raise ValueError("a place has no blank, control character or backslash")
    scheme, colon, rest = uri.partition(":")
    if not colon or "/" in scheme:
        return _file(uri)
    kinds: dict[str, Callable[[str], ProjectFile | Remote]]
    kinds = {"file": _file, "https": _https, "monai": _monai, "hf": _hub}
    if scheme not in kinds:
        raise ValueError("a place is a file of the project, https:, monai: or hf:")
    return kinds[scheme](rest)


def _file(text: str) -> ProjectFile:
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise ValueError("a file's place is relative to the project and never climbs")
    return ProjectFile(path=path)


def _https(rest: str) -> Remote:
    url = f"https:{rest}"
    parts = urlsplit(url)
    if not parts.hostname or parts.username or parts.password or parts.fragment:
        raise ValueError("an address has a host, no user, no password and no fragment")
    return Remote(url=url)


def _monai(rest: str) -> Remote:
    """Source: MONAI 1.6, `monai.bundle.scripts._get_monaihosting_bundle_url`."""
    name, at, version = rest.partition("@")
    _simple(name, version if at else "")
    return Remote(
        url="https://api.ngc.nvidia.com/v2/models/nvidia/monaihosting/"
        f"{name.lower()}/versions/{version}/files/{name}_v{version}.zip"
    )


def _hub(rest: str) -> Remote:
    """Source: Hugging Face Hub, `resolve` of a file at a revision."""
    repository, at, place = rest.partition("@")
    revision, slash, path = place.partition("/")
    owner, _, name = repository.partition("/")
    _simple(owner, name, revision if at and slash else "")
    file = _file(path).path
    return Remote(
        url=f"https://huggingface.co/{owner}/{name}/resolve/{revision}/{quote(str(file))}"
    )


def _simple(*words: str) -> None:
    if not all(
        word and word.strip(".") and all(c.isascii() and (c.isalnum() or c in "._-") for c in word)
        for word in words
    ):
        raise ValueError("write monai:<bundle>@<version> or hf:<owner>/<name>@<revision>/<file>")
