"""Which consensus a series gets, if any, and why a human must look at it: no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.annotate import consensus
from stages.annotate.params import AnnotateParams
from stages.params import Structure, Task
from stages.segmentation import Labels

Row = dict[str, Any]


@dataclass(frozen=True)
class Evidence:
    """What the readers drew on one series."""

    readings: Mapping[str, Labels]
    """Reader → labels, sorted by reader."""
    agreement: Sequence[Row]
    """Rows of `readings.compare` on them."""
    problems: Sequence[str]
    """Why annotations were left out."""
    spacing_mm: tuple[float, float, float]
    """Of the series (slices, rows, columns)."""


@dataclass(frozen=True)
class Decision:
    """What becomes of one annotated series."""

    label_map: NDArray[np.uint8] | None
    """The consensus; None if it is withheld."""
    method: str
    """`staple`, `majority`, `midway`, `expert` or `single`; empty if withheld."""
    labels: tuple[Row, ...]
    """Rows of structure, class, votes, readers, method, voxels: the structures it holds."""
    queue: tuple[tuple[str, str], ...]
    """Rule and reason, for each reason to look at the series."""

    @property
    def classes(self) -> dict[str, str]:
        """Structure's name → class label, where there is one."""
        return {row["structure"]: row["class"] for row in self.labels if row["class"]}


def decide(evidence: Evidence, task: Task, params: AnnotateParams) -> Decision:
    """Decide on one series.

    Args:
        evidence: what the readers drew.
        task: the structures.
        params: the declared method and limits.
    """
    readings = evidence.readings
    queue = [("ANN-6", problem) for problem in evidence.problems]
    queue += [
        ("ANN-6", f"reader missing: {reader}")
        for reader in params.readers
        if reader not in readings
    ]
    low = _low(evidence.agreement, params.min_dice)
    queue += [("ANN-6", f"agreement below annotate.min_dice: {name}") for name in low]
    method = _method(readings, params)
    refusal = _refusal(method, evidence, low, task, params)
    if refusal is not None:
        return Decision(None, "", (), (*queue, refusal))
    voters = readings
    if method == "expert":
        voters = {reader: one for reader, one in readings.items() if reader == params.expert}
    maps = [one.map for one in voters.values()]
    label_map = maps[0]
    if method in _METHODS:
        label_map = consensus.combine(maps, task, evidence.spacing_mm, _METHODS[method])
    rows = []
    for structure in task.structures:
        row = _label(structure, label_map, voters, method)
        rows += [row] if row["voxels"] else []
        if row["voxels"] and row["votes"] and not row["class"]:
            queue.append(("ANN-5", f"readers tie on the class: {structure.name}"))
    return Decision(label_map, method, tuple(rows), tuple(queue))


_METHODS: Mapping[str, consensus.Method] = {
    "staple": consensus.staple,
    "majority": consensus.majority,
    "midway": consensus.midway,
}


def _method(readings: Mapping[str, Labels], params: AnnotateParams) -> str:
    """The method that applies to so many readers (ANN-2 to ANN-4)."""
    if params.consensus == "expert":
        return "expert"
    return {1: "single", 2: "midway"}.get(len(readings), params.consensus)


def _refusal(
    method: str,
    evidence: Evidence,
    low: Sequence[str],
    task: Task,
    params: AnnotateParams,
) -> tuple[str, str] | None:
    """Rule and reason for which no consensus is made; None if one is."""
    readings, spacing_mm = evidence.readings, evidence.spacing_mm
    count = len(readings)
    if count < params.min_readers:
        return "ANN-4", f"{count} readers; annotate.min_readers is {params.min_readers}"
    if method == "expert" and params.expert not in readings:
        return "ANN-4", "the expert's annotation is missing"
    if method != "midway":
        return None
    if params.two_readers == "withhold":
        return "ANN-3", "two readers have no majority"
    first, second = (one.map for one in readings.values())
    lonely = consensus.only_one_drew(first, second, task, spacing_mm, params.tolerance_mm)
    if lonely or low:
        named = dict.fromkeys((*lonely, *low))
        return "ANN-3", f"two readers disagree, no third decides: {', '.join(named)}"
    return None


def _low(agreement: Sequence[Mapping[str, Any]], limit: float) -> tuple[str, ...]:
    """Structures on which the readers' mean Dice is below the limit, in the order of the rows."""
    found: dict[str, list[float]] = {}
    for row in agreement:
        found.setdefault(row["structure"], []).append(row["dice"])
    return tuple(
        name for name, values in found.items() if round(sum(values) / len(values), 6) < limit
    )


def _label(
    structure: Structure,
    label_map: NDArray[np.uint8],
    voters: Mapping[str, Labels],
    method: str,
) -> Row:
    given = {
        reader: one.classes[structure.name]
        for reader, one in voters.items()
        if structure.name in one.classes
    }
    label, votes = consensus.vote(given, structure.classes)
    return {
        "structure": structure.name,
        "class": label,
        "votes": votes,
        "readers": len(voters),
        "method": method,
        "voxels": int(np.count_nonzero(label_map == structure.label)),
    }
