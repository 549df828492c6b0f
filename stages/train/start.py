"""Where a variant's weights start: which tensors a network takes, and which stay new.

The head is found, not named: it is every tensor whose shape depends on the number of outputs. So
any network that can be built by name can be transferred.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from stages.channels import channels_count
from stages.network import assemble, build
from stages.params import Network, Task, Volume
from stages.wrapped import bare

Weights = Mapping[str, torch.Tensor]
"""Tensors by the names that the network's own class gives them."""


@dataclass(frozen=True)
class Taken:
    """What became of a network's tensors at the start of a variant, by its own names, sorted."""

    taken: tuple[str, ...]
    new: tuple[str, ...]
    """Its head, and what the source does not have in this shape."""
    unused: tuple[str, ...]
    """The source's tensors that the network has no place for."""


def new_network(
    network: Network, task: Task, volume: Volume, seed: int
) -> tuple[torch.nn.Module, frozenset[str]]:
    """A network with random weights of a seed, and the names of its head's tensors."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = build(network, task, volume)
    return module, head_of(module, network, task, volume)


def head_of(
    module: torch.nn.Module, network: Network, task: Task, volume: Volume
) -> frozenset[str]:
    """Names of the tensors whose shape depends on how many outputs there are."""
    channels = channels_count(task) + 1 if task.structures else 0
    classes = len(task.classes) + 1 if task.classes else 0
    with torch.random.fork_rng(devices=[]):
        other = assemble(network, volume, channels=channels, classes=classes).state_dict()
    return frozenset(
        name for name, tensor in module.state_dict().items() if other[name].shape != tensor.shape
    )


def take(module: torch.nn.Module, source: Weights, head: frozenset[str], *, keep: bool) -> Taken:
    """Copy every tensor of the same name and shape, but for the head.

    Args:
        module: of the task; changed in place.
        source: weights of a network of the same class.
        head: names of `module`'s head, which stays new.
        keep: take the head too (zero-shot use).
    """
    inner = bare(module)
    prefix = next(name for name, part in module.named_modules() if part is inner)
    own = inner.state_dict()
    before = f"{prefix}." if prefix else ""
    fits = {
        name: tensor
        for name, tensor in source.items()
        if name in own
        and own[name].shape == tensor.shape
        and (keep or f"{before}{name}" not in head)
    }
    inner.load_state_dict(fits, strict=False)
    taken = {before + name for name in fits}
    return Taken(
        taken=tuple(sorted(taken)),
        new=tuple(sorted(module.state_dict().keys() - taken)),
        unused=tuple(sorted(source.keys() - fits.keys())),
    )
