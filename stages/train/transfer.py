"""Transfer: which weights a new network takes from a pre-trained one, and which it trains.

The head is found, not named: it is every tensor whose shape depends on the number of output
channels. So any network that can be built by name can be transferred.
"""

from __future__ import annotations

from typing import Any

import torch

from stages.train.ways import Way


def take_backbone(target: torch.nn.Module, source: torch.nn.Module) -> tuple[str, ...]:
    """Copy every tensor of the same name and shape; the others (the head) stay new.

    Args:
        target: built for the task's channels.
        source: the same class and arguments with another number of output channels.

    Returns:
        Names of the target's tensors that stayed new, sorted.
    """
    pretrained = source.state_dict()
    own = target.state_dict()
    taken = {
        name: tensor
        for name, tensor in pretrained.items()
        if name in own and own[name].shape == tensor.shape
    }
    target.load_state_dict(taken, strict=False)
    return tuple(sorted(own.keys() - taken.keys()))


def choose_trained(
    module: torch.nn.Module, way: Way, head: tuple[str, ...], layers: int, patch: tuple[int, ...]
) -> None:
    """Let gradients reach what the way trains, and nothing else."""
    if way.trains == "tail":
        kept = tail(module, layers, patch).union(head)
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(name in kept)


def tail(module: torch.nn.Module, layers: int, patch: tuple[int, ...]) -> frozenset[str]:
    """Names of the parameters of the last layers, in the order in which `forward` runs them.

    A layer is a convolution or a linear map; norms between two layers belong to the later one.
    """
    called: list[torch.nn.Module] = []

    def note(layer: torch.nn.Module, _arguments: Any, _answer: Any) -> None:
        called.append(layer)

    names = {layer: name for name, layer in module.named_modules()}
    hooks = [
        layer.register_forward_hook(note)
        for layer in names
        if any(True for _ in layer.parameters(recurse=False))
    ]
    mode = module.training
    module.eval()
    try:
        with torch.no_grad():
            module(torch.zeros((1, 1, *patch)))
    finally:
        module.train(mode)
        for hook in hooks:
            hook.remove()
    found: set[str] = set()
    weights = 0
    for layer in reversed(called):
        is_layer = any(parameter.ndim > 1 for parameter in layer.parameters(recurse=False))
        weights += is_layer
        if weights > layers:
            break
        for name, _ in layer.named_parameters(recurse=False):
            found.add(f"{names[layer]}.{name}".lstrip("."))
    return frozenset(found)
