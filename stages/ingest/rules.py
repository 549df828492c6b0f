"""What pseudonymizing one subject's instances takes beside the profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset

from stages.ingest import codes, keys
from stages.ingest.counts import Counts as Counts  # noqa: PLC0414 - stands here for those that take rules
from stages.ingest.params import Options
from stages.ingest.values import parts


@dataclass(frozen=True)
class Rules:
    """One subject's secrets and the parameters' vocabularies."""

    subject: str
    uid_key: bytes = field(repr=False)
    reader_key: bytes = field(repr=False)
    days: int | None = field(repr=False)
    """Shift of dates; 0 keeps them, None removes them."""
    readers: Mapping[str, str]
    """Content creator's name that is a role → reader's name."""
    labels: Mapping[str, tuple[str, tuple[str, ...]]]
    """Segment label in lower case → the label and its classes."""
    codes: Mapping[codes.Concept, str]
    """Concepts of the task → meaning."""
    depth: int
    """Deepest nesting of sequences that is followed."""
    options: Options = field(default_factory=Options)
    key_version: str = ""
    """Names the key that the replacements come from."""

    @property
    def device_key(self) -> bytes:
        """The key of devices' pseudonyms."""
        return keys.derive(self.uid_key, "device")


def reader_of(source: Dataset, rules: Rules) -> str:
    """The name that stands for an annotation's reader.

    A content creator that the parameters name gets the role's name, any other a keyed pseudonym;
    an annotation without a creator is a reader of its own.
    """
    name = "^".join(parts(value_of(source, "ContentCreatorName")))
    series = value_of(source, "SeriesInstanceUID")
    return reader_named(name, rules.readers, rules.reader_key) or keys.reader(
        rules.reader_key, f"series {series}"
    )


def reader_named(name: str, readers: Mapping[str, str], reader_key: bytes) -> str:
    """The name that stands for a reader's: the role's, else a keyed pseudonym; empty for none."""
    name = name.rstrip("^ ")
    if name in readers:
        return readers[name]
    return keys.reader(reader_key, name) if name else ""


def value_of(source: Dataset, keyword: str) -> Any:
    """An element's value; None if it is absent or cannot be read."""
    try:
        return source.get(keyword)
    except Exception:  # noqa: BLE001 - any fault of the parser: then it is as if absent
        return None
