"""What a training makes small: an objective, which may have parts of its own beside the network.

An objective is a module. Its parameters are trained with the network's; what it keeps without
gradients (a teacher, running means) is saved with a training that is stopped. The supervised loss
is Dice plus cross-entropy on the grid and cross-entropy over classes. Each case counts alike,
whatever batch it comes in, so that processes which share a batch have the loss of the whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.losses.dice import DiceLoss
from torch.nn import functional

from stages.network import parted
from stages.train.batches import Batch
from stages.train.source import UNKNOWN, Source

CLASSES = 0.5
"""Weight of the loss over classes where a network answers both questions."""


Answer = torch.Tensor | tuple[torch.Tensor, torch.Tensor]
"""What a network answers: logits on the grid, of classes, or both (NET-1)."""


class Objective(torch.nn.Module):
    """A loss of a network on a batch."""

    def forward(self, module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """The scalar loss."""
        raise NotImplementedError

    def before_epoch(self, balance: float) -> None:
        """Told before each epoch how far weights that balance are in force: 1 wholly, 0 not."""
        for part in self.children():
            if isinstance(part, Objective):
                part.before_epoch(balance)

    def after_step(self, module: torch.nn.Module, done: float) -> None:
        """Told after each step, with the share of the training that is done."""

    def result(self, module: torch.nn.Module) -> torch.nn.Module:
        """The network that is validated and kept: the one that is trained, or the objective's."""
        return module


class Supervised(Objective):
    """The labels' loss: of voxels, of classes, or of both."""

    voxel_weights: torch.Tensor
    class_weights: torch.Tensor

    def __init__(self, voxel_weights: torch.Tensor, class_weights: torch.Tensor) -> None:
        """Take a weight a channel of the grid, and a weight a class."""
        super().__init__()
        self.register_buffer("voxel_weights", voxel_weights)
        self.register_buffer("class_weights", class_weights)
        self._dice = DiceLoss(to_onehot_y=True, softmax=True)
        self._balance = 1.0

    def before_epoch(self, balance: float) -> None:
        self._balance = balance

    def forward(self, module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        return self.of(module(batch.images), batch)

    def of(self, answer: Answer, batch: Batch) -> torch.Tensor:
        """The loss of an answer that the network gave to the batch's images."""
        grid, classes = parted(answer)
        total = torch.zeros((), device=batch.images.device)
        if grid is not None:
            voxels = functional.cross_entropy(
                grid,
                batch.targets[:, 0].long(),
                weight=self._at(self.voxel_weights),
                reduction="none",
            )
            total = total + self._dice(grid, batch.targets) + voxels.mean()
        if classes is not None:
            cases = functional.cross_entropy(
                classes,
                batch.labels.clamp(min=0),
                weight=self._at(self.class_weights),
                reduction="none",
            )
            known = (cases * (batch.labels != UNKNOWN)).mean()
            total = total + (known if grid is None else CLASSES * known)
        return total

    def _at(self, weights: torch.Tensor) -> torch.Tensor:
        return weights if self._balance == 1 else weights**self._balance


def voxel_weights(sources: Sequence[Source], channels: int, balance: float = 0.25) -> torch.Tensor:
    """A weight a channel: its share of the voxels to minus the power `balance`, the mean being 1.

    Without weights, whether a lesion of a hundredth of the voxels was learned at all hung on the
    seed.
    """
    counts = np.zeros(channels)
    for source in sources:
        if source.target is not None:
            counts += np.bincount(
                source.target.numpy().astype(np.uint8).ravel(), minlength=channels
            )
    return _weights(counts, -balance)


def class_weights(sources: Sequence[Source], classes: int) -> torch.Tensor:
    """A weight a class: its share of the cases to the power of -1/2, the mean being 1."""
    labels = [source.label for source in sources if source.label != UNKNOWN]
    return _weights(np.bincount(labels, minlength=classes), -0.5)


def _weights(counts: np.ndarray, power: float) -> torch.Tensor:
    if not counts.size:
        return torch.zeros(0)
    weights = (np.maximum(counts, 1) / max(counts.sum(), 1)) ** power
    return torch.from_numpy(np.round(weights / weights.mean(), 4).astype(np.float32))
