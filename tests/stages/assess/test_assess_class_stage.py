"""The stage end to end on classes: an untrained candidate on a cohort of a few small pictures."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers_assess import class_parameters, make_candidate, parameters
from helpers_cohort import make_cohort
from helpers_dicom import TASK
from helpers_picture import NAMES, make_pictures
from pydantic import ValidationError

from stages.artifact import Manifest
from stages.assess.class_verdict import judge
from stages.assess.params import Parameters
from stages.assess.stage import STAGE
from stages.cohort import read_cases
from stages.params import ClassLabel, Code
from stages.stage import MergeContext, Outcome, RunContext, Unit, Verdict
from stages.table import read_table, write_table


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("classes")
    cohort = make_pictures(folder / "cohort", {"train": 2, "test": 8, "unlabeled": 1})
    candidate = make_candidate(folder / "train", params=class_parameters())
    return {"dataset/cohort": cohort, "train": candidate}


@pytest.fixture(scope="module")
def assessed(trees: dict[str, Path]) -> tuple[Path, Outcome]:
    out = trees["train"].parent / "run"
    return out, run(trees, out)


def run(trees: dict[str, Path], out: Path, params: Parameters | None = None) -> Outcome:
    out.mkdir()
    unit = Unit("test", dict.fromkeys(trees, "0" * 64))
    return STAGE.run(unit, RunContext(params or class_parameters(), trees, out))


def merge(
    trees: dict[str, Path], unit: Path, out: Path, params: Parameters | None = None
) -> Outcome:
    out.mkdir()
    return STAGE.merge(MergeContext(params or class_parameters(), {"test": unit}, trees, {}, out))


@pytest.mark.rule("ASS-2")
def test_every_labeled_test_picture_and_no_other_is_answered(
    assessed: tuple[Path, Outcome],
) -> None:
    out, outcome = assessed
    rows = read_table(out / "predictions.parquet")
    assert [(row["subject"], row["reference"], row["class"]) for row in rows] == [
        (f"test-{number}", NAMES[number % 2], name) for number in range(8) for name in NAMES
    ]
    for one, other in zip(rows[::2], rows[1::2], strict=True):
        assert one["probability"] + other["probability"] == pytest.approx(1, abs=2e-6)
    assert len({row["probability"] for row in rows}) > 8
    assert (outcome.findings["series"], outcome.findings["skipped"]) == (8, [])
    assert not (out / "predictions").exists()


def test_the_same_pictures_give_the_same_bytes(
    trees: dict[str, Path], assessed: tuple[Path, Outcome], tmp_path: Path
) -> None:
    run(trees, tmp_path / "again")
    assert Manifest.of(tmp_path / "again") == Manifest.of(assessed[0])


def test_the_merged_tables_tell_all_cases_and_each_vendors(
    trees: dict[str, Path], assessed: tuple[Path, Outcome], tmp_path: Path
) -> None:
    outcome = merge(trees, assessed[0], tmp_path / "merged")
    rows = read_table(tmp_path / "merged" / "class_metrics.parquet")
    assert {row["group"] for row in rows} == {"all", "vendor=north", "vendor=south"}
    assert outcome.findings["class_metrics"] == rows
    confused = read_table(tmp_path / "merged" / "confusion.parquet")
    assert sum(row["cases"] for row in confused) == 8
    assert {row["class"] for row in read_table(tmp_path / "merged" / "roc.parquet")} == set(NAMES)
    assert read_table(tmp_path / "merged" / "metrics.parquet") == []
    assert outcome.gate.verdict is Verdict.PASSED


@pytest.mark.rule("ASS-7")
def test_a_picture_that_cannot_be_read_is_a_finding(trees: dict[str, Path], tmp_path: Path) -> None:
    cohort = tmp_path / "cohort"
    shutil.copytree(trees["dataset/cohort"], cohort)
    (archive,) = (cohort / "test-3").glob("*.zip")
    archive.write_bytes(b"no archive")
    torn = trees | {"dataset/cohort": cohort}
    outcome = run(torn, tmp_path / "run")
    assert [row["subject"] for row in outcome.findings["skipped"]] == ["test-3"]
    gate = merge(torn, tmp_path / "run", tmp_path / "merged").gate
    assert [check.verdict for check in gate.checks if check.rule == "ASS-7"] == [Verdict.FINDINGS]


@pytest.mark.rule("ASS-2")
def test_a_multi_task_candidate_is_held_against_consensus_and_class(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path / "cohort", {"test": 4})
    names = ("benign", "malignant")
    task = TASK.model_copy(
        update={
            "classes": tuple(
                ClassLabel(name=name, code=Code(value=name, scheme="99TEST", meaning=name))
                for name in names
            )
        }
    )
    rows = [
        {"series": case.series, "sop": "", "class": names[number % 2]}
        for number, case in enumerate(read_cases(cohort, TASK)[:3])
    ]
    write_table(cohort / "classes.parquet", rows, dict.fromkeys(rows[0], "string"))
    base = parameters(min_auc=0.0)
    params = base.model_copy(update={"task": task})
    both = {
        "dataset/cohort": cohort,
        "train": make_candidate(tmp_path / "train", params=params),
    }
    outcome = run(both, tmp_path / "run", params)
    assert outcome.findings["series"] == 4
    assert len(list((tmp_path / "run" / "predictions").rglob("*.dcm"))) == 4
    said = read_table(tmp_path / "run" / "predictions.parquet")
    assert len({row["series"] for row in said}) == 3
    assert len(read_table(tmp_path / "run" / "scores.parquet")) == 8
    merged = merge(both, tmp_path / "run", tmp_path / "merged", params)
    assert {check.rule for check in merged.gate.checks} >= {"ASS-4", "ASS-5", "ASS-8"}
    assert not [check for check in merged.gate.checks if check.rule == "ASS-7"]


def metric(name: str = "dark", group: str = "all", **changes: Any) -> dict[str, Any]:
    row = {"group": group, "class": name, "metric": "auc", "n": 20, "cases": 20}
    return row | {"value": 0.8, "ci_low": 0.75, "ci_high": 0.85} | changes


@pytest.mark.rule("ASS-8")
@pytest.mark.parametrize(
    ("row", "limits", "verdict"),
    [
        ({}, {"min_auc": 0.8}, Verdict.PASSED),
        ({}, {"min_auc": 0.81}, Verdict.REFUSED),
        ({"value": None, "ci_low": None}, {"min_auc": 0.0}, Verdict.REFUSED),
        ({}, {"min_auc": {"dark": 0.81, "bright": 0.0}}, Verdict.REFUSED),
        ({}, {"min_auc": {"dark": 0.8, "bright": 0.9}}, Verdict.PASSED),
        ({}, {"min_auc_ci_low": 0.75}, Verdict.PASSED),
        ({}, {"min_auc_ci_low": 0.76}, Verdict.REFUSED),
        ({"ci_low": None}, {"min_auc_ci_low": 0.0}, Verdict.REFUSED),
    ],
)
def test_the_gate_refuses_an_auc_below_its_limit_or_unknown(
    row: dict[str, Any], limits: dict[str, Any], verdict: Verdict
) -> None:
    rows = [metric(**row), metric("bright", value=0.95, ci_low=0.9)]
    checks = [c for c in judge(rows, class_parameters(**limits)) if c.rule == "ASS-8"]
    assert (Verdict.REFUSED in {check.verdict for check in checks}) == (verdict is Verdict.REFUSED)
    assert all(check.remedy for check in checks if check.verdict is not Verdict.PASSED)


@pytest.mark.rule("ASS-8")
def test_a_class_without_metrics_is_refused_and_limits_name_all_classes() -> None:
    refused = [c for c in judge([], class_parameters()) if c.verdict is Verdict.REFUSED]
    assert len(refused) == 2
    with pytest.raises(ValidationError, match="every class"):
        class_parameters(min_auc={"dark": 0.5})


@pytest.mark.rule("ASS-5")
def test_few_cases_of_a_class_are_a_finding() -> None:
    rows = [metric(cases=3), metric("bright", cases=4)]
    checks = [c for c in judge(rows, class_parameters(min_subjects=4)) if c.rule == "ASS-5"]
    assert [check.verdict for check in checks] == [Verdict.FINDINGS, Verdict.PASSED]


@pytest.mark.rule("ASS-6")
@pytest.mark.parametrize(("value", "found"), [(0.7, False), (0.69, True), (None, False)])
def test_a_vendor_far_below_all_is_a_finding(value: float | None, found: bool) -> None:
    rows = [metric("all", value=0.8), metric("all", "vendor=north", value=value)]
    checks = [c for c in judge(rows, class_parameters(vendor_gap=0.1)) if c.rule == "ASS-6"]
    assert bool(checks) == found
