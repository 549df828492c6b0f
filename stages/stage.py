"""A stage: `plan → run(unit) → merge`, three plain functions and the parameters they take.

- `plan` names the units from the stage's inputs. Runs in the coordinator; may hold secrets, and
  what it gives to `ctx.spread` holds none.
- `run` turns one unit into files below `ctx.out`. Runs in a worker process, alone.
- `merge` makes the whole from the units' trees (cohort tables) below `ctx.out`, and the gate.
  Runs in a worker process too.

Rules:

- STG-1  All that decides the bits of a unit's output is in its `inputs`, its `facts`, the stage's
         parameters, the stage's code and the lock; these make its key.
- STG-2  `private` values (source paths, derived secrets) reach the worker by pipe alone. They are
         never keyed, recorded, logged or shown.
- STG-3  What is measured is returned in `Outcome.measured`, never written below `ctx.out`.
- STG-4  A function of a stage never looks at the clock, the host, the user or the environment.

A unit's inputs are labeled: `"<stage>/<unit>"` is a unit's tree of an earlier stage, `"<stage>"`
its merged tree, `"source/<handle>"` the SHA-256 of a file from outside, `"source/own/<handle>"` of
one that is an earlier output of the stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from stages.artifact import Digest
from stages.params import Params

Json = dict[str, Any]
P = TypeVar("P", bound=Params)
T = TypeVar("T")
R = TypeVar("R")


class Verdict(StrEnum):
    """How a stage ended."""

    PASSED = "passed"
    FINDINGS = "passed with findings"
    REFUSED = "refused"


class Check(BaseModel):
    """One declared limit held against one figure."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: str
    """Identifier of the rule, as in the stage's docstring (`ANN-4`)."""
    figure: str
    """What was found, with its unit."""
    limit: str
    """What was declared in `params.yaml`, with its key."""
    verdict: Verdict
    remedy: str = ""
    """What to do; required unless the check passed."""


class Gate(BaseModel):
    """The end of a stage: the worst verdict of its checks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    checks: tuple[Check, ...] = ()

    @property
    def verdict(self) -> Verdict:
        found = {check.verdict for check in self.checks}
        for verdict in (Verdict.REFUSED, Verdict.FINDINGS):
            if verdict in found:
                return verdict
        return Verdict.PASSED


@dataclass(frozen=True)
class Unit:
    """One piece of a stage's work."""

    name: str
    """A pseudonym or a fixed word: safe to show."""
    inputs: Mapping[str, Digest]
    facts: Json = field(default_factory=dict)
    """Small public JSON that `run` reads; enters the key and the record."""
    private: Json = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Plan:
    """The units of a stage, and what planning itself found (quarantined files, exclusions)."""

    units: tuple[Unit, ...]
    notes: Json = field(default_factory=dict)
    """Public JSON handed to `merge`; enters the merge's key and record."""


@dataclass(frozen=True)
class Upstream:
    """An earlier stage's artifact, readable: folders are read-only."""

    units: Mapping[str, tuple[Digest, Path]]
    merged: tuple[Digest, Path]


class Spread(Protocol):
    """`map`, or what does the same over several processes: results in the order of the inputs."""

    def __call__(self, do: Callable[[T], R], inputs: Iterable[T], /) -> Iterable[R]: ...


@dataclass(frozen=True)
class PlanContext(Generic[P]):
    params: P
    upstream: Mapping[str, Upstream]
    sources: tuple[Path, ...] = ()
    """Folders and archives from outside; only `ingest` is given any."""
    vault: Path | None = None
    """Folder of the project's vault; only `ingest` is given it."""
    own_outputs: Mapping[str, frozenset[Digest]] = field(default_factory=dict)
    """Version of the key → SHA-256 of the instances that `ingest` made with it, by the ledger's
    word; only `ingest` is given any. What is not among the sources decides nothing."""
    dry: bool = False
    """Whether planning is all that is done: then nothing is written, the vault neither."""
    project: Path | None = None
    """Folder of the project; only `train` is given it, and the next."""
    home: Path | None = None
    """KETTE_HOME: `weights/<sha256>` below it holds pre-trained weights."""
    measured: Mapping[str, Json] = field(default_factory=dict)
    """Stage → what was measured while it ran (with `looks`: the counted looks at the test split);
    only `package` is given any, and the two below."""
    gates: Mapping[str, Gate] = field(default_factory=dict)
    """Stage → its gate, in the order of the chain."""
    resolved: Json = field(default_factory=dict)
    """Every section of the parameters that a stage takes, defaults included."""
    spread: Spread = map
    """Applies a function to each of many inputs; only `ingest` is given one over workers."""


@dataclass(frozen=True)
class RunContext(Generic[P]):
    params: P
    trees: Mapping[str, Path]
    """Label (as in `Unit.inputs`) → folder of that tree, read-only; sources are not among them."""
    out: Path
    """An empty folder; what is written below it is the unit's output."""
    say: Callable[[str, float], None] = lambda text, fraction: None
    """Progress: a short text without identifiers, and the fraction done in [0, 1]."""
    loader_workers: int = 0
    """Processes that a unit may start to prepare its data; they decide no bit."""
    scratch: Path | None = None
    """A folder of the unit's key alone: it outlives a kill and goes when the unit is done."""
    cache: Path | None = None
    """A folder of what can be made again, by digest; it may be deleted at any time."""
    logs: Path | None = None
    """A folder for who watches; nothing reads it again."""


@dataclass(frozen=True)
class MergeContext(Generic[P]):
    params: P
    units: Mapping[str, Path]
    """Unit name → folder of its tree, read-only; every unit of the plan, sorted by name."""
    trees: Mapping[str, Path]
    """Label → folder, for every label `"<stage>/…"` and `"<stage>"` that the units named."""
    notes: Json
    out: Path


@dataclass(frozen=True)
class Outcome:
    """What `run` or `merge` has to say beside its files."""

    findings: Json = field(default_factory=dict)
    """Counts, exclusions, choices: deterministic JSON without identifiers, for the record."""
    measured: Json = field(default_factory=dict)
    """Seconds, bytes of memory: recorded once, outside the artifact, replayed by a rebuild."""
    gate: Gate = field(default_factory=Gate)
    """Only `merge` decides one."""


@dataclass(frozen=True)
class Stage(Generic[P]):
    """A stage, declared in `stages/<name>/stage.py` as `STAGE`."""

    name: str
    parameters: type[P]
    """A frozen model whose fields are the sections of `params.yaml` that the stage takes."""
    after: tuple[str, ...]
    """Stages whose artifacts it reads."""
    plan: Callable[[PlanContext[P]], Plan]
    run: Callable[[Unit, RunContext[P]], Outcome]
    merge: Callable[[MergeContext[P]], Outcome]
    numeric: bool = False
    """Runs in a child process with threads and instruction set fixed before the first import."""
    classes: Callable[[P], tuple[str, ...]] = lambda params: ()
    """Dotted names of classes that the parameters name (`_target_`): their source is keyed."""
