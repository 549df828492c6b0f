from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers_annotate import Subject, merge, redraw, subject
from helpers_dicom import TASK, box

from stages.annotate import gate
from stages.annotate.params import AnnotateParams
from stages.annotate.validation import validate
from stages.artifact import Manifest
from stages.stage import Gate, Verdict
from stages.table import read_table

SHAPE = (8, 16, 16)
LESION = box(SHAPE, (2, 6), (4, 11), (4, 11))

AGREEMENT: dict[str, Any] = {
    "subject": "s-1",
    "series": "2.25.777",
    "structure": "lesion",
    "reader_a": "a",
    "reader_b": "b",
    "dice": 0.8,
    "hd95_mm": 2.0,
    "nsd": 0.9,
}
LABEL: dict[str, Any] = {
    "subject": "s-1",
    "series": "2.25.777",
    "structure": "lesion",
    "class": "benign",
    "votes": 2,
    "readers": 3,
    "method": "staple",
    "voxels": 40,
}
QUEUE: dict[str, Any] = {
    "subject": "s-1",
    "series": "2.25.777",
    "sop": "",
    "rule": "ANN-6",
    "reason": "reader missing: c",
}


def cohort(folder: Path, count: int = 2) -> list[Subject]:
    subjects = []
    for number in range(count):
        one = subject(folder, f"s-{number}")
        series = one.series()
        for reader in range(3):
            mask = redraw(LESION, 10 * number + reader, 0.6)
            one.draw(series, f"reader-{reader}", {"Lesion": mask})
        subjects.append(one)
    return subjects


def failed(**rows: list[dict[str, Any]]) -> set[tuple[str, str, tuple[str, ...]]]:
    tables = {"agreement": [AGREEMENT], "labels": [LABEL], "queue": [QUEUE], **rows}
    found = validate(tables, TASK, AnnotateParams(min_readers=2))
    return {(one.table, one.expectation, one.columns) for one in found if not one.success}


def test_the_merged_tables_hold_every_unit(tmp_path: Path) -> None:
    outcome, out = merge(tmp_path, cohort(tmp_path))
    assert [row["subject"] for row in read_table(out / "labels.parquet")] == ["s-0", "s-1"]
    assert len(read_table(out / "agreement.parquet")) == 6
    assert outcome.findings["annotated"] == 2
    assert outcome.findings["queue"] == 0
    first = outcome.findings["agreement"][0]
    assert first["structure"] == "lesion"
    assert first["readers"] == ["reader-0", "reader-1"]
    assert first["pairs"] == 2
    assert 0.6 < first["dice"] < 1
    assert first["hd95_mm"] > 0
    assert 0 < first["nsd"] <= 1
    json.dumps(outcome.findings)


@pytest.mark.rule("ANN-7")
def test_the_validation_is_the_same_each_time_and_holds_no_value(tmp_path: Path) -> None:
    subjects = cohort(tmp_path / "c")
    _, one = merge(tmp_path / "one", subjects)
    _, other = merge(tmp_path / "other", subjects)
    assert Manifest.of(one) == Manifest.of(other)
    text = (one / "validation.json").read_text()
    assert json.loads(text)["success"] is True
    assert not any(word in text for word in ("s-0", "2.25", "reader-0", "202"))


@pytest.mark.rule("ANN-7")
def test_failing_values_are_not_quoted(caplog: Any, capfd: Any) -> None:
    bad = AGREEMENT | {"dice": 1.77, "structure": "Zebra", "subject": None}
    found = validate(
        {"agreement": [bad], "labels": [LABEL], "queue": [QUEUE]}, TASK, AnnotateParams()
    )
    shown = "".join(one.model_dump_json() for one in found)
    streams = "".join(capfd.readouterr()) + caplog.text
    for value in ("1.77", "Zebra", "2.25.777"):
        assert value not in shown
        assert value not in streams
    assert streams == ""
    assert sum(not one.success for one in found) == 3
    assert {one.unexpected for one in found if not one.success} == {1}


@pytest.mark.rule("ANN-7")
def test_sound_tables_pass_and_so_do_empty_ones() -> None:
    assert failed() == set()
    assert failed(agreement=[], labels=[], queue=[]) == set()
    assert failed(agreement=[AGREEMENT | {"hd95_mm": None, "nsd": None}]) == set()


