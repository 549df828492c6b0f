"""Parameters so small that a whole comparison takes seconds."""

from __future__ import annotations

from typing import Any

from helpers_dicom import TASK

from stages.params import Network, Numerics, Volume
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
        "min_dice": 0.0,
    }
    return Parameters(
        task=TASK,
        numerics=Numerics(threads=1, seed=7),
        volume=Volume(window=(-100.0, 200.0), patch=(8, 16, 16)),
        network=NETWORK,
        train=TrainParams(**(section | train)),
    )
