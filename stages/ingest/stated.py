"""What an output series states of its subject: sex, and age in five years.

Read from the first instance of the archive as it was written, so never more than the profile let
pass; the figures behind "how many subjects are alone in their group".
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

from stages.archive import ZipReader
from stages.ingest.params import Limits
from stages.ingest.raw import Syntax, scan
from stages.ingest.raw_file import meta_of

LARGEST: Final = 1 << 62
"""No limit: for archives that this stage wrote itself."""
_SEX: Final = 0x00100040
_AGE: Final = 0x00101010
_YEARS: Final = re.compile(r"(\d{3})([DWMY])")
_OLDEST: Final = 90


class Stated(NamedTuple):
    """Columns of `series.parquet`; "" where nothing is stated."""

    sex: str
    age_band: str
    """`60-64`, `90+`."""


def stated(archive: Path, limits: Limits) -> Stated:
    """Read what the first instance of a series' archive states."""
    with ZipReader(archive, limit_bytes=LARGEST, limit_entries=LARGEST) as members:
        data = members.read(members.names[0])
    _, at = meta_of(data)
    texts = {
        element.tag: data[element.value : element.stop].decode("ascii", "replace").strip(" \0")
        for element in scan(data, at, Syntax(explicit=True, little=True), limits, _AGE).elements
        if element.tag in (_SEX, _AGE)
    }
    return Stated(texts.get(_SEX, ""), band(texts.get(_AGE, "")))


def band(age: str) -> str:
    """The five years that an age (VR AS) lies in; below one year counts as 0."""
    match = _YEARS.fullmatch(age)
    if not match:
        return ""
    years = int(match[1]) if match[2] == "Y" else 0
    low = years // 5 * 5
    return f"{_OLDEST}+" if low >= _OLDEST else f"{low}-{low + 4}"
