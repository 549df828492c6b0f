"""Volumes that patches are drawn from, and the random numbers with which they are drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
import torch
from numpy.typing import NDArray

from stages.channels import to_channels
from stages.cohort import Sample
from stages.params import Task

UNKNOWN = -1
"""Class of a case that nobody gave one."""


class Purpose(IntEnum):
    """Streams of random numbers that must not meet."""

    ORDER = 0
    PATCH = 1
    PRETEXT = 2
    UNLABELED_ORDER = 3
    UNLABELED_PATCH = 4
    LABELED_SUBJECTS = 5
    CHANCE = 6
    STRONG_VIEW = 10


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
    channels: tuple[int, ...] = ()
    """Their channels, in the same order."""
    label: int = UNKNOWN
    """Index of the case's class in the task."""
    subject: str = ""
    vendor: str = ""


def make_source(sample: Sample, task: Task, *, labeled: bool) -> Source:
    """Turn a sample into what patches are drawn from, with or without its labels."""
    array = sample.prepared.array
    minimum = float(array.min())
    labels = sample.prepared_labels if labeled else None
    channels = None if labels is None else to_channels(labels, task)
    present = () if channels is None else np.unique(channels[channels > 0])
    names = [label.name for label in task.classes]
    return Source(
        image=torch.from_numpy(array - np.float32(minimum))[None, None],
        minimum=minimum,
        target=None
        if channels is None
        else torch.from_numpy(channels.astype(np.float32))[None, None],
        spacing_mm=sample.prepared.spacing_mm,
        voxels=tuple(np.flatnonzero(channels == channel) for channel in present),
        channels=tuple(map(int, present)),
        label=names.index(sample.case.label) if labeled and sample.case.label else UNKNOWN,
        subject=sample.case.subject,
        vendor=sample.case.vendor,
    )


def blind(source: Source) -> Source:
    """The same image, without anything that anybody said about it."""
    return replace(source, target=None, voxels=(), channels=(), label=UNKNOWN)


def generator(seed: int, purpose: Purpose, *place: int) -> np.random.Generator:
    """The random numbers of one purpose at one place (epoch, turn, sample)."""
    return np.random.default_rng([seed, purpose, *place])
