"""Lesions as instances in the stage: candidates of every test series, the curve, the check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers_assess import make_candidate, parameters
from helpers_cohort import make_cohort
from numpy.typing import NDArray
from pydantic import ValidationError

from stages.assess.lesions import candidates_of, judge
from stages.assess.params import Detection, Parameters
from stages.assess.stage import STAGE
from stages.classify import Answer
from stages.cohort import load_case, read_cases
from stages.detection import RATES
from stages.stage import MergeContext, Outcome, RunContext, Unit, Verdict
from stages.table import read_table

WANTED: dict[str, Any] = {"structure": "lesion", "criterion": "center"}


def wanting(**changes: Any) -> Parameters:
    return parameters(detection=WANTED | changes)


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("lesions")
    cohort = make_cohort(folder / "cohort", {"test": 3})
    return {"dataset/cohort": cohort, "train": make_candidate(folder / "train")}


def run(trees: dict[str, Path], out: Path, params: Parameters) -> tuple[Path, Outcome]:
    unit, merged = out / "unit", out / "merged"
    unit.mkdir(parents=True)
    merged.mkdir()
    STAGE.run(Unit("test", dict.fromkeys(trees, "0" * 64)), RunContext(params, trees, unit))
    return merged, STAGE.merge(MergeContext(params, {"test": unit}, trees, {}, merged))


@pytest.mark.rule("ASS-9")
def test_lesions_are_counted_only_where_it_is_asked_for(
    trees: dict[str, Path], tmp_path: Path
) -> None:
    merged, outcome = run(trees, tmp_path / "with", wanting(min_cpm=0.1, threshold=0.999))
    scans = read_table(tmp_path / "with" / "unit" / "scans.parquet")
    assert [(row["subject"], row["lesions"]) for row in scans] == [
        (f"test-{number}", 1) for number in range(3)
    ]
    points = read_table(merged / "froc.parquet")
    assert [row["false_positives"] for row in points] == [*RATES, None]
    assert outcome.findings["froc"] == points
    (check,) = [check for check in outcome.gate.checks if check.rule == "ASS-9"]
    assert check.verdict is Verdict.REFUSED  # an untrained network is never so sure
    without, outcome = run(trees, tmp_path / "without", parameters())
    assert not (without / "froc.parquet").exists()
    assert "froc" not in outcome.findings


@pytest.mark.rule("ASS-9")
def test_a_network_that_sees_brightness_finds_every_lesion(trees: dict[str, Path]) -> None:
    params = wanting(threshold=0.5, min_voxels=4)
    assert params.assess.detection is not None

    def answer(window: NDArray[np.float32]) -> Answer:
        bright = (window - 0.7) * 40  # lesions lie at 160 HU: 0.87 of the window
        return np.concatenate([-bright, np.full_like(bright, -9), bright], axis=1), None

    for case in read_cases(trees["dataset/cohort"], params.task):
        _, sample = load_case(case, params.task, params.volume)
        scan, candidates = candidates_of(sample, answer, params, params.assess.detection)
        assert scan["lesions"] == 1
        assert [row["lesion"] for row in candidates] == [0]
        assert candidates[0]["score"] > 0.9


@pytest.mark.rule("ASS-9")
@pytest.mark.parametrize(
    ("cpm", "limit", "verdict"),
    [
        (0.8, 0.8, Verdict.PASSED),
        (0.79, 0.8, Verdict.REFUSED),
        (None, 0.0, Verdict.REFUSED),
        (0.1, None, None),
    ],
)
def test_the_gate_holds_the_mean_sensitivity(
    cpm: float | None, limit: float | None, verdict: Verdict | None
) -> None:
    point = {"false_positives": None, "sensitivity": cpm, "ci_low": None, "ci_high": None}
    found = [check.verdict for check in judge([point], Detection(**WANTED, min_cpm=limit))]
    assert found == ([] if verdict is None else [verdict])


def test_a_structure_that_the_task_lacks_is_refused() -> None:
    with pytest.raises(ValidationError, match="must be a structure"):
        wanting(structure="cyst")
