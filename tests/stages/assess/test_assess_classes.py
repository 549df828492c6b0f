"""Metrics of class probabilities: held against their definitions, counted by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.assess.classes import RATES, Cases, auc, cases_of, confusion, curves, measure

NAMES = ("benign", "malignant", "normal")
SCORES = st.lists(
    st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.booleans()), min_size=2, max_size=20
)


def cases(seed: int = 0, count: int = 60, shift: float = 1.0, each: int = 1) -> Cases:
    """Cases whose probabilities lean to the truth; `each` a subject."""
    random = np.random.default_rng(seed)
    reference = random.integers(0, 3, count)
    odds = random.random((count, 3)) + shift * np.eye(3)[reference]
    return Cases(
        [f"s-{place // each:03d}" for place in range(count)],
        reference,
        np.round(odds / odds.sum(axis=1, keepdims=True), 6),
    )


def measured(found: Cases, **changes: Any) -> dict[tuple[str, str], dict[str, Any]]:
    given: dict[str, Any] = {"resamples": 200, "confidence": 0.95, "seed": 1}
    return {(r["class"], r["metric"]): r for r in measure(found, NAMES, **(given | changes))}


@given(SCORES)
def test_auc_is_the_share_of_pairs_in_the_right_order(drawn: list[tuple[float, bool]]) -> None:
    scores = np.array([score for score, _ in drawn])
    positive = np.array([truth for _, truth in drawn])
    pairs = [
        (up > down) + 0.5 * (up == down) for up in scores[positive] for down in scores[~positive]
    ]
    (found,) = auc(np.ones((1, len(scores))), scores, positive)
    assert found == pytest.approx(np.mean(pairs)) if pairs else np.isnan(found)


@settings(max_examples=25)
@given(SCORES, st.data())
def test_a_weight_of_two_is_a_case_that_stands_twice(
    drawn: list[tuple[float, bool]], data: st.DataObject
) -> None:
    times = data.draw(st.lists(st.integers(0, 3), min_size=len(drawn), max_size=len(drawn)))
    scores = np.array([score for score, _ in drawn])
    positive = np.array([truth for _, truth in drawn])
    (weighted,) = auc(np.array([times], np.float64), scores, positive)
    repeated = np.repeat(scores, times), np.repeat(positive, times)
    if not len(repeated[0]):
        assert np.isnan(weighted)
        return
    (plain,) = auc(np.ones((1, len(repeated[0]))), *repeated)
    assert weighted == pytest.approx(plain, nan_ok=True)


def test_metrics_are_those_counted_by_hand() -> None:
    reference = np.array([0, 0, 1, 1, 2])
    probabilities = np.array(
        [[0.8, 0.1, 0.1], [0.4, 0.6, 0], [0.2, 0.7, 0.1], [0, 0.9, 0.1], [0.5, 0.2, 0.3]]
    )
    found = measured(Cases(list("abcde"), reference, probabilities))
    assert found["all", "accuracy"]["value"] == 0.6
    assert found["all", "balanced_accuracy"]["value"] == 0.5
    assert found["benign", "sensitivity"]["value"] == 0.5
    assert found["benign", "specificity"]["value"] == pytest.approx(2 / 3, abs=1e-6)
    assert found["benign", "auc"]["value"] == pytest.approx(5 / 6, abs=1e-6)
    assert found["malignant", "auc"]["value"] == 1.0
    assert found["normal", "auc"]["value"] == 1.0
    assert found["all", "auc"]["value"] == pytest.approx((5 / 6 + 2) / 3, abs=1e-6)
    squares = [0.06, 0.72, 0.14, 0.02, 0.78]
    assert found["all", "brier"]["value"] == pytest.approx(np.mean(squares), abs=1e-6)
    gaps = [abs(0.8 - 1), abs(0.6 - 0), abs(0.7 - 1), abs(0.9 - 1), abs(0.5 - 0)]
    assert found["all", "ece"]["value"] == pytest.approx(sum(gaps) / 5, abs=1e-6)
    assert found["benign", "auc"]["cases"] == 2
    assert found["all", "auc"]["n"] == 5


def test_the_first_of_equal_probabilities_is_the_class() -> None:
    found = Cases(["a"], np.array([0]), np.array([[0.5, 0.5, 0.0]]))
    assert confusion(found, NAMES)[0] == {"reference": "benign", "predicted": "benign", "cases": 1}
    assert sum(row["cases"] for row in confusion(found, NAMES)) == 1


@pytest.mark.rule("ASS-5")
def test_intervals_hold_the_value_and_narrow_with_more_subjects() -> None:
    few, many = (measured(cases(count=count))["all", "auc"] for count in (30, 300))
    for row in (few, many):
        assert row["ci_low"] < row["value"] < row["ci_high"]
    assert many["ci_high"] - many["ci_low"] < 0.6 * (few["ci_high"] - few["ci_low"])


@pytest.mark.rule("ASS-5")
def test_subjects_are_drawn_and_not_cases() -> None:
    one = cases(count=60)
    copied = Cases(
        [subject for subject in one.subjects for _ in range(9)],
        np.repeat(one.reference, 9),
        np.repeat(one.probabilities, 9, axis=0),
    )
    assert measured(copied)["all", "auc"] | {"cases": 60} == measured(one)["all", "auc"]


@pytest.mark.rule("ASS-5")
def test_one_subject_has_values_and_no_interval() -> None:
    row = measured(cases(count=6, each=6))["all", "accuracy"]
    assert row["value"] is not None
    assert (row["ci_low"], row["ci_high"], row["n"]) == (None, None, 1)


def test_a_class_without_cases_has_no_auc_and_neither_has_the_mean() -> None:
    found = Cases(["a", "b"], np.array([0, 1]), np.array([[0.9, 0.1, 0], [0.2, 0.8, 0]]))
    metrics = measured(found)
    assert metrics["normal", "auc"]["value"] is None
    assert metrics["normal", "sensitivity"]["value"] is None
    assert metrics["normal", "specificity"]["value"] == 1.0
    assert metrics["all", "auc"]["value"] is None
    assert {
        row["class"] for row in curves(found, NAMES, resamples=100, confidence=0.9, seed=1)
    } == {
        "benign",
        "malignant",
    }


def test_no_cases_give_no_metrics() -> None:
    assert list(measured(cases_of([], NAMES))) == []


@pytest.mark.parametrize("name", NAMES)
def test_the_curve_encloses_the_area(name: str) -> None:
    found = cases(count=200, shift=0.3)
    rows = curves(found, NAMES, resamples=100, confidence=0.95, seed=1)
    own = [row for row in rows if row["class"] == name]
    assert [row["false_positive_rate"] for row in own] == list(RATES)
    line = [row["sensitivity"] for row in own]
    assert line == sorted(line)
    assert line[-1] == 1.0
    assert np.trapezoid(line, RATES) == pytest.approx(
        measured(found)[name, "auc"]["value"], abs=0.02
    )
    for row in own:
        assert row["ci_low"] <= row["sensitivity"] <= row["ci_high"]


def test_rows_are_gathered_by_case_whatever_their_order() -> None:
    rows = [
        {"subject": s, "series": "1", "sop": "", "class": c, "probability": p, "reference": r}
        for s, r, own in (("a", "normal", (0.1, 0.2, 0.7)), ("b", "benign", (0.6, 0.3, 0.1)))
        for c, p in zip(NAMES, own, strict=True)
    ]
    for order in (rows, rows[::-1]):
        found = cases_of(order, NAMES)
        by_subject: Sequence[tuple[str, int, list[float]]] = sorted(
            zip(found.subjects, found.reference, found.probabilities.tolist(), strict=True)
        )
        assert by_subject == [("a", 2, [0.1, 0.2, 0.7]), ("b", 0, [0.6, 0.3, 0.1])]
