"""The laws of the split: pure, so checked on drawn cohorts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stages.dataset.params import DatasetParams, Fractions
from stages.dataset.splits import MIN_FOR_ALL, assign, place

NAMES = st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=10, max_size=10).map("s-{}".format)
COHORTS = st.dictionaries(NAMES, st.sampled_from(["GE", "Siemens", "Philips"]), max_size=40)
SEEDS = st.integers(0, 2**31 - 1)
SHARES = st.sampled_from([Fractions(), Fractions(train=0.7, validation=0.1, test=0.2)])


@pytest.mark.rule("DAT-1")
@given(COHORTS, SHARES, SEEDS)
def test_every_labeled_subject_has_one_split(cohort, fractions, seed):
    splits = assign(cohort, fractions, seed)
    assert splits.keys() == cohort.keys()
    assert set(splits.values()) <= {"train", "validation", "test"}


@pytest.mark.rule("DAT-2")
@given(COHORTS, SEEDS, st.randoms())
def test_the_order_of_subjects_changes_nothing(cohort, seed, chance):
    shuffled = list(cohort.items())
    chance.shuffle(shuffled)
    assert assign(dict(shuffled), Fractions(), seed) == assign(cohort, Fractions(), seed)


@pytest.mark.rule("DAT-2")
@given(COHORTS, NAMES, SEEDS, SHARES)
def test_one_subject_more_moves_at_most_two_of_its_own_vendor(cohort, name, seed, fractions):
    cohort.pop(name, None)
    before = assign(cohort, fractions, seed)
    after = assign(cohort | {name: "GE"}, fractions, seed)
    moved = [subject for subject in cohort if before[subject] != after[subject]]
    assert len(moved) <= 2
    assert all(cohort[subject] == "GE" for subject in moved)


@pytest.mark.rule("DAT-2")
@given(COHORTS, NAMES, SEEDS)
def test_one_subject_more_moves_nobody_where_no_vendor_is_at_its_minimum(cohort, name, seed):
    cohort.pop(name, None)
    before, after = (assign(c, Fractions(), seed) for c in (cohort, cohort | {name: "GE"}))
    own = [_own(subject, seed) for subject, vendor in cohort.items() if vendor == "GE"]
    if all(own.count(split) >= 1 for split in ("train", "validation", "test")):
        assert {subject: after[subject] for subject in cohort} == before


@pytest.mark.rule("DAT-3")
@given(COHORTS, SEEDS, SHARES)
def test_a_vendor_with_three_subjects_stands_in_every_split(cohort, seed, fractions):
    splits = assign(cohort, fractions, seed)
    for vendor in set(cohort.values()):
        own = [splits[subject] for subject in cohort if cohort[subject] == vendor]
        if len(own) >= MIN_FOR_ALL:
            assert set(own) == {"train", "validation", "test"}


@pytest.mark.rule("DAT-2")
def test_shares_are_met_in_expectation():
    cohort = {f"s-{i}": "GE" for i in range(4000)}
    splits = list(assign(cohort, Fractions(), 7).values())
    for split, share in (("train", 0.6), ("validation", 0.15), ("test", 0.25)):
        assert splits.count(split) / 4000 == pytest.approx(share, abs=0.03)


@pytest.mark.rule("DAT-2")
def test_a_place_is_fixed_by_pseudonym_and_seed():
    assert place("s-4f2k9q7a1b", 1) == 0.9283281126066524
    assert place("s-4f2k9q7a1b", 1) != place("s-4f2k9q7a1b", 2)


def test_shares_that_do_not_add_up_are_refused():
    with pytest.raises(ValidationError, match="add up to 1"):
        DatasetParams.model_validate({"fractions": {"train": 0.5, "validation": 0.1, "test": 0.2}})


def _own(subject, seed):
    at = place(subject, seed)
    return "test" if at < 0.25 else "validation" if at < 0.4 else "train"


CLASSED = st.dictionaries(
    NAMES,
    st.tuples(st.sampled_from(["GE", "Siemens"]), st.sampled_from(["", "benign", "malignant"])),
    max_size=40,
)


def _parted(cohort, fractions, seed):
    vendors = {subject: vendor for subject, (vendor, _) in cohort.items()}
    classes = {subject: label for subject, (_, label) in cohort.items()}
    return assign(vendors, fractions, seed, classes)


@pytest.mark.rule("DAT-3")
@given(CLASSED, SEEDS, SHARES)
def test_with_classes_a_vendor_and_its_classes_of_three_stand_in_every_split(
    cohort, seed, fractions
):
    splits = _parted(cohort, fractions, seed)
    assert splits.keys() == cohort.keys()
    for vendor in ("GE", "Siemens"):
        own = {subject for subject in cohort if cohort[subject][0] == vendor}
        groups = [{s for s in own if cohort[s][1] == label} for label in ("benign", "malignant")]
        for subjects in (own, *groups):
            if len(subjects) >= MIN_FOR_ALL:
                assert {splits[s] for s in subjects} == {"train", "validation", "test"}


@pytest.mark.rule("DAT-2")
@given(CLASSED, NAMES, SEEDS, SHARES)
def test_with_classes_one_subject_more_moves_few_of_its_own_vendor(cohort, name, seed, fractions):
    cohort.pop(name, None)
    before = _parted(cohort, fractions, seed)
    after = _parted(cohort | {name: ("GE", "benign")}, fractions, seed)
    moved = [subject for subject in cohort if before[subject] != after[subject]]
    assert len(moved) <= 6  # a group of three leaves its vendor's others: two, and two minimums
    assert all(cohort[subject][0] == "GE" for subject in moved)
