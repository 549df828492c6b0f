"""Several processes at one training: each sees its share of every batch (torchrun, gloo or nccl).

All processes do the same, with the same seeds; only the gradients are made of parts. Rule (held by
`tests/stages/train/test_train_parallel.py`): since every case counts alike in the loss, the mean of
the parts' gradients, weighted by their cases, is the gradient of the whole batch up to rounding;
networks whose layers look across a batch (batch normalization) are refused.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import distributed
from torch.nn.modules.batchnorm import _BatchNorm

from audit.errors import WrongUse
from stages.train.batches import Batch


def world() -> tuple[int, int]:
    """This process's rank, and how many there are."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def check_shares(module: torch.nn.Module) -> None:
    """Refuse a network whose answer for a case depends on the other cases of its batch.

    Raises:
        WrongUse: it has batch normalization, and there are several processes.
    """
    if world()[1] > 1 and any(isinstance(layer, _BatchNorm) for layer in module.modules()):
        raise WrongUse(
            "The network normalizes over the batch, which several processes cannot share.",
            "Take instance or group normalization in `network.arguments`, or one process "
            "(`numerics.processes`).",
        )


def share(batch: Batch) -> Batch | None:
    """This process's cases of a batch: every so-manieth; None if it has none."""
    rank, count = world()
    if count == 1:
        return batch
    if rank >= len(batch.images):
        return None
    return Batch(
        batch.images[rank::count],
        batch.targets[rank::count],
        batch.labels[rank::count],
        batch.places[rank::count],
        None if batch.unlabeled is None else batch.unlabeled[rank::count],
    )


def average(parameters: Iterable[torch.nn.Parameter], loss: float, weight: float) -> float:
    """Replace gradients, and the loss, by their weighted mean over the processes.

    Args:
        parameters: in an order that is the same in every process.
        loss: of this process's share; 0 if it has none.
        weight: this process's share of the cases; all add up to 1.
    """
    if world()[1] == 1:
        return loss
    whole = torch.tensor([loss * weight], dtype=torch.float64)
    distributed.all_reduce(whole)
    for parameter in parameters:
        if not parameter.requires_grad:
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        parameter.grad.mul_(weight)
        distributed.all_reduce(parameter.grad)
    return float(whole)
