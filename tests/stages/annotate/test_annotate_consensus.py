from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from helpers_annotate import redraw
from helpers_dicom import TASK, box
from hypothesis import given
from hypothesis import strategies as st

from stages.annotate import consensus
from stages.annotate.consensus import combine, majority, midway, only_one_drew, staple, vote
from stages.overlap import dice

SHAPE = (16, 24, 24)
SPACING = (2.0, 1.0, 1.0)
TRUTH = box(SHAPE, (4, 12), (6, 18), (5, 17))


def as_map(mask: consensus.NDArray[np.bool_], label: int = 2) -> consensus.LabelMap:
    return (mask * label).astype(np.uint8)


@pytest.mark.rule("ANN-2")
def test_staple_is_nearer_to_the_truth_than_the_worst_reader() -> None:
    drawn = [redraw(TRUTH, seed, sway) for seed, sway in ((1, 0.6), (2, 0.8), (3, 2.5))]
    found = combine([as_map(mask) for mask in drawn], TASK, SPACING, staple) == 2
    scores = [dice(mask, TRUTH) for mask in drawn]
    assert dice(found, TRUTH) > min(scores) + 0.05
    assert dice(found, TRUTH) > sum(scores) / 3


@pytest.mark.rule("ANN-2")
def test_staple_does_not_follow_a_reader_who_saw_nothing() -> None:
    drawn = [redraw(TRUTH, 1, 0.6), redraw(TRUTH, 2, 0.6), np.zeros_like(TRUTH)]
    found = combine([as_map(mask) for mask in drawn], TASK, SPACING, staple) == 2
    assert dice(found, TRUTH) > 0.9


@pytest.mark.rule("ANN-2")
@pytest.mark.parametrize("method", [staple, majority])
def test_the_order_of_readers_does_not_matter(method: consensus.Method) -> None:
    maps = [as_map(redraw(TRUTH, seed, 1.0)) for seed in (1, 2, 3)]
    found = {combine(order, TASK, SPACING, method).tobytes() for order in permutations(maps)}
    assert len(found) == 1


@pytest.mark.rule("ANN-2")
@pytest.mark.parametrize("method", [staple, majority, midway])
def test_what_all_readers_drew_alike_is_the_consensus(method: consensus.Method) -> None:
    maps = [as_map(TRUTH)] * (2 if method is midway else 3)
    assert np.array_equal(combine(maps, TASK, SPACING, method), maps[0])


@pytest.mark.rule("ANN-2")
def test_the_field_of_view_does_not_matter_to_staple() -> None:
    maps = [as_map(redraw(TRUTH, seed, 1.0)) for seed in (1, 2, 3)]
    wide = [np.pad(one, 20) for one in maps]
    inner = combine(wide, TASK, SPACING, staple)[20:-20, 20:-20, 20:-20]
    assert np.array_equal(combine(maps, TASK, SPACING, staple), inner)


@pytest.mark.rule("ANN-2")
def test_staple_on_a_volume_that_all_readers_fill_almost_is_defined() -> None:
    full = np.ones(SHAPE, np.bool_)
    dented = full.copy()
    dented[0, 0, 0] = False
    found = combine([as_map(m) for m in (full, full, dented)], TASK, SPACING, staple)
    assert (found == 2).mean() > 0.99


@pytest.mark.rule("ANN-2")
def test_a_last_bit_of_the_score_does_not_move_the_threshold() -> None:
    mask = as_map(TRUTH)
    above = combine([mask] * 3, TASK, SPACING, lambda masks, _: masks[0] - 1 + 1e-12)
    below = combine([mask] * 3, TASK, SPACING, lambda masks, _: masks[0] - 1 - 1e-12)
    assert np.array_equal(above, below)
    assert np.array_equal(above, mask)


@pytest.mark.rule("ANN-2")
def test_a_majority_is_more_than_half() -> None:
    masks = [box((1, 1, 4), (0, 1), (0, 1), (0, stop)) for stop in (4, 3, 2, 1)]
    found = combine([as_map(mask) for mask in masks], TASK, SPACING, majority)
    assert found.ravel().tolist() == [2, 2, 0, 0]  # four and three votes of four; not two


