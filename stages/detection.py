"""Lesions as instances: components of a probability map, held against those of a reference.

Axis order is (slices, rows, columns). NumPy and SciPy alone.

Rules:

- DET-1  A candidate is a set of touching voxels (corners count) whose probability, rounded to four
         decimals, is at least the threshold; its score is the highest of them. A reference lesion
         is a set of touching voxels of the structure.
- DET-2  Candidates are matched by descending score, the larger first of equals: each takes the
         free lesion that it hits best. One that hits only lesions that are taken counts neither as
         found nor as false; one that hits none is false.
- DET-3  A hit is an overlap (intersection over union) of at least `min_iou`, or a candidate's
         center of mass within the lesion.
- DET-4  Sensitivity at a rate of false positives is that of the lowest threshold of the score whose
         mean number of false candidates a scan is not above the rate; nothing is interpolated.

Sources: Bunch et al., *A free-response approach to the measurement and characterization of
radiographic observer performance* (1978); Setio et al., LUNA16 (Medical Image Analysis 2017) for
the rates, their mean (CPM), and candidates on a lesion that is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

RATES: Final = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives a scan at which sensitivity is told."""
_DECIMALS: Final = 4
_TOUCHING: Final = np.ones((3, 3, 3))
Criterion = Literal["iou", "center"]


@dataclass(frozen=True)
class Candidate:
    """One component of the probability map."""

    score: float
    voxels: int
    lesion: int | None
    """Index of the reference lesion that it found."""
    counts: bool
    """Whether it is found or false; a second candidate on a found lesion is neither."""


@dataclass(frozen=True)
class Scan:
    """What was found in one scan."""

    subject: str
    lesions: int
    candidates: tuple[Candidate, ...]


def detect(
    probability: NDArray[np.floating],
    reference: NDArray[np.bool_],
    *,
    threshold: float,
    min_voxels: int,
    criterion: Criterion,
    min_iou: float,
) -> tuple[int, tuple[Candidate, ...]]:
    """Candidates of one scan, matched with the reference's lesions (DET-1 to DET-3).

    Args:
        probability: of the structure, (slices, rows, columns).
        reference: where the structure is, on the same grid.
        threshold: lowest probability of a candidate's voxels.
        min_voxels: smaller candidates are dropped.
        criterion: what a hit is.
        min_iou: least overlap, for `iou`.

    Returns:
        The number of reference lesions; candidates by descending score.
    """
    if probability.shape != reference.shape:
        raise ValueError("probability and reference lie on different grids")
    heat = np.round(probability, _DECIMALS)
    objects, count = ndimage.label(heat >= threshold, structure=_TOUCHING)
    lesions, total = ndimage.label(reference, structure=_TOUCHING)
    sizes = np.bincount(objects.ravel(), minlength=count + 1)
    lesion_sizes = np.bincount(lesions.ravel(), minlength=total + 1)
    found = []
    for index, box in enumerate(ndimage.find_objects(objects), start=1):
        if sizes[index] < min_voxels:
            continue
        mask = objects[box] == index
        if criterion == "center":
            hits = _at_center(mask, lesions[box])
        else:
            hits = _overlapping(mask, lesions[box], lesion_sizes, min_iou)
        found.append((float(heat[box][mask].max()), int(sizes[index]), hits))
    found.sort(key=lambda one: (-one[0], -one[1]))
    taken: set[int] = set()
    candidates = []
    for score, voxels, hits in found:
        free = [lesion for lesion in hits if lesion not in taken]
        lesion = free[0] if free else None
        taken |= {lesion} if lesion is not None else set()
        candidates.append(Candidate(score, voxels, lesion, counts=bool(free) or not hits))
    return int(total), tuple(candidates)


def _at_center(mask: NDArray[np.bool_], lesions: NDArray[np.int32]) -> list[int]:
    """Index of the lesion at a candidate's center of mass (DET-3)."""
    center = tuple(int(np.floor(c + 0.5)) for c in np.argwhere(mask).mean(axis=0))
    lesion = int(lesions[center])
    return [lesion - 1] if lesion else []


