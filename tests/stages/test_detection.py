"""Lesions as instances: candidates, matching, and the free-response curve."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stages.detection import RATES, Candidate, Curve, Scan, detect, froc

SHAPE = (6, 20, 20)
Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
A: Box = ((1, 4), (2, 6), (2, 6))
B: Box = ((1, 4), (12, 16), (12, 16))


def cut(box: Box) -> tuple[slice, ...]:
    return tuple(slice(*side) for side in box)


def heat(*boxes: tuple[Box, float]) -> NDArray[np.float64]:
    found = np.zeros(SHAPE)
    for box, value in boxes:
        found[cut(box)] = value
    return found


def mask(*boxes: Box) -> NDArray[np.bool_]:
    return heat(*((box, 1.0) for box in boxes)) > 0


def found(
    probability: NDArray[np.float64], reference: NDArray[np.bool_], **changes: Any
) -> tuple[int, tuple[Candidate, ...]]:
    how: dict[str, Any] = {"threshold": 0.1, "min_voxels": 1, "criterion": "iou", "min_iou": 0.1}
    return detect(probability, reference, **(how | changes))


@pytest.mark.rule("DET-1")
def test_a_candidate_is_a_component_scored_by_its_highest_probability() -> None:
    probability = heat((A, 0.4), (B, 0.7))
    probability[2, 3, 3] = 0.912345
    probability[5, 19, 19] = 0.05
    total, candidates = found(probability, mask(A))
    assert total == 1
    assert [(c.score, c.voxels, c.lesion) for c in candidates] == [(0.9123, 48, 0), (0.7, 48, None)]


@pytest.mark.rule("DET-1")
def test_voxels_that_touch_by_a_corner_are_one_and_specks_are_dropped() -> None:
    probability = heat((((0, 1), (0, 1), (0, 1)), 0.5), (((1, 2), (1, 2), (1, 2)), 0.5), (B, 0.5))
    assert [c.voxels for c in found(probability, mask())[1]] == [48, 2]
    assert [c.voxels for c in found(probability, mask(), min_voxels=3)[1]] == [48]
    assert found(probability, mask(A, B))[0] == 2


@pytest.mark.rule("DET-2")
def test_a_second_candidate_on_a_found_lesion_is_neither_found_nor_false() -> None:
    halves = heat((((1, 4), (2, 6), (2, 3)), 0.9), (((1, 4), (2, 6), (4, 6)), 0.8), (B, 0.3))
    _, candidates = found(halves, mask(A))
    assert [(c.lesion, c.counts) for c in candidates] == [(0, True), (None, False), (None, True)]


@pytest.mark.rule("DET-2")
def test_a_candidate_over_two_lesions_finds_the_one_it_hits_best() -> None:
    wide = heat((((1, 4), (2, 6), (2, 12)), 0.9))
    near, far = ((1, 4), (2, 6), (2, 7)), ((1, 4), (2, 6), (9, 12))
    total, (candidate,) = found(wide, mask(far, near))
    assert total == 2
    (best,) = found(wide, mask(near))[1]
    assert candidate.lesion is not None
    assert candidate.lesion == 0
    assert best.lesion == 0


@pytest.mark.rule("DET-3")
@pytest.mark.parametrize(("min_iou", "lesion"), [(1 / 3, 0), (0.34, None)])
def test_overlap_decides_at_its_limit(min_iou: float, lesion: int | None) -> None:
    shifted = heat((((1, 4), (2, 6), (4, 8)), 0.9))  # half of each: 24 of 72 voxels
    (candidate,) = found(shifted, mask(A), min_iou=min_iou)[1]
    assert candidate.lesion == lesion


@pytest.mark.rule("DET-3")
def test_a_center_within_the_lesion_is_a_hit_whatever_the_overlap() -> None:
    large = heat((((0, 6), (0, 9), (0, 9)), 0.9))
    (candidate,) = found(large, mask(A), criterion="center")[1]
    assert candidate.lesion == 0
    assert found(large, mask(A), min_iou=0.5)[1][0].lesion is None
    (off,) = found(large, mask(B), criterion="center")[1]
    assert off.lesion is None


def test_two_grids_are_refused() -> None:
    with pytest.raises(ValueError, match="grids"):
        found(heat(), np.zeros((1, 2, 3), np.bool_))


def scan(subject: str, lesions: int, *candidates: tuple[float, int | None]) -> Scan:
    return Scan(subject, lesions, tuple(Candidate(s, 1, hit, counts=True) for s, hit in candidates))


def curve(*scans: Scan, resamples: int = 100) -> Curve:
    return froc(scans, resamples=resamples, confidence=0.95, seed=1)


@pytest.mark.rule("DET-4")
def test_the_curve_is_the_one_counted_by_hand() -> None:
    found = curve(
        scan("a", 2, (0.9, 0), (0.8, None), (0.6, 1)),
        scan("b", 1, (0.7, None), (0.5, None), (0.4, 0)),
    )
    assert found.false_positives == (0, 0.5, 1, 1, 1.5, 1.5)
    assert found.sensitivity == pytest.approx((1 / 3, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 1), abs=1e-6)
    third, whole = round(1 / 3, 6), 1.0
    assert found.at_rates == (third, third, third, round(2 / 3, 6), whole, whole, whole)
    assert found.cpm == pytest.approx((3 / 3 + 2 / 3 + 3) / 7, abs=1e-6)


@pytest.mark.rule("DET-4")
def test_equal_scores_cannot_be_parted() -> None:
    found = curve(scan("a", 1, (0.5, 0), (0.5, None), (0.5, None)))
    assert (found.false_positives, found.sensitivity) == ((2.0,), (1.0,))
    assert found.at_rates == (0, 0, 0, 0, 1, 1, 1)


def test_without_a_lesion_there_is_no_curve() -> None:
    for found in (curve(), curve(scan("a", 0, (0.5, None)))):
        assert found.cpm is None
        assert found.at_rates == (None,) * len(RATES)


def test_a_missed_scan_counts_and_one_subject_has_no_interval() -> None:
    found = curve(scan("a", 1), scan("a", 1, (0.9, 0)))
    assert found.at_rates == (0.5,) * len(RATES)
    assert found.cpm_interval == (None, None)


SCANS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.lists(st.tuples(st.sampled_from([0.2, 0.5, 0.9]), st.booleans()), max_size=5),
    ),
    min_size=2,
    max_size=8,
)


@pytest.mark.rule("DET-4")
@given(SCANS)
def test_sensitivity_grows_with_the_rate_and_lies_within_its_interval_range(drawn: Any) -> None:
    scans = []
    for number, (lesions, candidates) in enumerate(drawn):
        hits = iter(range(lesions))
        listed = [(s, next(hits, None) if hit else None) for s, hit in sorted(candidates)[::-1]]
        scans.append(scan(f"s-{number}", lesions, *listed))
    found = curve(*scans)
    if found.cpm is None:
        assert not sum(lesions for lesions, _ in drawn)
        return
    values = [value for value in found.at_rates if value is not None]
    assert values == sorted(values)
    assert 0 <= values[0] <= values[-1] <= 1
    assert list(found.false_positives) == sorted(found.false_positives)
    low, high = found.cpm_interval
    assert low is not None
    assert high is not None
    assert 0 <= low <= high <= 1


def test_intervals_narrow_with_more_subjects() -> None:
    def many(count: int) -> Curve:
        random = np.random.default_rng(0)
        return curve(
            *(
                scan(
                    f"s-{n:03d}", 1, (float(random.random()), 0 if random.random() < 0.6 else None)
                )
                for n in range(count)
            ),
            resamples=300,
        )

    few, lots = many(15), many(300)
    for found in (few, lots):
        assert found.cpm is not None
        assert found.cpm_interval[0] <= found.cpm <= found.cpm_interval[1]  # type: ignore[operator]
    width = [found.cpm_interval[1] - found.cpm_interval[0] for found in (few, lots)]  # type: ignore[operator]
    assert width[1] < 0.6 * width[0]
