"""Low-rank adapters beside frozen layers (LoRA, Hu et al., ICLR 2022), for any layer with a weight.

A weight is read as a matrix (its first axis by all others), so convolutions of any dimension and
linear maps are adapted alike: weight + up · down, of which `up` starts at zero. It is a
parametrization of PyTorch's: the layer's own code runs unchanged, and what was learned is merged
into plain weights before anything is validated, kept or exported.
"""

from __future__ import annotations

import math

import torch
from torch.nn.utils import parametrize


class LowRank(torch.nn.Module):
    """Weight → weight plus a matrix of low rank."""

    def __init__(self, weight: torch.Tensor, rank: int) -> None:
        """Draw `down` from torch's current seed; `up` is zero, so nothing changes yet."""
        super().__init__()
        rows, columns = weight.shape[0], weight[0].numel()
        rank = min(rank, rows, columns)
        self.down = torch.nn.Parameter(torch.empty(rank, columns))
        self.up = torch.nn.Parameter(torch.zeros(rows, rank))
        torch.nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Of the frozen weight, in its shape."""
        return weight + (self.up @ self.down).view(weight.shape)


def insert(module: torch.nn.Module, head: frozenset[str], rank: int, seed: int) -> None:
    """Put an adapter beside every weight with two axes and more, but for the head's.

    Args:
        module: changed in place; its own parameters keep whether they are trained.
        head: names of parameters that are trained as they are.
        rank: of each adapter, or the weight's own if that is lower.
        seed: of the adapters' first values.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, layer in list(module.named_modules()):
            weight = getattr(layer, "weight", None)
            if not isinstance(weight, torch.nn.Parameter) or weight.ndim < 2:
                continue
            if f"{name}.weight" not in head:
                parametrize.register_parametrization(layer, "weight", LowRank(weight, rank))


def merge(module: torch.nn.Module, plain: torch.nn.Module) -> torch.nn.Module:
    """Weights as they work, adapters included, in a network without any.

    Args:
        module: the network in training.
        plain: of the same class, without adapters; it takes the weights.

    Returns:
        `module` itself where it has no adapters, else `plain`.
    """
    adapted = {
        name: layer for name, layer in module.named_modules() if parametrize.is_parametrized(layer)
    }
    if not adapted:
        return module
    weights = {
        name: tensor
        for name, tensor in module.state_dict().items()
        if ".parametrizations." not in f".{name}"
    }
    with torch.no_grad():
        weights |= {f"{name}.weight": layer.weight for name, layer in adapted.items()}
    plain.load_state_dict(weights)
    return plain
