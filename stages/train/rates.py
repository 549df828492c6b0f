"""Which weights learn, when, and how fast: the groups of a way of transfer.

A network is read as blocks in the order in which `forward` runs its layers, the head last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from stages.features import run_hooked
from stages.train.ways import Variant

BLOCKS = 4
"""Into so many blocks of equally many layers the body of a network is parted."""
HEAD_FIRST = 0.25
"""Share of a training in which `head first` trains the head alone."""


@dataclass(frozen=True)
class Group:
    """Parameters that learn alike."""

    names: tuple[str, ...]
    factor: Callable[[float], float] = lambda done: 1.0
    """Share of the training that is done → factor of the learning rate; 0 freezes."""


def everything(module: torch.nn.Module) -> list[Group]:
    """One group of all that may change."""
    return [Group(tuple(name for name, p in module.named_parameters() if p.requires_grad))]


def groups(
    module: torch.nn.Module, way: Variant, head: frozenset[str], shape: tuple[int, ...]
) -> list[Group]:
    """The groups of a way.

    Args:
        module: the network; parameters that require no gradient are in no group.
        way: its schedule and rates.
        head: names of the parameters of the new output layers.
        shape: of an input.
    """
    free = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    if way.schedule == "head first":
        body = tuple(sorted(free - head))
        return [
            Group(tuple(sorted(free & head))),
            Group(body, lambda done: float(done >= HEAD_FIRST)),
        ]
    if way.schedule == "constant" and way.rate_decay == 1:
        return everything(module)
    found = [tuple(sorted(free & head))]
    found += [
        tuple(n for n in block if n in free) for block in reversed(blocks(module, head, shape))
    ]
    rest = free.difference(*found)  # what `forward` uses outside of any layer
    found[-1] += tuple(sorted(rest))
    return [
        Group(names, _factor(way, place, len(found))) for place, names in enumerate(found) if names
    ]


def _factor(way: Variant, place: int, count: int) -> Callable[[float], float]:
    """Of the block that stands so many blocks before the head."""
    starts = place / count if way.schedule == "gradual" else 0.0
    rate = way.rate_decay**place
    return lambda done: rate if done >= starts else 0.0


def blocks(
    module: torch.nn.Module, head: frozenset[str], shape: tuple[int, ...]
) -> list[tuple[str, ...]]:
    """The body's parameters in `BLOCKS` blocks, the first next to the input."""
    body = [
        names
        for layer in layers(module, shape)
        if (names := tuple(name for name in layer if name not in head))
    ]
    ends = [round(len(body) * part / BLOCKS) for part in range(BLOCKS + 1)]
    parts = [body[start:end] for start, end in pairwise(ends)]
    return [tuple(name for layer in part for name in layer) for part in parts if part]


def tail(module: torch.nn.Module, count: int, shape: tuple[int, ...]) -> frozenset[str]:
    """Names of the parameters of the last layers, in the order in which `forward` runs them."""
    return frozenset(name for layer in layers(module, shape)[-count:] for name in layer)


def layers(module: torch.nn.Module, shape: tuple[int, ...]) -> list[tuple[str, ...]]:
    """The parameters' names by layer, in the order in which `forward` first runs them.

    A layer is a convolution or a linear map; norms between two layers belong to the later one, as
    they do for who counts from the output; those before the first layer to the first.
    """
    names = {layer: name for name, layer in module.named_modules()}
    called: list[torch.nn.Module] = []
    own = {
        name: lambda layer, _inputs, _answer: called.append(layer)
        for layer, name in names.items()
        if name and any(True for _ in layer.parameters(recurse=False))
    }
    run_hooked(module, shape, own)
    found: list[list[str]] = []
    pending: list[str] = []
    for layer in dict.fromkeys(called):
        pending += [f"{names[layer]}.{name}" for name, _ in layer.named_parameters(recurse=False)]
        if any(parameter.ndim > 1 for parameter in layer.parameters(recurse=False)):
            found.append(pending)
            pending = []
    if found:
        found[-1] += pending
    return [tuple(layer) for layer in found]


def choose_trained(
    module: torch.nn.Module, way: Variant, head: frozenset[str], shape: Sequence[int]
) -> None:
    """Let gradients reach what the way trains, and nothing else.

    Adapters are let in by their own module; here only the head remains of what was there before.
    """
    if way.trains == "all":
        return
    kept = frozenset[str]() if way.trains == "nothing" else head
    if way.trains == "tail":
        assert way.layers is not None  # noqa: S101 - `TrainParams.ways` says it
        kept |= tail(module, way.layers, tuple(shape))
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in kept)
