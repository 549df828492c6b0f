"""Another view of a patch: the same anatomy, seen otherwise. Labels of the one hold for the other.

Of MONAI's transforms, each seeded by the patch's own random numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.transforms.compose import Compose
from monai.transforms.intensity.array import (
    RandAdjustContrast,
    RandCoarseDropout,
    RandGaussianNoise,
    RandHistogramShift,
    RandScaleIntensity,
    RandShiftIntensity,
)
from numpy.typing import NDArray
from torch.nn import functional

from stages.train.patches import sampled_at

Patch = NDArray[np.float32]
"""(slices, rows, columns)"""
POINTS = (5, 10)
"""Fewest and most control points of a random map of intensities; fewer bend it more."""


def changed(patch: Patch, transform: Any, random: np.random.Generator) -> Patch:
    """One of MONAI's random transforms of a patch, by a seed drawn from the patch's numbers."""
    transform.set_random_state(seed=int(random.integers(2**32)))
    answer = transform(torch.from_numpy(patch.copy())[None])
    return np.ascontiguousarray(torch.as_tensor(answer).numpy()[0], dtype=np.float32)


def remapped(patch: Patch, random: np.random.Generator) -> Patch:
    """Intensities through a random map that keeps their order, and least and largest."""
    if patch.min() == patch.max():
        return patch
    return changed(patch, RandHistogramShift(num_control_points=POINTS, prob=1.0), random)


def recolored(patch: Patch, random: np.random.Generator, strength: float) -> Patch:
    """Other contrast, brightness and noise.

    Args:
        patch: in units of the prepared volume.
        random: the patch's numbers.
        strength: largest relative change of contrast, and largest offset; 0 changes nothing.
    """
    if strength == 0:
        return patch
    if random.uniform() < 0.5:
        patch = remapped(patch, random)
    steps = [
        RandAdjustContrast(prob=0.5, gamma=(1 / (1 + 2 * strength), 1 + 2 * strength)),
        RandScaleIntensity(factors=strength, prob=1.0),
        RandShiftIntensity(offsets=strength, prob=1.0),
        RandGaussianNoise(prob=0.5, std=strength / 2),
    ]
    return changed(patch, Compose(steps), random)


def cut(patch: Patch, random: np.random.Generator) -> Patch:
    """One to three boxes filled with noise, their sides a sixth to a third of the patch's."""
    transform = RandCoarseDropout(
        holes=1,
        max_holes=3,
        spatial_size=parts(patch, 1 / 6),
        max_spatial_size=parts(patch, 1 / 3),
        prob=1.0,
    )
    return changed(patch, transform, random)


def parts(patch: Patch, share: float) -> tuple[int, ...]:
    """So large a share of each side, at least a voxel."""
    return tuple(max(1, round(side * share)) for side in patch.shape)


def zoomed(patch: Patch, random: np.random.Generator, least: float) -> Patch:
    """A box of the patch, each side `least` of the patch's or more, stretched to the whole."""
    sides = random.uniform(least, 1, 3)
    middle = (1 - sides) * random.uniform(-1, 1, 3)
    theta = np.concatenate([np.diag(sides[::-1]), middle[::-1, None]], axis=1)
    depth, height, width = patch.shape
    grid = sampled_at(
        torch.from_numpy(np.round(theta, 6).astype(np.float32))[None], (depth, height, width)
    )
    image = torch.from_numpy(patch)[None, None]
    return functional.grid_sample(image, grid, align_corners=True, padding_mode="border")[
        0, 0
    ].numpy()
