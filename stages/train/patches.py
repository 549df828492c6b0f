"""Patches: from volumes in memory to batches, by seeds alone.

Every random choice is drawn from a generator of its own, seeded by (seed, purpose, epoch, sample):
nothing depends on the order in which patches are made, or by how many workers. A patch is computed
by one thread, as PyTorch's workers do: how a machine parts an array over threads decides no bit.

A patch is one resampling of its volume: crop, padding (with the volume's minimum, as in inference),
shift, rotation and scale are one affine map. Left and right are never exchanged: anatomy is not
symmetric.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from stages.channels import to_channels
from stages.cohort import Sample
from stages.params import Task
from stages.train.params import Augmentation, TrainParams

Shape = tuple[int, int, int]
Pair = tuple[torch.Tensor, torch.Tensor]
SPATIAL_SHARE = 0.5  # of patches; the others stay as sharp as the images of inference


class Purpose(IntEnum):
    """Streams of random numbers that must not meet."""

    ORDER = 0
    PATCH = 1
    MASK = 2


@dataclass(frozen=True)
class Source:
    """One volume, ready to be drawn from."""

    image: torch.Tensor
    """(1, 1, slices, rows, columns), above its minimum: what lies outside is 0."""
    minimum: float
    target: torch.Tensor | None
    """(1, 1, slices, rows, columns), channel indices as float32."""
    spacing_mm: tuple[float, float, float]
    voxels: tuple[NDArray[np.int64], ...]
    """For each structure present: the flat indices of its voxels."""


def make_source(sample: Sample, task: Task, *, labeled: bool) -> Source:
    """Turn a sample into what patches are drawn from, with or without its labels."""
    array = sample.prepared.array
    minimum = float(array.min())
    labels = sample.prepared_labels if labeled else None
    channels = None if labels is None else to_channels(labels, task)
    present = () if channels is None else np.unique(channels[channels > 0])
    return Source(
        image=torch.from_numpy(array - np.float32(minimum))[None, None],
        minimum=minimum,
        target=None
        if channels is None
        else torch.from_numpy(channels.astype(np.float32))[None, None],
        spacing_mm=sample.prepared.spacing_mm,
        voxels=tuple(np.flatnonzero(channels == channel) for channel in present),
    )


def generator(seed: int, purpose: Purpose, *place: int) -> np.random.Generator:
    """The random numbers of one purpose at one place (epoch, sample)."""
    return np.random.default_rng([seed, purpose, *place])


def batches(
    sources: Sequence[Source],
    epoch: int,
    patch: Shape,
    train: TrainParams,
    seed: int,
    *,
    workers: int = 0,
) -> Iterator[tuple[torch.Tensor, torch.Tensor, tuple[int, ...]]]:
    """One epoch: every source once, in an order of the epoch's own.

    Args:
        sources: volumes.
        epoch: from 1.
        patch: voxels of a patch.
        train: batch size and augmentation.
        seed: of all choices.
        workers: processes that draw ahead; 0 draws here. They decide no bit.

    Yields:
        images (batch, 1, *patch), targets (the same; zeros without labels), indices of the sources.
    """
    order = generator(seed, Purpose.ORDER, epoch).permutation(len(sources))
    chosen: list[list[int]] = [
        order[start : start + train.batch].tolist() for start in range(0, len(order), train.batch)
    ]
    loader = DataLoader(
        _Drawn(sources, epoch, patch, train, seed),
        batch_sampler=chosen,
        collate_fn=_join,
        num_workers=workers,
        generator=torch.Generator(),  # else it takes a number from torch's own
    )
    for indices, (images, targets) in zip(chosen, loader, strict=True):
        yield images.contiguous(memory_format=torch.channels_last_3d), targets, tuple(indices)


@dataclass(frozen=True)
class _Drawn(Dataset[Pair]):
    """The patches of one epoch, by source."""

    sources: Sequence[Source]
    epoch: int
    patch: Shape
    train: TrainParams
    seed: int

    def __getitem__(self, index: int) -> Pair:
        random = generator(self.seed, Purpose.PATCH, self.epoch, index)
        with _one_thread():
            return draw(self.sources[index], self.patch, self.train, random)


def _join(pairs: list[Pair]) -> Pair:
    images, targets = zip(*pairs, strict=True)
    return torch.cat(images), torch.cat(targets)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def draw(
    source: Source, patch: Shape, train: TrainParams, random: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """One augmented patch: image and target, each (1, 1, *patch), float32."""
    center = _center(source, patch, train, random)
    theta = _affine(source, center, patch, train.augmentation, random)
    grid = functional.affine_grid(theta, [1, 1, *patch], align_corners=True)
    image = functional.grid_sample(source.image, grid, align_corners=True)
    target = torch.zeros_like(image)
    if source.target is not None:
        target = functional.grid_sample(source.target, grid, mode="nearest", align_corners=True)
    gain = 1 + train.augmentation.intensity * random.uniform(-1, 1)
    offset = train.augmentation.intensity * random.uniform(-1, 1)
    image = (image + source.minimum) * gain + offset
    deviation = train.augmentation.noise * random.uniform()
    noise = random.standard_normal(image.shape, dtype=np.float32)
    return image.add_(torch.from_numpy(noise), alpha=deviation), target


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
    shift = random.integers(-reach, reach + 1, size=3)
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
    turn = np.array(
        [[1, 0, 0], [0, math.cos(angle), -math.sin(angle)], [0, math.sin(angle), math.cos(angle)]]
    )
    spacing = np.array(source.spacing_mm)
    matrix = factor * turn * spacing[None, :] / spacing[:, None]  # a rotation in mm, on voxels
    half_volume = (np.array(source.image.shape[2:]) - 1) / 2
    half_patch = (np.array(patch) - 1) / 2
    linear = matrix * half_patch[None, :] / half_volume[:, None]
    offset = (center - half_volume) / half_volume
    theta = np.concatenate([linear[::-1, ::-1], offset[::-1, None]], axis=1)  # torch: (x, y, z)
    return torch.from_numpy(np.round(theta, 6).astype(np.float32))[None]