@pytest.mark.rule("ANN-7")
@pytest.mark.parametrize(
    ("table", "change", "columns"),
    [
        ("agreement", {"dice": -0.1}, ("dice",)),
        ("agreement", {"dice": None}, ("dice",)),
        ("agreement", {"nsd": 1.5}, ("nsd",)),
        ("agreement", {"hd95_mm": -1.0}, ("hd95_mm",)),
        ("agreement", {"structure": "other"}, ("structure",)),
        ("agreement", {"reader_a": "b"}, ("reader_b", "reader_a")),
        ("labels", {"class": "other"}, ("class",)),
        ("labels", {"readers": 1, "votes": 1}, ("readers",)),
        ("labels", {"votes": 4}, ("readers", "votes")),
        ("labels", {"voxels": 0}, ("voxels",)),
        ("labels", {"method": "guess"}, ("method",)),
        ("queue", {"reason": None}, ("reason",)),
    ],
)
def test_each_expectation_fails_on_what_it_forbids(
    table: str, change: dict[str, Any], columns: tuple[str, ...]
) -> None:
    row = {"agreement": AGREEMENT, "labels": LABEL, "queue": QUEUE}[table] | change
    assert {(name, where) for name, _, where in failed(**{table: [row]})} == {(table, columns)}


@pytest.mark.rule("ANN-7")
@pytest.mark.parametrize(("table", "row"), [("agreement", AGREEMENT), ("labels", LABEL)])
def test_a_row_stands_once(table: str, row: dict[str, Any]) -> None:
    kinds = {kind for _, kind, _ in failed(**{table: [row, row]})}
    assert kinds == {"expect_compound_columns_to_be_unique"}


def judged(
    agreement: list[dict[str, Any]] | None = None,
    labels: list[dict[str, Any]] | None = None,
    queue: list[dict[str, Any]] | None = None,
    annotated: int = 4,
    **params: Any,
) -> Gate:
    organ = AGREEMENT | {"structure": "organ"}
    tables = {
        "agreement": [AGREEMENT, organ] if agreement is None else agreement,
        "labels": labels or [],
        "classes": [],
        "queue": queue or [],
    }
    return gate.judge(tables, annotated, (), TASK, AnnotateParams(**params))


@pytest.mark.rule("ANN-8")
def test_a_sound_cohort_passes() -> None:
    assert judged().verdict is Verdict.PASSED


@pytest.mark.rule("ANN-8")
@pytest.mark.parametrize(
    ("arguments", "verdict", "rule"),
    [
        ({"min_mean_dice": 0.81}, Verdict.REFUSED, "ANN-8"),
        ({"min_mean_dice": 0.8}, Verdict.PASSED, None),
        ({"agreement": []}, Verdict.FINDINGS, "ANN-8"),
        ({"queue": [QUEUE, QUEUE]}, Verdict.FINDINGS, "ANN-6"),
        ({"queue": [QUEUE], "max_queued": 0.25}, Verdict.FINDINGS, "ANN-6"),
        ({"queue": [QUEUE], "max_queued": 0.2}, Verdict.REFUSED, "ANN-6"),
        ({"labels": [LABEL | {"method": "single"}]}, Verdict.FINDINGS, "ANN-4"),
    ],
)
def test_limits_are_held(arguments: dict[str, Any], verdict: Verdict, rule: str | None) -> None:
    found = judged(**arguments)
    assert found.verdict is verdict
    unsound = {check.rule for check in found.checks if check.verdict is not Verdict.PASSED}
    assert unsound == ({rule} if rule else set())
    assert all(check.remedy for check in found.checks if check.verdict is not Verdict.PASSED)


@pytest.mark.rule("ANN-8")
def test_a_failed_suite_refuses(tmp_path: Path) -> None:
    bad = AGREEMENT | {"dice": 1.5}
    tables = {"agreement": [bad], "labels": [], "classes": [], "queue": []}
    expected = validate(tables, TASK, AnnotateParams())
    found = gate.judge(tables, 1, expected, TASK, AnnotateParams())
    assert found.verdict is Verdict.REFUSED
    assert [c.rule for c in found.checks if c.verdict is Verdict.REFUSED] == ["ANN-7"]


@pytest.mark.rule("ANN-8")
def test_readers_far_apart_refuse_the_cohort(tmp_path: Path) -> None:
    outcome, _ = merge(tmp_path, cohort(tmp_path), min_mean_dice=0.999)
    assert outcome.gate.verdict is Verdict.REFUSED
    (refused,) = [c for c in outcome.gate.checks if c.verdict is Verdict.REFUSED]
    assert refused.figure.startswith("lesion: mean Dice between readers 0.")
    assert "annotate.min_mean_dice" in refused.limit


def test_no_module_of_the_suite_is_imported_with_the_stage() -> None:
    import subprocess

    code = (
        "import sys, stages.annotate.stage;"
        "heavy = {'great_expectations', 'SimpleITK', 'highdicom', 'torch', 'numpy'};"
        "sys.exit(len(heavy & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
