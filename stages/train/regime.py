"""What a way adds to plain training: its objective, and the data that the objective looks at."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from stages.channels import channels_count
from stages.train.batches import View
from stages.train.data import Data
from stages.train.mean_teacher import MeanTeacher, strong_view
from stages.train.objective import Objective, Supervised, class_weights, voxel_weights
from stages.train.params import Parameters
from stages.train.source import Source
from stages.train.ways import Variant


def objective_of(
    way: Variant, module: torch.nn.Module, data: Data, params: Parameters
) -> Objective:
    """The objective of a way, for a network as it starts."""
    channels = channels_count(params.task) if params.task.structures else 0
    supervised = Supervised(
        voxel_weights(data.labeled, channels, params.train.balance),
        class_weights(data.labeled, len(params.task.classes)),
    )
    if way.unlabeled == "mean teacher":
        return MeanTeacher(supervised, module, params.train.mean_teacher)
    return supervised


def beside(way: Variant, data: Data, params: Parameters) -> tuple[Sequence[Source], View | None]:
    """The unlabeled volumes that come beside a way's batches, and what a second view of them is."""
    if way.unlabeled == "mean teacher":
        return data.unlabeled, partial(strong_view, params.train.mean_teacher)
    return (data.unlabeled if way.uses_unlabeled else ()), None
