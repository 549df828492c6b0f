"""What a network answers on cases whose reference is known, and the score made of it.

An outcome is one figure of one case: the Dice of a structure, or the probability of a class. The
score of a set of outcomes is the mean of what the task asks: the mean Dice over structures (each a
mean over the cases that show it), the mean over classes of the area under the ROC curve (one class
against the rest), or the mean of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata

from stages.classify import classify
from stages.cohort import Sample
from stages.network import answerer
from stages.overlap import dice
from stages.params import Task, Volume
from stages.volume import restore
from stages.windows import predict_labels

Scores = dict[str, float | None]
OUTCOMES = {
    "subject": "string",
    "series": "string",
    "kind": "string",
    "target": "string",
    "value": "double",
    "truth": "bool",
}


@dataclass(frozen=True)
class Outcome:
    """One figure of one case."""

    subject: str
    series: str
    kind: str
    """`dice` or `probability`."""
    target: str
    """The structure, or the class."""
    value: float
    truth: bool | None
    """Of a probability: whether the case is of the class."""


def evaluate(
    module: torch.nn.Module, samples: Sequence[Sample], task: Task, volume: Volume
) -> list[Outcome]:
    """Answer every sample on its own grid.

    A sample that lacks a structure in reference and prediction alike says nothing about it and is
    left out.
    """
    answer = answerer(module)
    found: list[Outcome] = []
    for sample in samples:
        if task.structures and sample.labels is not None:
            found += _voxels(answer, sample, task, volume)
        if task.classes and sample.case.label is not None:
            found += _classes(answer, sample, task, volume)
    return found


def score(outcomes: Sequence[Outcome], task: Task) -> float | None:
    """The one figure that variants are compared by; None if nothing could be measured."""
    parts = [
        fmean(known)
        for kind in ("dice", "auc")
        if (
            known := [
                v for n, v in detail(outcomes, task).items() if n.startswith(kind) and v is not None
            ]
        )
    ]
    return round(fmean(parts), 6) if parts else None


def detail(outcomes: Sequence[Outcome], task: Task) -> Scores:
    """`dice_<structure>` and `auc_<class>`; None where no case says anything."""
    found: Scores = {}
    for structure in task.structures:
        values = [o.value for o in outcomes if (o.kind, o.target) == ("dice", structure.name)]
        found[f"dice_{structure.name}"] = round(fmean(values), 6) if values else None
    for label in task.classes:
        rows = [o for o in outcomes if (o.kind, o.target) == ("probability", label.name)]
        area = auc([row.value for row in rows], [bool(row.truth) for row in rows])
        found[f"auc_{label.name}"] = None if area is None else round(area, 6)
    return found


def auc(values: Sequence[float], truths: Sequence[bool]) -> float | None:
    """Area under the ROC curve (Mann-Whitney, ties counted half); None without both kinds."""
    positive = np.asarray(truths, np.bool_)
    ups, downs = int(positive.sum()), int((~positive).sum())
    if not ups or not downs:
        return None
    ranks = rankdata(values)
    return float((ranks[positive].sum() - ups * (ups + 1) / 2) / (ups * downs))


def rows(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """As a table of the columns `OUTCOMES`."""
    return [asdict(outcome) for outcome in outcomes]


def _voxels(answer: Any, sample: Sample, task: Task, volume: Volume) -> list[Outcome]:
    def predict(window: NDArray[np.float32]) -> NDArray[np.float32]:
        grid: NDArray[np.float32] = answer(window)[0]
        return grid

    labels = restore(predict_labels(predict, sample.prepared.array, volume, task), sample.prepared)
    found = []
    assert sample.labels is not None  # noqa: S101 - asked of labeled samples alone
    for structure in task.structures:
        reference, predicted = sample.labels == structure.label, labels == structure.label
        if reference.any() or predicted.any():
            found.append(_outcome(sample, "dice", structure.name, dice(reference, predicted), None))
    return found


def _classes(answer: Any, sample: Sample, task: Task, volume: Volume) -> list[Outcome]:
    probabilities = classify(answer, sample.prepared.array, volume)
    return [
        _outcome(sample, "probability", label.name, value, sample.case.label == label.name)
        for label, value in zip(task.classes, probabilities.tolist(), strict=True)
    ]


def _outcome(
    sample: Sample,
    kind: str,
    target: str,
    value: float,
    truth: bool | None,  # noqa: FBT001
) -> Outcome:
    return Outcome(sample.case.subject, sample.case.series, kind, target, value, truth)
