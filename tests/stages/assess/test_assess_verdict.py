"""From scores to metrics and the gate: tables, no network."""

from __future__ import annotations

from typing import Any

import pytest
from helpers_assess import parameters
from pydantic import ValidationError

from stages.assess.verdict import judge, summarize
from stages.stage import Verdict

PASSED, FINDINGS, REFUSED = Verdict.PASSED, Verdict.FINDINGS, Verdict.REFUSED


def _score(
    subject: str, structure: str, dice: float | None, vendor: str = "north"
) -> dict[str, Any]:
    defined = dice is not None and dice > 0
    return {
        "subject": subject,
        "series": f"{subject}-1",
        "vendor": vendor,
        "structure": structure,
        "dice": dice,
        "hd95_mm": 2.0 if defined else None,
        "nsd": 0.5 if defined else None,
    }


def _metrics(structure: str = "organ", group: str = "all", **changes: Any) -> dict[str, Any]:
    row = {"group": group, "structure": structure, "n": 20, "dice_mean": 0.8, "ci_low": 0.75,
           "ci_high": 0.85, "hd95_mm_mean": 1.0, "nsd_mean": 0.9}  # fmt: skip
    return row | changes


def test_metrics_come_for_all_then_by_vendor_in_the_tasks_order() -> None:
    scores = [
        _score("s-1", "organ", 0.9),
        _score("s-1", "lesion", 0.0),
        _score("s-2", "organ", 0.7, "south"),
        _score("s-2", "lesion", None, "south"),
    ]
    rows = summarize(scores, parameters())
    assert [(row["group"], row["structure"], row["n"]) for row in rows] == [
        ("all", "organ", 2),
        ("all", "lesion", 1),
        ("vendor=north", "organ", 1),
        ("vendor=north", "lesion", 1),
        ("vendor=south", "organ", 1),
        ("vendor=south", "lesion", 0),
    ]
    assert rows[0]["dice_mean"] == pytest.approx(0.8)
    assert (rows[0]["hd95_mm_mean"], rows[0]["nsd_mean"]) == (2.0, 0.5)
    assert (rows[1]["dice_mean"], rows[1]["hd95_mm_mean"]) == (0.0, None)
    assert rows[5]["dice_mean"] is None


@pytest.mark.rule("ASS-4")
@pytest.mark.parametrize(
    ("row", "limits", "verdict"),
    [
        ({}, {"min_dice": 0.8}, PASSED),
        ({}, {"min_dice": 0.81}, REFUSED),
        ({"dice_mean": None, "ci_low": None, "n": 0}, {"min_dice": 0.0}, REFUSED),
        ({}, {"min_ci_low": 0.75}, PASSED),
        ({}, {"min_ci_low": 0.76}, REFUSED),
        ({"ci_low": None}, {"min_ci_low": 0.0}, REFUSED),
    ],
)
def test_the_gate_refuses_what_is_below_its_limit_or_unknown(
    row: dict[str, Any], limits: dict[str, Any], verdict: Verdict
) -> None:
    found = judge([_metrics(**row)], 0, parameters(**limits))
    assert found.verdict in {verdict, FINDINGS} - ({PASSED} if verdict is REFUSED else set())
    of_rule = {check.verdict for check in found.checks if check.rule == "ASS-4"}
    assert (REFUSED in of_rule) == (verdict is REFUSED)
    assert all(check.remedy for check in found.checks if check.verdict is not PASSED)


@pytest.mark.rule("ASS-4")
def test_each_structure_has_its_own_limit_where_one_is_named() -> None:
    params = parameters(min_dice={"organ": 0.7, "lesion": 0.3})
    rows = [_metrics("organ", dice_mean=0.69), _metrics("lesion", dice_mean=0.4)]
    refused = [c.figure for c in judge(rows, 0, params).checks if c.verdict is REFUSED]
    assert len(refused) == 1
    assert "organ" in refused[0]
    with pytest.raises(ValidationError, match="every structure"):
        parameters(min_dice={"organ": 0.7})


@pytest.mark.rule("ASS-5")
@pytest.mark.parametrize(("n", "verdict"), [(10, PASSED), (9, FINDINGS), (0, FINDINGS)])
def test_too_few_subjects_are_a_finding(n: int, verdict: Verdict) -> None:
    found = judge([_metrics(n=n)], 0, parameters(min_subjects=10))
    assert [check.verdict for check in found.checks if check.rule == "ASS-5"] == [verdict]


@pytest.mark.rule("ASS-6")
@pytest.mark.parametrize(
    ("dice", "verdicts"), [(0.7, []), (0.69, [FINDINGS]), (0.95, []), (None, [])]
)
def test_a_vendor_far_below_all_is_a_finding(dice: float | None, verdicts: list[Verdict]) -> None:
    rows = [_metrics(), _metrics(group="vendor=south", dice_mean=dice)]
    found = judge(rows, 0, parameters(vendor_gap=0.1))
    assert [check.verdict for check in found.checks if check.rule == "ASS-6"] == verdicts


@pytest.mark.rule("ASS-7")
def test_an_unread_test_series_is_a_finding() -> None:
    assert judge([_metrics()], 0, parameters()).verdict is PASSED
    assert judge([_metrics()], 1, parameters()).verdict is FINDINGS
