"""The ladder of a release: a digest for each rung from its inputs to its archive, and two compared.

A **rung** names what one step of the chain stands on or made, part by part. The first four may
cause a difference (`CAUSES`), the others show it (`RESULTS`). Facts are the readable values behind
the rungs, so that a difference can be told as `train.learning_rate: 0.004 → 0.005`.

Rules:

- LAD-1  A rung's digest covers its parts alone; equal digests are equal parts.
- LAD-2  The level is R1 if every result is equal, bit for bit; else R2 if every tolerance holds;
         else none. What merely may cause a difference decides no level.
- LAD-3  What decides no bits on purpose (numbers of workers) is a fact, and no part of a rung.
- LAD-4  The first difference is the first rung that differs; the causes are what differs in the
         first four, or, where nothing recorded does, that this is so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from audit.canonical import digest_json
from stages import causes
from stages.artifact import Digest
from stages.tolerances import Flip, Held, flips, hold

Json = dict[str, Any]
Rows = tuple[Json, ...]

CAUSES = ("inputs", "parameters", "code", "environment")
RESULTS = (
    "split", "preprocessing", "batches", "weights", "onnx", "engines", "predictions", "metrics",
    "report", "archive",
)  # fmt: skip
RUNGS = CAUSES + RESULTS
SHOWN = 20
"""Parts of a rung that a comparison names."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Rung(_Frozen):
    """One rung, part by part."""

    name: str
    digest: Digest
    parts: Mapping[str, Digest]
    """Label → digest."""

    @classmethod
    def of(cls, name: str, parts: Mapping[str, Digest]) -> Self:
        return cls(name=name, digest=digest_json(dict(parts)), parts=dict(sorted(parts.items())))

    @model_validator(mode="after")
    def _covered(self) -> Self:
        if digest_json(dict(self.parts)) != self.digest:
            raise ValueError(f"the digest of the rung {self.name} is not that of its parts")
        return self


class Facts(_Frozen):
    """Values behind the rungs."""

    parameters: Json = Field(default_factory=dict)
    """Dotted key → value."""
    environment: Mapping[str, str] = Field(default_factory=dict)
    """Lock, interpreter, processor, threads and instruction set as they really were."""
    code: Mapping[str, Mapping[str, Digest]] = Field(default_factory=dict)
    """Stage → its files → digest."""
    settings: Mapping[str, int] = Field(default_factory=dict)
    """Machine settings, which decide no bits (LAD-3)."""
    annotations: tuple[str, ...] = ()
    """Files of the inputs that are readers' annotations."""
    missing: tuple[str, ...] = ()
    """Subjects (pseudonyms) that a rebuild had to go without."""


class Ladder(_Frozen):
    """`ladder.json` of a release."""

    schema_version: Literal[1] = 1
    rungs: tuple[Rung, ...]
    facts: Facts
    scores: Rows
    """Rows of the test's scores: subject, series, vendor, structure, dice, hd95_mm, nsd."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [rung.name for rung in self.rungs]
        if len(names) != len(set(names)):
            raise ValueError("a rung stands twice")
        return self

    def parts(self, name: str) -> Mapping[str, Digest]:
        """Parts of a rung; none if this ladder lacks it."""
        return next((rung.parts for rung in self.rungs if rung.name == name), {})


class Compared(_Frozen):
    """One rung of two ladders."""

    name: str
    equal: bool
    released: Digest | None
    rebuilt: Digest | None
    differs: tuple[str, ...] = ()
    """Labels of parts that differ, the first `SHOWN`."""
    count: int = 0
    """How many parts differ."""


class Comparison(_Frozen):
    """How equal a rebuild is to a release."""

    level: Literal["R1", "R2"] | None
    first_difference: str | None
    causes: tuple[str, ...]
    rungs: tuple[Compared, ...]
    tolerances: tuple[Held, ...]
    """Empty if every result is equal."""
    flips: tuple[Flip, ...]


def compare(released: Ladder, rebuilt: Ladder, tolerances: Mapping[str, float]) -> Comparison:
    """Hold a rebuild against its release (LAD-2, LAD-4). Pure.

    Args:
        released: of the release.
        rebuilt: of its rebuild.
        tolerances: column of the scores (`dice`, `hd95_mm`, `nsd`) → largest absolute difference of
            its mean over the test's subjects, for each structure; with `subject_` before it, of
            each single subject.
    """
    rungs = tuple(_compared(released, rebuilt))
    first = next((rung.name for rung in rungs if not rung.equal), None)
    same = all(rung.equal for rung in rungs if rung.name not in CAUSES)
    held = () if same else hold(released.scores, rebuilt.scores, tolerances)
    level: Literal["R1", "R2"] | None = "R1" if same else None
    if held and all(row.within for row in held):
        level = "R2"
    return Comparison(
        level=level,
        first_difference=first,
        causes=() if first is None else tuple(_causes(released, rebuilt, first)),
        rungs=rungs,
        tolerances=held,
        flips=flips(released.scores, rebuilt.scores, released.facts.parameters),
    )


def _compared(released: Ladder, rebuilt: Ladder) -> Iterator[Compared]:
    """Rung by rung: ours in their order, then those that another version had."""
    mine = {rung.name: rung for rung in released.rungs}
    theirs = {rung.name: rung for rung in rebuilt.rungs}
    others = sorted((mine.keys() | theirs.keys()) - set(RUNGS))
    for name in (*(n for n in RUNGS if n in mine or n in theirs), *others):
        one, other = mine.get(name), theirs.get(name)
        labels = causes.differing(released.parts(name), rebuilt.parts(name))
        yield Compared(
            name=name,
            equal=one is not None and other is not None and one.digest == other.digest,
            released=one.digest if one else None,
            rebuilt=other.digest if other else None,
            differs=tuple(labels[:SHOWN]),
            count=len(labels),
        )


def _causes(released: Ladder, rebuilt: Ladder, first: str) -> Iterator[str]:
    """What may explain the first difference (LAD-4)."""
    before, after = released.facts, rebuilt.facts
    found = [
        *causes.of_inputs(
            released.parts("inputs"),
            rebuilt.parts("inputs"),
            annotations={*before.annotations, *after.annotations},
        ),
        *causes.of_values("parameter", before.parameters, after.parameters),
        *causes.of_code(before.code, after.code),
        *causes.of_values("", before.environment, after.environment),
    ]
    yield from found
    if not found:
        yield (
            f"nothing that is recorded above `{first}` differs: chance, a defect, or a fact of the "
            "machine that is not recorded"
        )
        yield from causes.of_values("setting", before.settings, after.settings)
