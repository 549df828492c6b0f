"""What a way adds to plain training: its objective, and the data that the objective looks at."""

from __future__ import annotations

import torch

from stages.channels import channels_count
from stages.train.data import Data
from stages.train.objective import Objective, Supervised, class_weights, voxel_weights
from stages.train.params import Parameters
from stages.train.ways import Variant


def objective_of(
    way: Variant, module: torch.nn.Module, data: Data, params: Parameters
) -> Objective:
    """The objective of a way, for a network as it starts."""
    channels = channels_count(params.task) if params.task.structures else 0
    return Supervised(
        voxel_weights(data.labeled, channels, params.train.balance),
        class_weights(data.labeled, len(params.task.classes)),
    )
