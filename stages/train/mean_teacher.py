"""Mean teacher: what unlabeled images add to the labels' loss.

The teacher is a moving average of the network. It sees an unlabeled patch as it was drawn (weak
view); the network sees a strongly changed view of the same patch, and is to give the teacher's
answer, voxel by voxel, where the teacher is sure of it. The weight of that rises with the training
(ramp-up), since a teacher that knows nothing yet teaches nothing. The teacher is what is validated
and kept.

Sources: Tarvainen and Valpola, *Mean teachers are better role models* (NeurIPS 2017); strong and
weak views: Sohn et al., *FixMatch* (NeurIPS 2020). Every case counts alike.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import numpy as np
import torch
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from stages.network import parted
from stages.train.batches import Batch
from stages.train.objective import Answer, Objective, Supervised
from stages.train.params import MeanTeacherParams
from stages.train.views import Patch, cut, recolored


class MeanTeacher(Objective):
    """The labels' loss, and agreement with a teacher on a batch's `unlabeled` (weak, strong)."""

    weight: torch.Tensor
    steps: torch.Tensor

    def __init__(
        self, supervised: Supervised, module: torch.nn.Module, options: MeanTeacherParams
    ) -> None:
        """Make the teacher: a copy of the network as it starts."""
        super().__init__()
        self.supervised = supervised
        self.options = options
        self.teacher = copy.deepcopy(module).requires_grad_(requires_grad=False)
        self.register_buffer("weight", torch.tensor(_ramp(0.0, options)))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        assert batch.unlabeled is not None  # noqa: S101 - `trial` draws them for this way
        weak, strong = batch.unlabeled[:, :1], batch.unlabeled[:, 1:]
        loss: torch.Tensor = self.supervised(module, batch)
        with torch.no_grad():
            taught = self.teacher(weak.contiguous(memory_format=torch.channels_last_3d))
        with _running_statistics_kept(module):
            answer = module(strong.contiguous(memory_format=torch.channels_last_3d))
        return loss + self.weight * disagreement(answer, taught, self.options.confidence)

    def after_step(self, module: torch.nn.Module, done: float) -> None:
        """Move the teacher; early on it follows faster, so that it forgets the random start."""
        self.steps += 1
        early = (1 + int(self.steps)) / (10 + int(self.steps))
        decay = min(self.options.decay, early)
        own, state = self.teacher.state_dict(), module.state_dict()
        with torch.no_grad():
            for name, value in state.items():
                if value.is_floating_point():
                    own[name].lerp_(value, 1 - decay)
                else:
                    own[name].copy_(value)
        self.weight.fill_(_ramp(done, self.options))

    def result(self, _module: torch.nn.Module) -> torch.nn.Module:
        """The teacher."""
        return self.teacher

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002 - torch's signature
        """The teacher always answers as in use."""
        super().train(mode)
        self.teacher.eval()
        return self


def disagreement(answer: Answer, taught: Answer, confidence: float) -> torch.Tensor:
    """Cross-entropy with what the teacher answers, the mean over voxels and cases (FixMatch).

    Args:
        answer: logits.
        taught: the teacher's logits.
        confidence: where the teacher's highest probability is less, 0 is counted.
    """
    total = torch.zeros(())
    for own, other in zip(parted(answer), parted(taught), strict=True):
        if own is None or other is None:
            continue
        probability, label = other.float().softmax(dim=1).max(dim=1)
        each = functional.cross_entropy(own.float(), label, reduction="none")
        total = total.to(own.device) + (each * (probability >= confidence)).mean()
    return total


def strong_view(options: MeanTeacherParams, patch: Patch, random: np.random.Generator) -> Patch:
    """What the network sees of an unlabeled patch: other contrast and noise, boxes cut out."""
    patch = recolored(patch, random, options.strength)
    return cut(patch, random) if random.uniform() < options.cutout else patch


@contextmanager
def _running_statistics_kept(module: torch.nn.Module) -> Iterator[None]:
    """Strong views are no images of use: what batch norms keep for then is not learned of them."""
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    before = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, before, strict=True):
            layer.momentum = momentum


def _ramp(done: float, options: MeanTeacherParams) -> float:
    """The weight of agreement (sigmoid ramp-up of the source)."""
    share = min(1.0, done / options.ramp) if options.ramp else 1.0
    return options.weight * math.exp(-5 * (1 - share) ** 2)
