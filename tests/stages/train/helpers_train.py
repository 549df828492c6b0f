"""Parameters so small that a whole comparison takes seconds."""

from __future__ import annotations

from typing import Any

import torch
from helpers_dicom import TASK

from stages.params import Network, Numerics, Volume
from stages.train.batches import Batch
from stages.train.loop import Course
from stages.train.params import Augmentation, Parameters, Pretraining, TrainParams

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
