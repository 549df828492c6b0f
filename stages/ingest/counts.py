"""What was done to an instance, counted by attribute.

The counts name attributes, never values. They go into `instances.parquet`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from sys import intern


class Done(StrEnum):
    """What became of an element."""

    REMOVED = "removed"
    EMPTIED = "emptied"
    REPLACED = "replaced"
    UIDS = "uids"
    SHIFTED = "shifted"
    CLEANED = "cleaned"
    """Some words of it were removed."""
    KEPT = "kept"


@dataclass
class Counts:
    """What was done to one instance, at every depth."""

    tags: Counter[tuple[int, str]] = field(default_factory=Counter)
    """(tag, what was done) → how often; a private element's block stands as 10."""

    def add(self, tag: int, done: Done, times: int = 1) -> None:
        """Count what was done to an element."""
        if times:
            self.tags[_place(tag), done.value] += times

    def exchanged(self, before: Counts, after: Counts) -> Counts:
        """These with one element's counts exchanged for another's."""
        return Counts(self.tags - before.tags + after.tags)

    def total(self, done: Done) -> int:
        """How often something was done to any element."""
        return sum(times for (_, kind), times in self.tags.items() if kind == done.value)

    def row(self) -> dict[str, int | str]:
        """Columns of `instances.parquet`."""
        totals: dict[str, int | str] = {f"actions_{done}": self.total(done) for done in Done}
        by_tag = [f"{tag:08x}:{done}:{n}" for (tag, done), n in sorted(self.tags.items())]
        return {**totals, "actions": intern(" ".join(by_tag))}


def _place(tag: int) -> int:
    """A tag without what varies with the file: private blocks and repeating groups are one."""
    group = tag >> 16
    if group % 2:
        return (tag & 0xFFFF00FF) | 0x1000 if tag & 0xFFFF >= 0x1000 else tag & 0xFFFF0000
    return tag
