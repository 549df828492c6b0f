"""Self-supervision in one shape: what is made of a patch, and what the network is to make of it.

A method changes a patch by random numbers of its own and says what the network is to answer; its
objective compares. Where the network of the task answers no grid (classification), a light decoder
on its deepest features answers instead, as in Xie et al., *SimMIM* (CVPR 2022); the decoder is the
objective's and is thrown away with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from stages.features import Tap, deepest
from stages.train.batches import Batch
from stages.train.objective import Objective
from stages.train.params import Parameters, Pretraining

Patch = NDArray[np.float32]
"""(slices, rows, columns)"""
WIDTH = 16
"""Channels of the light decoder."""


@dataclass(frozen=True)
class Method:
    """One way to learn from images alone."""

    change: Callable[[Patch, Pretraining, np.random.Generator], tuple[Patch, Patch]]
    """A patch → what the network sees, and its target: (k, slices, rows, columns)."""
    objective: Callable[[torch.nn.Module, Parameters], Objective]
    """Of a network that was just made; what it draws, it draws from torch's seed."""
    batch: Callable[[Parameters], int] = lambda params: params.train.batch
    """Patches that the network sees at once."""
    rate: float = 1.0
    """Of the training's learning rate."""


class Reconstruction(Objective):
    """Mean squared error of a restored patch.

    A batch's targets are the patch as it was and, in a second channel if there is one, the voxels
    that count (1) or not (0).
    """

    def __init__(self, module: torch.nn.Module, params: Parameters) -> None:
        """Take the network's own grid, or put a decoder where it has none."""
        super().__init__()
        patch = params.volume.patch
        self.decoder = None if params.task.structures else Decoder(module, patch)

    def forward(self, module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        answer = module(batch.images)
        restored = answer if self.decoder is None else self.decoder()
        error = (restored - batch.targets[:, :1]).square()
        counts = batch.targets[:, 1:] if batch.targets.shape[1] > 1 else torch.ones_like(error)
        cases = (error * counts).flatten(1).sum(dim=1) / counts.flatten(1).sum(dim=1)
        loss: torch.Tensor = cases.mean()
        return loss


class Decoder(torch.nn.Module):
    """From a network's deepest features to one channel on the grid of the patch."""

    def __init__(self, module: torch.nn.Module, patch: tuple[int, int, int]) -> None:
        """Find the features, and make one convolution for each doubling of their grid."""
        super().__init__()
        place = deepest(module, (1, 1, *patch))
        grid = (1,) * (3 - len(place.grid)) + place.grid
        doublings = max(math.ceil(math.log2(p / g)) for p, g in zip(patch, grid, strict=True))
        self.sizes = [
            tuple(max(g, -(-p // 2**left)) for p, g in zip(patch, grid, strict=True))
            for left in reversed(range(doublings))
        ]
        self.first = torch.nn.Conv3d(place.channels, WIDTH, 1)
        self.levels = torch.nn.ModuleList(
            torch.nn.Conv3d(WIDTH, WIDTH, _kernel(size), padding="same") for size in self.sizes
        )
        self.last = torch.nn.Conv3d(WIDTH, 1, 1)
        self._tap = Tap(module, place.layer)

    def forward(self) -> torch.Tensor:
        """(batch, 1, *patch), from the features of the network's last forward pass."""
        features = self._tap.take()
        answer = self.first(features.unsqueeze(2) if features.ndim == 4 else features)
        for size, level in zip(self.sizes, self.levels, strict=True):
            wider = functional.interpolate(functional.relu(answer), size=size)
            answer = level(wider)
        restored: torch.Tensor = self.last(functional.relu(answer))
        return restored


def _kernel(size: tuple[int, ...]) -> tuple[int, int, int]:
    """Three voxels, where there are more than one."""
    depth, height, width = (3 if side > 1 else 1 for side in size)
    return depth, height, width
