"""What a reproduction found: the level reached, where it differs first, and why. Pure.

Rules:

- RPD-1  R0: every released byte was retrieved and its evidence holds. R1 and R2 are those of the
         ladder (`stages/ladder.py`): of a rebuild, whether or not the bytes are still there.
- RPD-2  A higher level reaches a lower one.
- RPD-3  A dataset that is not whole differs at `inputs`, first of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from flows.expectation import LEVELS, Level
from flows.history import Standing
from flows.retrieval import Dataset
from stages.ladder import Comparison

Json = dict[str, Any]

SHOWN: Final = 20
"""Causes that a record and the command line name."""


@dataclass(frozen=True)
class Rebuild:
    """How the release's own code ran again."""

    environment: str
    """Where the interpreter came from."""
    dataset: Dataset
    comparison: Comparison | None
    """None: the rebuild ended before it had a ladder."""
    told: str = ""
    """What it said last, if it ended early."""
    facts: tuple[tuple[str, str, str], ...] = ()
    """Name, the release's value and the rebuild's, of the environment."""


@dataclass(frozen=True)
class Reproduction:
    """One reproduction of one release."""

    version: str
    tag: str
    commit: str
    asked: Level
    """What was asked for, else what is expected (`flows/expectation.py`)."""
    standing: Standing
    signer: str
    """Who signed the tag, in words."""
    lost: tuple[str, ...]
    """What of the released bytes is missing or other, and what of their evidence does not hold."""
    machine: tuple[str, ...]
    """In what this machine is of another class than the release's."""
    rebuild: Rebuild | None = None
    """None where R0 was asked for."""
    page: Path | None = field(default=None)
    ledger: str = ""
    """Origin of the ledger that holds the record (`flows/witness.py`)."""
    record: int | None = None
    """Index in it."""

    @property
    def level(self) -> Level | None:
        """The level reached (RPD-1)."""
        if self.asked == "R0":
            return None if self.lost else "R0"
        found = self.rebuild.comparison if self.rebuild else None
        return found.level if found else None

    @property
    def reached(self) -> bool:
        """Whether the level asked for was reached (RPD-2)."""
        return self.level is not None and LEVELS.index(self.level) >= LEVELS.index(self.asked)

    @property
    def first_difference(self) -> str | None:
        """The first rung that differs; None where none does, or no rung was climbed."""
        if self.rebuild is None:
            return None
        if self.rebuild.dataset.causes:
            return "inputs"
        return self.rebuild.comparison.first_difference if self.rebuild.comparison else None

    @property
    def causes(self) -> tuple[str, ...]:
        """What explains it, the data first."""
        if self.rebuild is None:
            return ()
        found = [*self.rebuild.dataset.causes]
        if self.rebuild.comparison:
            told = tuple(f"subject {name} is missing" for name in self.rebuild.dataset.erased)
            more = self.rebuild.comparison.causes
            found += [cause for cause in more if not told or not cause.startswith(told)]
        if self.rebuild.told:
            found.append(f"the rebuild ended early: {self.rebuild.told}")
        return tuple(found)

    @property
    def rungs(self) -> list[Json]:
        """The rungs compared, in order."""
        compared = self.rebuild.comparison if self.rebuild else None
        return [rung.model_dump(mode="json") for rung in compared.rungs] if compared else []

    def details(self) -> Json:
        """What the ledger's `reproduced` record says."""
        return {
            "version": self.version,
            "tag": self.tag,
            "level": self.level,
            "asked": self.asked,
            "first_difference": self.first_difference,
            "causes": list(shortened(self.causes)),
            "lost": list(shortened(self.lost)),
        }

    def as_json(self) -> Json:
        """The fields of `kette reproduce --json`."""
        return {
            **self.details(),
            "commit": self.commit,
            "reached": self.reached,
            "standing": self.standing.state,
            "signer": self.signer,
            "machine": list(self.machine),
            "environment": self.rebuild.environment if self.rebuild else None,
            "missing": list(self.rebuild.dataset.missing) if self.rebuild else [],
            "erased": list(self.rebuild.dataset.erased) if self.rebuild else [],
            "rungs": self.rungs,
            "page": str(self.page) if self.page else None,
            "ledger": self.ledger,
            "record": self.record,
        }

    def kept(self, page: Path, ledger: str, record: int) -> Reproduction:
        """The same, with where it was written down."""
        return replace(self, page=page, ledger=ledger, record=record)


def shortened(texts: Sequence[str]) -> tuple[str, ...]:
    """The first texts, and how many more there are."""
    more = len(texts) - SHOWN
    return (*texts[:SHOWN], f"and {more} more") if more > 0 else tuple(texts)
