"""From several readers' label maps of one series to one: pure decisions on arrays.

Axis order is (slices, rows, columns). A method gives each structure a **score** per voxel, at least
0 inside it; where structures overlap, the higher score wins, then the one later in the task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stages.params import Task

LabelMap = NDArray[np.uint8]
Masks = Sequence[NDArray[np.bool_]]
Score = NDArray[np.float64]
Method = Callable[[Masks, tuple[float, float, float]], Score]

MARGIN = 2
"""Voxels around all readers' drawings in which a method works: what it finds must not depend on
how much background the scanner happened to see."""


def combine(
    maps: Sequence[LabelMap], task: Task, spacing_mm: tuple[float, float, float], method: Method
) -> LabelMap:
    """Combine readers' label maps, given in the order of the readers' names.

    Args:
        maps: one label map a reader, on one grid.
        task: its structures' labels are the values of the maps.
        spacing_mm: of the grid.
        method: `staple`, `majority` or `midway`.
    """
    label_map = np.zeros_like(maps[0])
    for_all = np.any(np.stack([m > 0 for m in maps]), axis=0)
    if not for_all.any():
        return label_map
    box = _box(for_all)
    best = np.full(label_map[box].shape, -np.inf)
    inner = label_map[box]
    for structure in task.structures:
        masks = [m[box] == structure.label for m in maps]
        if not any(mask.any() for mask in masks):
            continue
        score = np.round(method(masks, spacing_mm), 6)
        wins = (score >= 0) & (score >= best)
        inner[wins] = structure.label
        best[wins] = score[wins]
    return label_map


def staple(masks: Masks, spacing_mm: tuple[float, float, float]) -> Score:
    """Probability of the truth that explains the readers best, less one half; three or more.

    Where the estimate does not exist (all readers fill the whole box) it is the majority's.

    Source: Warfield, Zou, Wells, *Simultaneous truth and performance level estimation* (IEEE TMI
    2004), as in SimpleITK.
    """
    import SimpleITK as sitk  # noqa: N813 - the library's own short name

    if len(masks) < 3:
        raise ValueError("STAPLE of two readers is their intersection; it takes three or more")
    if all(np.array_equal(masks[0], mask) for mask in masks[1:]):
        return majority(masks, spacing_mm)
    estimator: Any = sitk.STAPLEImageFilter()  # type: ignore[no-untyped-call]
    estimator.SetNumberOfThreads(1)
    estimator.SetForegroundValue(1.0)
    estimator.SetMaximumIterations(1000)
    images = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in masks]
    probability: Score = sitk.GetArrayFromImage(estimator.Execute(images))
    if not np.isfinite(probability).all():
        return majority(masks, spacing_mm)
    return probability - 0.5


def majority(masks: Masks, spacing_mm: tuple[float, float, float]) -> Score:  # noqa: ARG001 - a Method
    """Votes beyond the smallest strict majority: of four readers, two are not enough."""
    votes = np.sum(np.stack(masks), axis=0, dtype=np.int64)
    score: Score = np.asarray(votes - (len(masks) // 2 + 1), np.float64)
    return score


def midway(masks: Masks, spacing_mm: tuple[float, float, float]) -> Score:
    """Depth in mm within the surface halfway between two readers'; ties count as inside.

    Source: Rohlfing, Maurer, *Shape-based averaging* (IEEE Trans. Image Processing 2007): the zero
    level of the mean of signed distances.
    """
    if any(not mask.any() for mask in masks):
        return np.full(masks[0].shape, -np.inf)
    depths = [
        ndimage.distance_transform_edt(np.pad(mask, 1), sampling=spacing_mm)[1:-1, 1:-1, 1:-1]
        - ndimage.distance_transform_edt(~mask, sampling=spacing_mm)
        for mask in masks
    ]
    mean: Score = np.mean(np.stack(depths), axis=0)
    return mean


def only_one_drew(
    a: LabelMap,
    b: LabelMap,
    task: Task,
    spacing_mm: tuple[float, float, float],
    tolerance_mm: float,
) -> tuple[str, ...]:
    """Structures of which only one of two readers drew an object.

    An object is a set of touching voxels; the other reader drew it too if anything of the structure
    in the other's label map touches it or lies within the tolerance of it.
    """
    names = []
    for structure in task.structures:
        masks = a == structure.label, b == structure.label
        if any(_lonely(*pair, spacing_mm, tolerance_mm) for pair in (masks, masks[::-1])):
            names.append(structure.name)
    return tuple(names)


def vote(labels: Mapping[str, str], allowed: Sequence[str]) -> tuple[str, int]:
    """Class label with the most votes, and its votes.

    Args:
        labels: reader → class label; readers who gave none are left out.
        allowed: the structure's class labels.

    Returns:
        The label and its votes; ("", votes) on a tie; ("", 0) without votes.
    """
    counts = {label: list(labels.values()).count(label) for label in allowed}
    most = max(counts.values(), default=0)
    if most == 0:
        return "", 0
    leaders = [label for label, count in counts.items() if count == most]
    return (leaders[0] if len(leaders) == 1 else ""), most


def _lonely(
    a: NDArray[np.bool_],
    b: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
    tolerance_mm: float,
) -> bool:
    """Whether an object of A neither touches B nor lies within the tolerance of it."""
    if not a.any() or not b.any():
        return bool(a.any())
    box = _box(a | b)
    a, b = a[box], b[box]
    objects, count = ndimage.label(a, structure=np.ones((3, 3, 3)))
    near = ndimage.distance_transform_edt(~b, sampling=spacing_mm) <= tolerance_mm
    near |= ndimage.binary_dilation(b, structure=np.ones((3, 3, 3)))
    return bool(len(np.unique(objects[a & near])) < count)


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    tight = ndimage.find_objects(mask.astype(np.uint8))[0]
    return tuple(
        slice(max(0, side.start - MARGIN), min(size, side.stop + MARGIN))
        for side, size in zip(tight, mask.shape, strict=True)
    )
