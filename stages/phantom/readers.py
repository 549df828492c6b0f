"""What a reader draws on a scan: the truth, bent by the reader's habits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.phantom.anatomy import Anatomy
from stages.phantom.chance import BELL_SD, Chance
from stages.phantom.shapes import Space, ripple
from stages.phantom.site import Reader

ORGAN, LESION = 1, 2
"""Values of the label map; 0 is background."""
CLASSES = ("benign", "malignant")


def draw(
    anatomy: Anatomy, space: Space, reader: Reader, words: tuple[int, int]
) -> NDArray[np.uint8]:
    """A reader's label map (slices, rows, columns).

    Args:
        anatomy: the truth.
        space: the scan's voxels.
        reader: whose habits.
        words: numbers of subject and study.
    """
    chance = Chance("reading", *words, reader.index)
    labels = np.zeros(space.shape, dtype=np.uint8)
    wave = ripple(space, chance, 7000) * reader.rough_um // BELL_SD
    labels[anatomy.organ + wave + reader.bias_um > 0] = ORGAN
    wave = ripple(space, chance, 4000) * reader.rough_um // BELL_SD
    for lesion in anatomy.lesions:
        if lesion.radius_um >= reader.misses_below_um:
            labels[lesion.depth + wave + reader.bias_um > 0] = LESION
    return labels


def judge(reader: Reader, words: tuple[int, int], *, malignant: bool) -> str:
    """The class label that a reader gives to a study's lesions."""
    errs = Chance("verdict", *words, reader.index).between(1, 100) <= reader.errs_percent
    return CLASSES[malignant != errs]
