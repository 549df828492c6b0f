"""Search all that a project left on a machine for identifiers that were planted in its input."""

from __future__ import annotations

import io
import re
import subprocess
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow.parquet as pq

_UIDS = re.compile(rb"[0-2]\.[0-9.]{8,62}")


def texts_of(path: Path) -> Iterator[bytes]:
    """A file's bytes, and those of what it holds compressed."""
    data = path.read_bytes()
    yield data
    if data[:4] == b"PAR1":
        table = pq.read_table(io.BytesIO(data))
        yield "\n".join(str(v) for column in table.columns for v in column.to_pylist()).encode()
    if data[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                yield name.encode()
                yield archive.read(name)


def git_objects(project: Path) -> bytes:
    """Every object of the project's history, inflated."""
    return subprocess.run(
        ["git", "cat-file", "--batch", "--batch-all-objects"],
        cwd=project, capture_output=True, check=True,
    ).stdout  # fmt: skip


class Haystack:
    """All bytes below some folders, each inode once, with the names of the files."""

    def __init__(self, folders: Iterable[Path], texts: Iterable[str | bytes] = ()) -> None:
        self.parts: list[tuple[str, bytes]] = []
        seen: set[int] = set()
        for folder in folders:
            for path in sorted(folder.rglob("*")):
                name = str(path.relative_to(folder)).encode()
                self.parts.append((str(path), name))
                if path.is_file() and not path.is_symlink() and path.stat().st_ino not in seen:
                    seen.add(path.stat().st_ino)
                    self.parts += [(str(path), text) for text in texts_of(path)]
        self.parts += [("output", t if isinstance(t, bytes) else t.encode()) for t in texts]

    def hits(self, needles: Iterable[str]) -> list[tuple[str, str]]:
        """Needle and place of each find, in UTF-8, Latin-1, ISO 2022 and UTF-16."""
        wanted = {form: needle for needle in needles if len(needle) > 3 for form in _forms(needle)}
        found = []
        for place, data in self.parts:
            found += [(needle, place) for form, needle in wanted.items() if form in data]
        return found

    def dates(self, dates: Iterable[str]) -> list[tuple[str, str]]:
        """DICOM dates (YYYYMMDD), also with hyphens or points, not inside a longer number."""
        found = []
        for date in dates:
            parts = (date[:4], date[4:6], date[6:])
            forms = "|".join([date, "-".join(parts), r"\.".join(reversed(parts))])
            pattern = re.compile(rf"(?<![\d.])(?:{forms})".encode())
            found += [(date, place) for place, data in self.parts if pattern.search(data)]
        return found

    def uids(self, uids: Iterable[str]) -> list[tuple[str, str]]:
        """Original UIDs, as text in one or two bytes a character."""
        wanted = {uid.encode() for uid in uids}
        found = []
        for place, data in self.parts:
            for text in (data, data.replace(b"\0", b"")):
                tokens = {token.rstrip(b".") for token in _UIDS.findall(text)}
                found += [(uid.decode(), place) for uid in tokens & wanted]
        return found


def _forms(needle: str) -> set[bytes]:
    forms = set()
    for encoding in ("utf-8", "latin-1", "iso2022_jp", "shift_jis", "utf-16-le", "utf-16-be"):
        try:
            forms.add(needle.encode(encoding))
        except UnicodeEncodeError:
            continue
    return forms