@pytest.mark.rule("ANN-2")
def test_the_more_probable_structure_wins_where_two_overlap() -> None:
    scores = {2: 0.3, 5: 0.1}
    organ, lesion = box((1, 1, 4), (0, 1), (0, 1), (0, 3)), box((1, 1, 4), (0, 1), (0, 1), (2, 4))
    maps = [as_map(organ, 2), as_map(lesion, 5)]

    def method(masks: consensus.Masks, spacing_mm: object) -> consensus.Score:
        label = 2 if masks[0].any() else 5
        return np.full(masks[0].shape, scores[label])

    assert (combine(maps, TASK, SPACING, method) == 2).all()
    scores[5] = 0.3  # equal: the structure later in the task
    assert (combine(maps, TASK, SPACING, method) == 5).all()


@pytest.mark.rule("ANN-3")
def test_staple_refuses_two_readers() -> None:
    with pytest.raises(ValueError, match="intersection"):
        staple([TRUTH, np.roll(TRUTH, 1, 0)], SPACING)


@pytest.mark.rule("ANN-3")
@pytest.mark.parametrize("shift", [2, 4])
def test_two_readers_meet_halfway_between_intersection_and_union(shift: int) -> None:
    inner = box(SHAPE, (6, 10), (9, 15), (9, 15))
    outer = box(
        SHAPE,
        *((6 - shift // 2, 10 + shift // 2), (9 - shift, 15 + shift), (9 - shift, 15 + shift)),
    )
    found = combine([as_map(inner), as_map(outer)], TASK, SPACING, midway) == 2
    assert (inner <= found).all()
    assert (found <= outer).all()
    assert inner.sum() < found.sum() < outer.sum()
    width = found.any(axis=(0, 1)).sum()
    assert width == 6 + shift  # halfway between 6 and 6 + 2·shift


@pytest.mark.rule("ANN-3")
def test_a_disagreement_one_voxel_thick_is_inside() -> None:
    other = np.roll(TRUTH, 1, 2)
    found = combine([as_map(TRUTH), as_map(other)], TASK, SPACING, midway) == 2
    assert found.sum() > (TRUTH & other).sum()
    assert (found <= TRUTH | other).all()


@pytest.mark.rule("ANN-3")
def test_an_object_that_only_one_reader_drew_is_seen() -> None:
    second = box(SHAPE, (13, 15), (20, 22), (20, 22))
    both, one = as_map(TRUTH | second, 5), as_map(TRUTH, 5)

    def found(a: consensus.LabelMap, b: consensus.LabelMap) -> tuple[str, ...]:
        return only_one_drew(a, b, TASK, SPACING, 1.0)

    assert found(both, one) == found(one, both) == ("lesion",)
    assert found(both, both) == ()
    assert found(one, np.zeros_like(one)) == ("lesion",)
    assert found(one, as_map(redraw(TRUTH, 1, 1), 5)) == ()


@pytest.mark.rule("ANN-3")
def test_a_speck_within_the_tolerance_is_the_same_object() -> None:
    def found(row: int, tolerance_mm: float) -> tuple[str, ...]:
        speck = box(SHAPE, (6, 7), (row, row + 1), (8, 9))
        inner = TRUTH.copy()
        inner[:, 17] = False  # the truth's last row, so that the speck is an object of its own
        return only_one_drew(as_map(inner | speck), as_map(TRUTH), TASK, SPACING, tolerance_mm)

    assert found(18, 0.1) == ()  # it touches
    assert found(20, 3.0) == ()
    assert found(20, 2.9) == ("organ",)


ALLOWED = ("benign", "malignant")


@pytest.mark.rule("ANN-5")
@pytest.mark.parametrize(
    ("given_labels", "expected"),
    [
        ({}, ("", 0)),
        ({"a": "benign"}, ("benign", 1)),
        ({"a": "benign", "b": "malignant", "c": "malignant"}, ("malignant", 2)),
        ({"a": "benign", "b": "malignant"}, ("", 1)),
    ],
)
def test_the_class_is_that_of_most_readers(
    given_labels: dict[str, str], expected: tuple[str, int]
) -> None:
    assert vote(given_labels, ALLOWED) == expected


@pytest.mark.rule("ANN-5")
@given(st.dictionaries(st.text(max_size=2), st.sampled_from(ALLOWED), max_size=6))
def test_no_reader_weighs_more_than_another(labels: dict[str, str]) -> None:
    readers = list(labels)
    rotated = dict(zip(readers[1:] + readers[:1], labels.values(), strict=True))
    assert vote(labels, ALLOWED) == vote(rotated, ALLOWED[::-1])
