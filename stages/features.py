"""The deepest features of a network, whatever its class: found by running it, not by name.

Imports torch: import this module inside `run` or `merge` only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Deepest:
    """Where a network's deepest features come out."""

    layer: str
    """Name of the module, as `named_modules` has it."""
    channels: int
    grid: tuple[int, ...]
    """Voxels of the features, for the input that was tried."""


def deepest(module: torch.nn.Module, shape: tuple[int, ...]) -> Deepest:
    """Find the features of the smallest grid: of those, the last that `forward` makes.

    Grids of a single voxel are no features of a place (pooling, squeeze and excitation) and count
    only where there are no others.

    Args:
        module: the network; its mode is kept.
        shape: of an input, (1, channels, *spatial).
    """
    found: list[Deepest] = []

    def note(name: str) -> Any:
        def hook(_layer: torch.nn.Module, _inputs: Any, answer: Any) -> None:
            if isinstance(answer, torch.Tensor) and answer.ndim >= 4:
                found.append(Deepest(name, answer.shape[1], tuple(answer.shape[2:])))

        return hook

    run_hooked(module, shape, {name: note(name) for name, _ in module.named_modules() if name})
    wide = [place for place in found if torch.Size(place.grid).numel() > 1] or found
    if not wide:
        raise ValueError("no layer of the network answers with a grid of features")
    least = min(torch.Size(place.grid).numel() for place in wide)
    return [place for place in wide if torch.Size(place.grid).numel() == least][-1]


def run_hooked(module: torch.nn.Module, shape: tuple[int, ...], hooks: dict[str, Any]) -> None:
    """Run zeros through a network in evaluation mode, with a forward hook on each named module."""
    layers = dict(module.named_modules())
    handles = [layers[name].register_forward_hook(hook) for name, hook in hooks.items()]
    modes = {layer: layer.training for layer in layers.values()}
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    module.eval()
    try:
        with torch.no_grad():
            module(torch.zeros(shape, device=device))
    finally:
        for layer, mode in modes.items():
            layer.training = mode
        for handle in handles:
            handle.remove()


class Tap:
    """Hands out what a layer answered in the last forward pass; deep copies follow their module."""

    def __init__(self, module: torch.nn.Module, layer: str) -> None:
        self._seen: list[torch.Tensor] = []
        module.get_submodule(layer).register_forward_hook(self._keep)

    def _keep(self, _layer: torch.nn.Module, _inputs: Any, answer: torch.Tensor) -> None:
        self._seen[:] = [answer]

    def take(self) -> torch.Tensor:
        """The features of the last forward pass, once."""
        return self._seen.pop()


def pooled(features: torch.Tensor) -> torch.Tensor:
    """Mean over the grid: (batch, channels, *grid) → (batch, channels)."""
    return features.flatten(2).mean(dim=2)
