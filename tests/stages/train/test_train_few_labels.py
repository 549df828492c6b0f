"""The few-labels benchmark: who is looked at for what, and the interval of a gain."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.few_labels import LONGER, MOST, TEST, UNLABELED, WAYS, Budget, interval, parted
from stages.train.ways import RANDOM

SUBJECTS = [f"hippocampus_{number:03}" for number in range(200)]


def test_test_subjects_are_the_same_for_all_seeds_and_seen_by_no_training() -> None:
    seen = set()
    for seed in range(3):
        test, unlabeled, others = parted(SUBJECTS, seed)
        assert (len(test), len(unlabeled), len(others)) == (TEST, UNLABELED, MOST + UNLABELED)
        assert not set(test) & (set(unlabeled) | set(others))
        assert not set(others[:MOST]) & set(unlabeled)
        seen.add(tuple(test))
    assert len(seen) == 1


def test_labeled_subjects_differ_by_seed() -> None:
    assert parted(SUBJECTS, 0)[2][:5] != parted(SUBJECTS, 1)[2][:5]


def test_every_way_has_the_same_steps_on_labels_and_is_looked_at_after_the_last() -> None:
    budget = Budget(300)
    for name, way in WAYS.items():
        before, after = budget.epochs(way)
        train = budget.params(0, way).train
        steps = 600 if name == LONGER else 300
        assert after * (train.patches or 0) == steps * train.batch
        assert before * (train.patches or 0) == (way.start != RANDOM) * 300 * train.batch
        assert train.validate_every == train.epochs == after


def test_an_interval_covers_seeds_as_well_as_subjects() -> None:
    assert interval(np.full((3, 40), 0.02)) == pytest.approx((0.02, 0.02, 0.02))
    between = np.repeat([[-0.05], [0.0], [0.05]], 40, axis=1)
    mean, low, high = interval(between)
    assert mean == pytest.approx(0, abs=1e-9)
    assert low == pytest.approx(-0.05)
    assert high == pytest.approx(0.05)
    within = np.random.default_rng(1).normal(0.03, 0.02, (3, 40))
    mean, low, high = interval(within)
    assert 0.02 < low < mean < high < 0.04
