"""Contrastive learning: two views of one volume are alike, views of two volumes are not.

The deepest features' mean, through a projection that is the objective's own, by the loss of Chen et
al., *SimCLR* (ICML 2020), which MONAI has. The views of a patch differ in section, contrast, noise
and boxes cut out. Negatives are the batch's other volumes: so its batch is larger than the others'
(`train.pretraining.contrast`), and a batch cannot be shared by several processes.
"""

from __future__ import annotations

import numpy as np
import torch
from monai.losses.contrastive import ContrastiveLoss

from audit.errors import WrongUse
from stages.features import Tap, deepest, pooled
from stages.train import parallel
from stages.train.batches import Batch
from stages.train.objective import Objective
from stages.train.params import Parameters, Pretraining
from stages.train.pretext import Method, Patch
from stages.train.views import cut, recolored, zoomed

PROJECTED = 64
"""Length of a projection."""
SECTION = 0.6
"""Least share of each side that a view shows."""
STRENGTH = 0.3
"""Of the change of contrast and noise."""
RATE = 0.1
"""Of the training's learning rate: at all of it, every volume soon had one and the same projection
(the loss stood at chance, the logarithm of the projections that one is compared with)."""


class Contrast(Objective):
    """NT-Xent over the batch's cases: images are one view, targets the other."""

    def __init__(self, module: torch.nn.Module, params: Parameters) -> None:
        """Find the deepest features, and put a projection on them.

        Raises:
            WrongUse: several processes would each see a part of the negatives.
        """
        super().__init__()
        if parallel.world()[1] > 1:
            raise WrongUse(
                "Contrastive pre-training compares the cases of a batch, which several processes "
                "cannot share.",
                "Take another method, or one process (`numerics.processes`).",
            )
        place = deepest(module, (1, 1, *params.volume.patch))
        self.projection = torch.nn.Sequential(
            torch.nn.Linear(place.channels, PROJECTED),
            torch.nn.LayerNorm(PROJECTED),  # of each case alone; else a rate too high ends it all
            torch.nn.ReLU(),
            torch.nn.Linear(PROJECTED, PROJECTED),
        )
        self._tap = Tap(module, place.layer)
        self._loss = ContrastiveLoss(temperature=params.train.pretraining.temperature)

    def forward(self, module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        one, other = (self.projected(module, v) for v in (batch.images, batch.targets))
        loss: torch.Tensor = self._loss(one.float(), other.float())
        return loss

    def projected(self, module: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        """(batch, 1, *patch) → (batch, PROJECTED)."""
        module(images)
        answer: torch.Tensor = self.projection(pooled(self._tap.take()))
        return answer


def change(patch: Patch, _options: Pretraining, random: np.random.Generator) -> tuple[Patch, Patch]:
    """Two views of the patch."""
    return _view(patch, random), _view(patch, random)[None]


def _view(patch: Patch, random: np.random.Generator) -> Patch:
    return cut(recolored(zoomed(patch, random, SECTION), random, STRENGTH), random)


CONTRASTIVE = Method(change, Contrast, lambda params: params.train.pretraining.contrast, RATE)
