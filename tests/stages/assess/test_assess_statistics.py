"""Intervals over subjects: against known cases, and the laws they keep."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stages.assess.statistics import bootstrap


@pytest.mark.rule("ASS-5")
def test_two_subjects_give_the_interval_that_can_be_counted() -> None:
    """Means of two draws from {0, 1}: 0, 1/2, 1 with probability 1/4, 1/2, 1/4."""
    wide = bootstrap({"a": [0.0], "b": [1.0]}, resamples=4000, confidence=0.95, seed=1)
    assert wide is not None
    assert (wide.subjects, wide.mean, wide.low, wide.high) == (2, 0.5, 0.0, 1.0)
    three = bootstrap(
        {"a": [0.0], "b": [0.0], "c": [1.0]}, resamples=4000, confidence=0.8, seed=1
    )  # 0, 1/3, 2/3, 1 with probability 8/27, 12/27, 6/27, 1/27
    assert three is not None
    assert (three.low, three.high) == (0.0, 0.666667)


@pytest.mark.rule("ASS-5")
def test_many_subjects_come_near_the_normal_interval() -> None:
    random = np.random.default_rng(0)
    values = random.normal(0.8, 0.05, 400)
    found = bootstrap(
        {f"s-{n}": [float(v)] for n, v in enumerate(values)},
        resamples=4000,
        confidence=0.95,
        seed=3,
    )
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert found.mean == pytest.approx(values.mean(), abs=1e-6)
    assert found.low == pytest.approx(values.mean() - half, rel=0.001)
    assert found.high == pytest.approx(values.mean() + half, rel=0.001)


@pytest.mark.rule("ASS-5")
def test_series_of_one_subject_are_no_independent_evidence() -> None:
    """Ten equal series a subject leave the interval as wide as one."""
    once = {f"s-{n}": [n / 10] for n in range(8)}
    often = {name: values * 10 for name, values in once.items()}
    options = {"resamples": 500, "confidence": 0.95, "seed": 2}
    assert bootstrap(once, **options) == bootstrap(often, **options)  # type: ignore[arg-type]


@pytest.mark.rule("ASS-5")
def test_the_mean_is_over_series_and_subjects_without_a_value_are_left_out() -> None:
    found = bootstrap(
        {"a": [1.0, 1.0, 1.0], "b": [0.0], "c": []}, resamples=100, confidence=0.9, seed=0
    )
    assert found is not None
    assert (found.subjects, found.mean) == (2, 0.75)


def test_order_of_subjects_changes_nothing_and_the_seed_does() -> None:
    values = {f"s-{n}": [n * n / 100] for n in range(9)}
    turned = dict(reversed(values.items()))
    first, second, other = (
        bootstrap(given, resamples=200, confidence=0.95, seed=seed)
        for given, seed in ((values, 1), (turned, 1), (values, 2))
    )
    assert first == second
    assert first != other


def test_one_subject_has_no_interval_and_none_has_nothing() -> None:
    alone = bootstrap({"a": [0.4, 0.6]}, resamples=100, confidence=0.95, seed=0)
    assert alone is not None
    assert (alone.mean, alone.low, alone.high) == (0.5, None, None)
    assert bootstrap({}, resamples=100, confidence=0.95, seed=0) is None
