"""A patch of a volume, augmented.

A patch is one resampling of its volume: crop, padding (with the volume's minimum, as in inference),
shift, rotation, scale and mirroring are one affine map.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from stages.train.params import Augmentation, TrainParams
from stages.train.source import Source

Shape = tuple[int, int, int]
SPATIAL_SHARE = 0.5  # of patches; the others stay as sharp as the images of inference
_AXES = ("slices", "rows", "columns")


def draw(
    source: Source, patch: Shape, train: TrainParams, random: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """One augmented patch: image and target, each (1, 1, *patch), float32."""
    center = _center(source, patch, train, random)
    theta = _affine(source, center, patch, train.augmentation, random)
    grid = sampled_at(theta, patch)
    image = functional.grid_sample(source.image, grid, align_corners=True)
    target = torch.zeros_like(image)
    if source.target is not None:
        target = functional.grid_sample(source.target, grid, mode="nearest", align_corners=True)
    if train.augmentation.gamma:
        image = _bent(image, math.exp(train.augmentation.gamma * random.uniform(-1, 1)))
    gain = 1 + train.augmentation.intensity * random.uniform(-1, 1)
    offset = train.augmentation.intensity * random.uniform(-1, 1)
    image = (image + source.minimum) * gain + offset
    deviation = train.augmentation.noise * random.uniform()
    noise = random.standard_normal(image.shape, dtype=np.float32)
    return image.add_(torch.from_numpy(noise), alpha=deviation), target


def sampled_at(theta: torch.Tensor, patch: Shape) -> torch.Tensor:
    """Where the voxels of a patch lie, (1, *patch, 3), in torch's order and units."""
    with warnings.catch_warnings():
        # Of a side of one voxel: it lies in the middle, as `_affine` has it.
        warnings.filterwarnings("ignore", message=".*unit-size grids", category=UserWarning)
        return functional.affine_grid(theta, [1, 1, *patch], align_corners=True)


def _bent(image: torch.Tensor, power: float) -> torch.Tensor:
    """To a power, 0 and the highest value staying where they are."""
    highest = image.max().clamp(min=1e-6)
    return (image / highest).clamp(min=0) ** power * highest


def _center(
    source: Source, patch: Shape, train: TrainParams, random: np.random.Generator
) -> NDArray[np.float64]:
    """Voxel coordinates of the patch's center: around a structure, or anywhere (VOL's padding)."""
    shape = source.image.shape[2:]
    free = np.array([max(0, n - p) for n, p in zip(shape, patch, strict=True)])
    lacking = np.array([max(0, p - n) for n, p in zip(shape, patch, strict=True)])
    corner = random.integers(0, free + 1)
    if source.voxels and random.uniform() < train.foreground:
        voxels = source.voxels[int(random.integers(len(source.voxels)))]
        voxel = np.unravel_index(int(voxels[random.integers(len(voxels))]), shape)
        corner = np.clip(np.array(voxel) - np.array(patch) // 2, 0, free)
    reach = train.augmentation.shift_voxels
    shift = random.integers(-reach, reach + 1, size=3) * (np.array(patch) > 1)
    center: NDArray[np.float64] = corner - lacking // 2 + shift + (np.array(patch) - 1) / 2
    return center


def _affine(
    source: Source,
    center: NDArray[np.float64],
    patch: Shape,
    augmentation: Augmentation,
    random: np.random.Generator,
) -> torch.Tensor:
    """The map from the patch's normalized coordinates to the volume's, (1, 3, 4), for torch."""
    spatial = random.uniform() < SPATIAL_SHARE
    angle = math.radians(augmentation.rotation_deg * random.uniform(-1, 1)) * spatial
    factor = 1 + augmentation.scale * random.uniform(-1, 1) * spatial
    turn = _turn(0, angle)
    if augmentation.tilt_deg:
        for axis in (1, 2):
            tilt = math.radians(augmentation.tilt_deg * random.uniform(-1, 1)) * spatial
            turn = turn @ _turn(axis, tilt)
    spacing = np.array(source.spacing_mm)
    matrix = factor * turn * spacing[None, :] / spacing[:, None]  # a rotation in mm, on voxels
    for axis, name in enumerate(_AXES):
        if name in augmentation.mirror and random.uniform() < 0.5:
            matrix[:, axis] *= -1
    half_volume = np.maximum(np.array(source.image.shape[2:]) - 1, 1) / 2
    half_patch = (np.array(patch) - 1) / 2
    linear = matrix * half_patch[None, :] / half_volume[:, None]
    middle = (np.array(source.image.shape[2:]) - 1) / 2
    offset = (center - middle) / half_volume
    theta = np.concatenate([linear[::-1, ::-1], offset[::-1, None]], axis=1)  # torch: (x, y, z)
    return torch.from_numpy(np.round(theta, 6).astype(np.float32))[None]


def _turn(axis: int, angle: float) -> NDArray[np.float64]:
    """A rotation about an axis of (slices, rows, columns)."""
    turn = np.eye(3)
    first, second = (other for other in range(3) if other != axis)
    turn[first, first] = turn[second, second] = math.cos(angle)
    turn[first, second], turn[second, first] = -math.sin(angle), math.sin(angle)
    return turn