def _overlapping(
    mask: NDArray[np.bool_],
    lesions: NDArray[np.int32],
    lesion_sizes: NDArray[np.int64],
    min_iou: float,
) -> list[int]:
    """Indices of the lesions that a candidate overlaps enough, the best first (DET-3)."""
    shared = np.bincount(lesions[mask], minlength=len(lesion_sizes))
    size = int(mask.sum())
    overlaps = []
    for lesion in np.flatnonzero(shared[1:]) + 1:
        both = int(shared[lesion])
        overlaps.append((-both / (size + int(lesion_sizes[lesion]) - both), int(lesion) - 1))
    return [lesion for overlap, lesion in sorted(overlaps) if -overlap >= min_iou]


@dataclass(frozen=True)
class Curve:
    """Free-response curve of a set of scans."""

    false_positives: tuple[float, ...]
    """Mean a scan, ascending."""
    sensitivity: tuple[float, ...]
    at_rates: tuple[float | None, ...]
    """Sensitivity at `RATES`; None without a lesion."""
    intervals: tuple[tuple[float | None, float | None], ...]
    cpm: float | None
    """Mean of `at_rates` (competition performance metric)."""
    cpm_interval: tuple[float | None, float | None]


def froc(scans: Sequence[Scan], *, resamples: int, confidence: float, seed: int) -> Curve:
    """The curve, its seven points and their mean, with intervals over subjects (DET-4).

    Subjects are drawn, not scans: those of one subject are not independent. A sample without a
    lesion is left out.
    """
    counted = [(c, place) for place, scan in enumerate(scans) for c in scan.candidates if c.counts]
    counted.sort(key=lambda one: -one[0].score)
    scores = np.array([candidate.score for candidate, _ in counted])
    place = np.array([index for _, index in counted], np.int64)
    found = np.array([candidate.lesion is not None for candidate, _ in counted], np.bool_)
    lesions = np.array([scan.lesions for scan in scans], np.int64)
    # Candidates of one score come together: a threshold cannot part them.
    ends = np.flatnonzero(np.diff(scores, append=-np.inf)) if len(scores) else np.zeros(0, np.int64)

    def points(weights: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        own = weights[place] if len(place) else np.zeros(0, np.int64)
        hits, alarms = np.cumsum(own * found)[ends], np.cumsum(own * ~found)[ends]
        return alarms / weights.sum(), hits / max(int((weights * lesions).sum()), 1)

    def at_rates(weights: NDArray[np.int64]) -> NDArray[np.float64]:
        alarms, hits = points(weights)
        within = np.searchsorted(alarms, np.array(RATES), side="right")
        return np.concatenate([[0.0], hits])[within]

    ones = np.ones(len(scans), np.int64)
    if not len(scans) or not lesions.sum():
        nothing: tuple[None, None] = (None, None)
        none = tuple(None for _ in RATES)
        return Curve((), (), none, tuple(nothing for _ in RATES), None, nothing)
    x, y = points(ones)
    value = at_rates(ones)
    drawn = [
        at_rates(weights)
        for weights in _drawn([scan.subject for scan in scans], resamples, seed)
        if (weights * lesions).sum()
    ]
    several = len({scan.subject for scan in scans}) > 1
    samples = np.array(drawn if several else []).reshape(-1, len(RATES))
    return Curve(
        false_positives=tuple(round(float(v), 6) for v in x),
        sensitivity=tuple(round(float(v), 6) for v in y),
        at_rates=tuple(round(float(v), 6) for v in value),
        intervals=tuple(_interval(column, confidence) for column in samples.T),
        cpm=round(float(value.mean()), 6),
        cpm_interval=_interval(samples.mean(axis=1), confidence) if len(samples) else (None, None),
    )


def _drawn(subjects: Sequence[str], resamples: int, seed: int) -> list[NDArray[np.int64]]:
    """How often each scan's subject was drawn, for each sample."""
    names = sorted(set(subjects))
    owner = np.array([names.index(subject) for subject in subjects], np.int64)
    generator = np.random.default_rng(seed)
    drawn = generator.integers(len(names), size=(resamples, len(names)))
    return [np.bincount(one, minlength=len(names))[owner] for one in drawn]


def _interval(values: NDArray[np.float64], confidence: float) -> tuple[float | None, float | None]:
    if not values.size:
        return None, None
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return round(float(low), 6), round(float(high), 6)
