"""Modules around a network: one that sees single slices, one that answers a second question.

Imports torch: import this module inside `run` or `merge` only.
"""

from __future__ import annotations

import torch

from stages.features import Tap, deepest, pooled
from stages.params import Volume


class Planar(torch.nn.Module):
    """A network of two dimensions that takes, and answers with, patches of one slice."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(batch, 1, 1, rows, columns) → (batch, channels, 1, rows, columns) or (batch, n)."""
        flat = images.squeeze(2).contiguous(memory_format=torch.channels_last)
        answer = _first(self.network(flat))
        return answer.unsqueeze(2) if answer.ndim == 4 else answer


class Plain(torch.nn.Module):
    """A network that answers with more than its logits (MONAI's ViT: hidden states too)."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The first of the answers."""
        return _first(self.network(images))


def adapted(network: torch.nn.Module, volume: Volume) -> torch.nn.Module:
    """The network as one from patches to logits: itself, where it is that already."""
    if volume.planar:
        return Planar(network)
    return Plain(network) if type(network).__name__ in _TALKATIVE else network


_TALKATIVE = frozenset({"ViT"})
"""Classes whose networks answer with a tuple."""


def _first(answer: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    return answer[0] if isinstance(answer, tuple) else answer


class Shared(torch.nn.Module):
    """A segmentation network with a second head: classes, from its deepest features' mean."""

    def __init__(
        self, backbone: torch.nn.Module, patch: tuple[int, int, int], classes: int
    ) -> None:
        """Find the deepest features of the backbone, and put a new linear head on them."""
        super().__init__()
        place = deepest(backbone, (1, 1, *patch))
        self.backbone = backbone
        self.classifier = torch.nn.Linear(place.channels, classes)
        self._tap = Tap(backbone, place.layer)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(batch, 1, *patch) → logits (batch, channels, *patch) and logits (batch, classes)."""
        grid: torch.Tensor = self.backbone(images)
        return grid, self.classifier(pooled(self._tap.take()))


def bare(module: torch.nn.Module) -> torch.nn.Module:
    """The network itself, as its class made it."""
    while isinstance(module, Planar | Plain | Shared):
        module = module.backbone if isinstance(module, Shared) else module.network
    return module
