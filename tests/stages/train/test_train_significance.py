"""Intervals and tests: against figures computed by hand, and on differences that are known."""

from __future__ import annotations

import numpy as np
import pytest
from helpers_dicom import TASK

from stages.params import ClassLabel, Code, Task
from stages.train.scores import Outcome, auc, score
from stages.train.significance import Resampled, compare, holm

CLASSES = Task(
    modality="US",
    classes=tuple(
        ClassLabel(name=name, code=Code(value=name, scheme="99TEST", meaning=name))
        for name in ("benign", "malignant", "normal")
    ),
)


def _dice(values: np.ndarray) -> list[Outcome]:
    return [
        Outcome(f"s-{index}", f"{index}", "dice", structure, float(value), None)
        for index, value in enumerate(values)
        for structure in ("organ", "lesion")
    ]


def _classes(seed: int, skill: float, cases: int = 60) -> list[Outcome]:
    random = np.random.default_rng(seed)
    found = []
    for index in range(cases):
        truth = index % 3
        odds = random.normal(size=3) + skill * (np.arange(3) == truth)
        for place, label in enumerate(CLASSES.classes):
            value = round(float(np.exp(odds[place]) / np.exp(odds).sum()), 2)
            found.append(
                Outcome(f"s-{index}", f"{index}", "probability", label.name, value, place == truth)
            )
    return found


@pytest.mark.rule("TRN-11")
@pytest.mark.parametrize("skill", [0.0, 1.0, 3.0])
def test_the_score_of_all_cases_is_the_score(skill: float) -> None:
    outcomes = _classes(1, skill)
    resampled = Resampled({"a": [outcomes]}, CLASSES, resamples=10, seed=0)
    assert resampled.mean("a") == pytest.approx(score(outcomes, CLASSES), abs=1e-6)
    values = np.random.default_rng(0).uniform(size=20)
    resampled = Resampled({"a": [_dice(values)]}, TASK, resamples=10, seed=0)
    assert resampled.mean("a") == pytest.approx(values.mean(), abs=1e-6)


@pytest.mark.rule("TRN-11")
def test_an_interval_of_a_mean_is_that_of_the_central_limit() -> None:
    values = np.random.default_rng(0).normal(0.8, 0.05, 200)
    found = Resampled({"a": [_dice(values)]}, TASK, resamples=4000, seed=0).interval("a", 0.95)
    error = 1.96 * values.std() / np.sqrt(200)
    assert found.low == pytest.approx(values.mean() - error, abs=0.0006)
    assert found.high == pytest.approx(values.mean() + error, abs=0.0006)


@pytest.mark.rule("TRN-11")
def test_a_paired_difference_is_found_where_the_intervals_overlap() -> None:
    random = np.random.default_rng(0)
    values = random.normal(0.8, 0.1, 40)
    better = values + 0.01 + random.normal(0, 0.005, 40)
    trials = {"a": [_dice(values)], "b": [_dice(better)], "c": [_dice(values)]}
    resampled = Resampled(trials, TASK, resamples=2000, seed=0)
    found = compare(resampled, ("a", "b", "c"), 0.95)
    assert found["a"].score.high > found["b"].score.low
    assert found["a"].difference.high < 0
    assert found["a"].p < 0.01
    assert found["b"].difference.mean == 0
    assert found["b"].p == 1
    assert resampled.p("a", "c") == 1


@pytest.mark.rule("TRN-11")
def test_seeds_widen_the_interval() -> None:
    values = np.random.default_rng(0).normal(0.8, 0.02, 100)
    alike = [_dice(values), _dice(values), _dice(values)]
    apart = [_dice(values - 0.05), _dice(values), _dice(values + 0.05)]
    widths = []
    for runs in (alike, apart):
        found = Resampled({"a": runs}, TASK, resamples=2000, seed=0).interval("a", 0.95)
        widths.append(found.high - found.low)
    assert widths[1] > 3 * widths[0]


@pytest.mark.rule("TRN-11")
def test_a_skilled_classifier_is_told_from_chance() -> None:
    trials = {"chance": [_classes(1, 0.0)], "skill": [_classes(2, 2.0)]}
    found = compare(Resampled(trials, CLASSES, resamples=2000, seed=0), tuple(trials), 0.95)
    assert found["chance"].p < 0.01
    assert found["chance"].score.low < 0.5 < found["chance"].score.high


@pytest.mark.parametrize(
    ("tests", "expected"),
    [
        ({"a": 0.01, "b": 0.04, "c": 0.03}, {"a": 0.03, "c": 0.06, "b": 0.06}),
        ({"a": 0.5, "b": 0.9}, {"a": 1.0, "b": 1.0}),
        ({}, {}),
    ],
)
def test_holm_multiplies_by_what_is_left(
    tests: dict[str, float], expected: dict[str, float]
) -> None:
    assert holm(tests) == expected


@pytest.mark.parametrize(
    ("values", "truths", "expected"),
    [
        ([0.1, 0.4, 0.35, 0.8], [False, False, True, True], 0.75),  # scikit-learn's own example
        ([0.5, 0.5], [True, False], 0.5),
        ([0.1, 0.9], [True, False], 0.0),
        ([0.1, 0.9], [True, True], None),
    ],
)
def test_the_area_under_the_curve(
    values: list[float], truths: list[bool], expected: float | None
) -> None:
    assert auc(values, truths) == expected
