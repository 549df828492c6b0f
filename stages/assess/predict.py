"""The candidate on the test split: a prediction and its scores for every labeled series."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from audit.errors import Fault, Refused, Unreadable
from stages.assess.class_verdict import PREDICTIONS
from stages.assess.lesions import CANDIDATES, SCANS, candidates_of
from stages.assess.params import Parameters
from stages.channels import channels_count
from stages.classify import Answer, classify
from stages.cohort import Sample, labeled_cases, load_case, read_cases
from stages.network import answerer, build, load, predictor, weights_sha256
from stages.overlap import dice, hd95_mm, nsd
from stages.params import Network, Task
from stages.segmentation_writer import write_labels
from stages.series import Series
from stages.stage import Outcome
from stages.table import write_table
from stages.volume import restore
from stages.windows import predict_labels

SCORES = {
    "subject": "string",
    "series": "string",
    "vendor": "string",
    "structure": "string",
    "dice": "double",
    "hd95_mm": "double",
    "nsd": "double",
}
Row = dict[str, Any]


def predict_test_split(
    cohort: Path, candidate: Path, params: Parameters, out: Path, say: Callable[[str, float], None]
) -> Outcome:
    """Predict and score.

    Writes `predictions/<subject>/<series>.dcm` and `scores.parquet`, and with classes
    `predictions.parquet`, with detection `scans.parquet` and `candidates.parquet`.

    Raises:
        Refused: the test split has no labeled case.
        Fault: the candidate is not what its description says.
    """
    description = json.loads((candidate / "candidate.json").read_bytes())
    module = read_candidate(candidate, description, params)
    cases = labeled_cases(read_cases(cohort, params.task), params.task, "test")
    answer = answerer(module)
    skipped: list[dict[str, str]] = []
    rows: list[Row] = []
    said: list[Row] = []
    wanted = params.assess.detection
    scans: list[Row] = []
    candidates: list[Row] = []
    for number, case in enumerate(cases, start=1):
        try:
            series, sample = load_case(case, params.task, params.volume)
            if series is not None and sample.labels is not None:
                rows += _assess(series, sample, module, description, params, out)
                if wanted is not None:
                    scan, found = candidates_of(sample, answer, params, wanted)
                    scans.append(scan)
                    candidates += found
            if case.label is not None:
                said += _class_rows(sample, answer, params)
        except Unreadable as error:
            skipped.append({"subject": case.subject, "series": case.series, "reason": error.what})
        say(f"test series {number} of {len(cases)}", number / len(cases))
    if not rows and not said:
        raise Refused(
            "No test subject has a labeled series that can be read.",
            "Annotate more subjects, or give the test split a larger share in `dataset`.",
        )
    write_table(out / "scores.parquet", rows, SCORES)
    if params.task.classes:
        write_table(out / "predictions.parquet", said, PREDICTIONS)
    if wanted is not None:
        write_table(out / "scans.parquet", scans, SCANS)
        write_table(out / "candidates.parquet", candidates, CANDIDATES)
    return Outcome(findings={"series": len(cases) - len(skipped), "skipped": skipped})


def read_candidate(
    folder: Path, description: dict[str, Any], params: Parameters
) -> torch.nn.Module:
    """The trained network, held against its description and the parameters (ASS-1).

    Raises:
        Fault: it was trained for another task, volume or network, or its weights are others.
        Unreadable: its weights do not fit the network.
    """
    network = Network.model_validate(description["network"])
    same = (
        Task.model_validate(description["task"]) == params.task
        and network == params.network
        and description["volume"] == params.volume.model_dump(mode="json")
        and description["channels_out"] == channels_count(params.task)
    )
    if not same:
        raise Fault(
            "The candidate was trained with other task, volume or network parameters.",
            "Run the chain from `train` again.",
        )
    module = build(network, params.task, params.volume)
    load(module, folder / "model.safetensors")
    if weights_sha256(module) != description["weights_sha256"]:
        raise Fault(
            "The candidate's weights are not those of its description.",
            "Run the chain from `train` again.",
        )
    return module


def _class_rows(
    sample: Sample, answer: Callable[[NDArray[np.float32]], Answer], params: Parameters
) -> Iterator[Row]:
    """A row a class: its probability, and the case's class."""
    case = sample.case
    found = classify(answer, sample.prepared.array, params.volume)
    if not np.isfinite(found).all():
        raise Fault(
            "The candidate's answer to a test case is not made of numbers.",
            "Run the chain from `train` again, with a lower `train.learning_rate`.",
        )
    for label, probability in zip(params.task.classes, found.tolist(), strict=True):
        yield {
            "subject": case.subject,
            "series": case.series,
            "sop": case.sop,
            "vendor": case.vendor,
            "reference": case.label,
            "class": label.name,
            "probability": probability,
        }


def _assess(  # noqa: PLR0917 - a case, its network and where to
    series: Series,
    sample: Sample,
    module: torch.nn.Module,
    description: dict[str, Any],
    params: Parameters,
    out: Path,
) -> Iterator[Row]:
    """Predict one series, write the segmentation, yield a row a structure."""
    case = sample.case
    assert sample.labels is not None  # noqa: S101 - asked of cases with a consensus alone
    array = sample.prepared.array
    found = predict_labels(predictor(module), array, params.volume, params.task)
    labels = restore(found, sample.prepared)
    weights = description["weights_sha256"]
    write_labels(
        out / "predictions" / case.subject / f"{case.series}.dcm",
        labels,
        series,
        params.task,
        seed=f"{weights}/{case.series}",
        epoch=params.project.epoch,
        description="Prediction on the test split",
        algorithm=f"{params.project.name} {weights[:12]}",
        creator="Kette",
    )
    spacing_mm = series.geometry.spacing_mm
    for structure in params.task.structures:
        yield {
            "subject": case.subject,
            "series": case.series,
            "vendor": case.vendor,
            "structure": structure.name,
            **score(
                sample.labels == structure.label,
                labels == structure.label,
                spacing_mm,
                params.assess.nsd_tolerance_mm,
            ),
        }


def score(
    reference: NDArray[np.bool_],
    predicted: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
    tolerance_mm: float,
) -> dict[str, float | None]:
    """Dice, HD95 (mm) and normalized surface Dice; None where a metric is not defined (ASS-3)."""
    if not reference.any() and not predicted.any():
        return {"dice": None, "hd95_mm": None, "nsd": None}
    return {
        "dice": dice(reference, predicted),
        "hd95_mm": hd95_mm(reference, predicted, spacing_mm),
        "nsd": nsd(reference, predicted, spacing_mm, tolerance_mm),
    }
