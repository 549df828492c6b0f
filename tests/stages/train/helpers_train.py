"""Parameters so small that a whole comparison takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from helpers_cohort import anatomy
from helpers_dicom import TASK

from stages.cohort import Case, Sample
from stages.params import Network, Numerics, Volume
from stages.train.batches import Batch
from stages.train.data import Data
from stages.train.loop import Course
from stages.train.params import Augmentation, Parameters, Pretraining, TrainParams
from stages.train.source import make_source
from stages.volume import prepare

NETWORK = Network(
    arguments={"init_filters": 8, "blocks_down": (1, 1), "blocks_up": (1,), "norm": "INSTANCE"}
)


def parameters(**train: Any) -> Parameters:
    """Tiny parameters; `train` replaces fields of the section of that name."""
    section: dict[str, Any] = {
        "epochs": 2,
        "validate_every": 1,
        "pretraining": Pretraining(epochs=1, mask_block=4),
        "augmentation": Augmentation(shift_voxels=1),
        "min_score": 0.0,
    }
    return Parameters(
        task=TASK,
        numerics=Numerics(threads=1, seed=7),
        volume=Volume(window=(-100.0, 200.0), patch=(8, 16, 16)),
        network=NETWORK,
        train=TrainParams(**(section | train)),
    )


def batch(patch: tuple[int, int, int], *, cases: int = 2, seed: int = 0) -> Batch:
    """Noise, without labels."""
    random = torch.Generator().manual_seed(seed)
    images = torch.randn((cases, 1, *patch), generator=random)
    return Batch(images, torch.zeros_like(images), torch.full((cases,), -1))


def course(
    *, name: str = "x", epochs: int = 3, learning_rate: float = 0.01, **choices: Any
) -> Course:
    """A short course."""
    numerics = Numerics(threads=1, seed=0, precision=choices.pop("precision", "f32"))
    train = TrainParams(learning_rate=learning_rate, **choices)
    return Course.of(name, epochs, 0, train, numerics)


def tiny_data(labeled: int = 4, unlabeled: int = 3, validation: int = 2) -> Data:
    """A few boxes in noise, in memory."""
    train = [_sample(number) for number in range(labeled)]
    others = [_sample(100 + number) for number in range(unlabeled)]
    return Data(
        labeled=[make_source(sample, TASK, labeled=True) for sample in train],
        unlabeled=[make_source(sample, TASK, labeled=False) for sample in [*train, *others]],
        validation=[_sample(200 + number) for number in range(validation)],
    )


def tiny_samples(count: int, *, first: int = 0) -> list[Sample]:
    """So many of those boxes."""
    return [_sample(first + number) for number in range(count)]


def _sample(seed: int) -> Sample:
    hu, labels = anatomy(seed)
    volume = parameters().volume
    case = Case(f"s-{seed}", "train", ("north", "south")[seed % 2], f"1.{seed}", Path(), None)
    return Sample(case, prepare(hu.astype(np.float32), (1.0, 1.0, 1.0), volume), labels)
