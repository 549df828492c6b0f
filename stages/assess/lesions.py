"""Lesions of the test split as instances: candidates of every scan, the curve, and its check."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.assess.params import Detection, Parameters
from stages.channels import channels_count
from stages.classify import Answer, softmax
from stages.cohort import Sample
from stages.detection import RATES, Candidate, Scan, detect, froc
from stages.stage import Check, Verdict
from stages.windows import blocks

Row = dict[str, Any]
SCANS = {"subject": "string", "series": "string", "lesions": "int64"}
CANDIDATES = {
    "subject": "string",
    "series": "string",
    "score": "double",
    "voxels": "int64",
    "lesion": "int64",
    "counts": "bool",
}
FROC = {
    "false_positives": "double",
    "sensitivity": "double",
    "ci_low": "double",
    "ci_high": "double",
}
CURVE = {"false_positives": "double", "sensitivity": "double"}


def candidates_of(
    sample: Sample,
    answer: Callable[[NDArray[np.float32]], Answer],
    params: Parameters,
    wanted: Detection,
) -> tuple[Row, list[Row]]:
    """A row of the scan, and one of each candidate, on the grid that the network sees."""
    reference = sample.prepared_labels
    assert reference is not None  # noqa: S101 - asked of cases with a consensus alone

    def predict(window: NDArray[np.float32]) -> NDArray[np.float32]:
        grid, _ = answer(window)
        assert grid is not None  # noqa: S101 - asked of tasks with structures alone
        return grid

    names = [structure.name for structure in params.task.structures]
    place = names.index(wanted.structure)
    array = sample.prepared.array
    probability = np.zeros(array.shape, np.float32)
    for where, scores in blocks(predict, array, params.volume, channels_count(params.task)):
        probability[where] = softmax(scores)[1 + place]
    lesions, found = detect(
        probability,
        reference == params.task.structures[place].label,
        threshold=wanted.threshold,
        min_voxels=wanted.min_voxels,
        criterion=wanted.criterion,
        min_iou=wanted.min_iou,
    )
    key = {"subject": sample.case.subject, "series": sample.case.series}
    return {**key, "lesions": lesions}, [
        {
            **key,
            "score": one.score,
            "voxels": one.voxels,
            "lesion": one.lesion,
            "counts": one.counts,
        }
        for one in found
    ]


def summarize(
    scans: Sequence[Row], candidates: Sequence[Row], params: Parameters
) -> tuple[list[Row], list[Row]]:
    """Rows of `froc.parquet` (seven rates, then their mean without a rate), and of the curve."""
    listed: dict[tuple[str, str], list[Candidate]] = {
        (row["subject"], row["series"]): [] for row in scans
    }
    for row in candidates:
        listed[row["subject"], row["series"]].append(
            Candidate(row["score"], row["voxels"], row["lesion"], counts=row["counts"])
        )
    curve = froc(
        [
            Scan(row["subject"], row["lesions"], tuple(listed[row["subject"], row["series"]]))
            for row in scans
        ],
        resamples=params.assess.resamples,
        confidence=params.assess.confidence,
        seed=params.numerics.seed,
    )
    rates: tuple[float | None, ...] = (*RATES, None)
    values = (*curve.at_rates, curve.cpm)
    ends = (*curve.intervals, curve.cpm_interval)
    if not curve.intervals:
        ends = (*((None, None) for _ in RATES), curve.cpm_interval)
    points = [
        {"false_positives": rate, "sensitivity": value, "ci_low": low, "ci_high": high}
        for rate, value, (low, high) in zip(rates, values, ends, strict=True)
    ]
    line = [
        {"false_positives": alarms, "sensitivity": value}
        for alarms, value in zip(curve.false_positives, curve.sensitivity, strict=True)
    ]
    return points, line


def judge(points: Sequence[Row], wanted: Detection) -> Iterator[Check]:
    """Hold the mean sensitivity against its limit, if one is declared (ASS-9)."""
    if wanted.min_cpm is None:
        return
    (cpm,) = (row["sensitivity"] for row in points if row["false_positives"] is None)
    enough = cpm is not None and cpm >= wanted.min_cpm
    yield Check(
        rule="ASS-9",
        figure=f"mean sensitivity (CPM) of {wanted.structure} "
        + ("is unknown" if cpm is None else f"{cpm:.3f}"),
        limit=f"at least {wanted.min_cpm:g} (assess.detection.min_cpm)",
        verdict=Verdict.PASSED if enough else Verdict.REFUSED,
        remedy="" if enough else "Improve data or training; do not tune on the test split.",
    )
