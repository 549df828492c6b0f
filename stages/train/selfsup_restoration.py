"""Restoration: a patch is spoiled in several ways at once; the network gives it back whole.

Intensities go through a non-linear map, voxels are shuffled within small boxes, and boxes within
(or all around) are painted over with noise. The loss is the mean squared error over all voxels.
Source: Zhou et al., *Models Genesis* (Medical Image Analysis 2021), whose shares of patches are the
defaults; never inverted, as an image of one modality is not.
"""

from __future__ import annotations

import numpy as np
from monai.transforms.intensity.array import RandCoarseDropout, RandCoarseShuffle

from stages.train.params import Pretraining
from stages.train.pretext import Method, Patch, Reconstruction
from stages.train.views import changed, parts, remapped

BOXES = 5
"""Most boxes that are painted over, or left."""
WINDOWS = 200
"""Boxes whose voxels are shuffled, of up to a tenth of each side."""


def change(patch: Patch, options: Pretraining, random: np.random.Generator) -> tuple[Patch, Patch]:
    """The patch spoiled; as target itself."""
    spoiled = patch
    if random.uniform() < options.shuffled:
        spoiled = _shuffled(spoiled, random)
    if random.uniform() < options.remapped:
        spoiled = remapped(spoiled, random)
    if random.uniform() < options.painted:
        outer = random.uniform() < options.painted_around
        spoiled = _painted(spoiled, random, outer=outer)
    return spoiled, patch[None]


def _shuffled(patch: Patch, random: np.random.Generator) -> Patch:
    largest = tuple(max(least, 2) for least in parts(patch, 0.1))
    transform = RandCoarseShuffle(
        holes=WINDOWS, spatial_size=(1, 1, 1), max_spatial_size=largest, prob=1.0
    )
    return changed(patch, transform, random)


def _painted(patch: Patch, random: np.random.Generator, *, outer: bool) -> Patch:
    least, most = (3 / 7, 4 / 7) if outer else (1 / 6, 1 / 3)
    transform = RandCoarseDropout(
        holes=1,
        max_holes=BOXES,
        spatial_size=parts(patch, least),
        max_spatial_size=parts(patch, most),
        dropout_holes=not outer,
        prob=1.0,
    )
    return changed(patch, transform, random)


RESTORATION = Method(change, Reconstruction)
