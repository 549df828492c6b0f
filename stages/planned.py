"""A stage on its way through a run: planned with its keys, then ended with its gate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from audit.errors import Refused
from stages.artifact import Artifact, Digest
from stages.params import Params
from stages.pool import Workers
from stages.stage import Gate, Json, Stage, Unit, Verdict
from stages.store import Entry


@dataclass
class Planned:
    """A stage whose units are known: what is here already, and what is to do."""

    stage: Stage[Any]
    parameters: Params
    units: dict[str, tuple[Unit, Digest, Json]]
    """Name → unit, key, parts of the key."""
    notes: Json
    classes: dict[str, str]
    """Source digests of the classes that the parameters name."""
    started: float
    done: dict[str, Entry] = field(default_factory=dict)
    todo: list[str] = field(default_factory=list)
    """Units that were not here when the stage was planned."""
    ran: list[str] = field(default_factory=list)
    """Units that had to run."""
    workers: Workers | None = None
    """The stage's own process, if it is numeric."""

    @property
    def digests(self) -> dict[str, Digest]:
        """Unit → digest of its tree, once all are done."""
        return {name: self.done[name].digest for name in sorted(self.units)}


@dataclass(frozen=True)
class StageResult:
    """How a stage ended."""

    artifact: Artifact
    keys: Mapping[str, Digest]
    """Unit → key; the merge's under the empty name."""
    status: str
    """`ran`, `reused`, `refused` or `cited`."""
    seconds: float
    gate: Gate
    findings: Json
    measured: Json
    units: int
    ran: int

    @property
    def key(self) -> Digest:
        """Of the merge."""
        return self.keys[""]


def external(label: str) -> bool:
    """Whether an input's label names a file from outside rather than a tree."""
    return label.startswith("source/")


def refusal(stage: str, gate: Gate) -> Refused:
    """What a refused gate says: rule, figure, limit, remedy."""
    check = next(check for check in gate.checks if check.verdict is Verdict.REFUSED)
    return Refused(
        f"{stage} refused by {check.rule}: {check.figure}; limit: {check.limit}.", check.remedy
    )
