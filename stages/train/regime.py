"""What a way adds to plain training: its objective, and the data that the objective looks at.

Adaptation to scanners, the target of `train.adaptation`:

- ADA-1  No label of a target's training series is read by any variant, adapting or not, so that
         what adapting gains is told from what labels would.
- ADA-2  What a way takes from the target are images of its training and unlabeled subjects.
- ADA-3  Without target images, or where the network has nothing to adapt, nothing is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import torch

from stages.channels import channels_count
from stages.train.adapt_features import Adversarial, Correlated
from stages.train.adapt_looks import Swapped, matched
from stages.train.adapt_statistics import check_statistics, restated
from stages.train.batches import View
from stages.train.data import Data
from stages.train.mean_teacher import MeanTeacher, strong_view
from stages.train.objective import Objective, Supervised, class_weights, voxel_weights
from stages.train.params import Parameters
from stages.train.source import Source
from stages.train.ways import Variant

ADAPTING: Final[Mapping[str, Callable[[Supervised, torch.nn.Module, Parameters], Objective]]] = {
    "correlation": Correlated,
    "adversarial": Adversarial,
    "spectrum": Swapped,
}
"""Ways to adapt that look at target images beside each batch."""


def data_of(way: Variant, data: Data) -> Data:
    """The data as a way sees it."""
    if way.adapt == "histogram":
        return replace(data, labeled=matched(data.labeled, data.target))
    return data


def beside(way: Variant, data: Data, params: Parameters) -> tuple[Sequence[Source], View | None]:
    """The unlabeled volumes that come beside a way's batches, and what a second view of them is."""
    if way.adapt in ADAPTING:
        return data.target, None
    if way.unlabeled == "mean teacher":
        return data.unlabeled, partial(strong_view, params.train.mean_teacher)
    return (), None


def objective_of(
    way: Variant, module: torch.nn.Module, data: Data, params: Parameters
) -> Objective:
    """The objective of a way, for a network as it starts."""
    channels = channels_count(params.task) if params.task.structures else 0
    supervised = Supervised(
        voxel_weights(data.labeled, channels, params.train.balance),
        class_weights(data.labeled, len(params.task.classes)),
    )
    if way.adapt == "statistics":
        check_statistics(module)
    if way.adapt in ADAPTING:
        return ADAPTING[way.adapt](supervised, module, params)
    if way.unlabeled == "mean teacher":
        return MeanTeacher(supervised, module, params.train.mean_teacher)
    return supervised


def finished(
    way: Variant, module: torch.nn.Module, data: Data, params: Parameters, seed: int
) -> torch.nn.Module:
    """A trained network as the way has it validated and kept."""
    if way.adapt == "statistics":
        return restated(module, data.target, params, seed)
    return module
