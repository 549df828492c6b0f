"""Several processes at one training: each sees its share of every batch (gloo, or nccl on GPUs).

All processes do the same, with the same seeds; only the gradients are made of parts. The stage
starts the others itself (`numerics.processes`); a program under `torchrun` joins those it finds.

Rules:

- PAR-1  Every case counts alike in the loss; so the mean of the parts' gradients, weighted by their
         cases, is the gradient of the whole batch up to rounding.
- PAR-2  A network whose layers look across a batch (batch normalization) is refused.
- PAR-3  One process leads: it alone writes and tells. Where one of them dies, all end.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import distributed
from torch.nn.modules.batchnorm import _BatchNorm

from audit.errors import Transient, WrongUse
from stages.params import Numerics
from stages.parent import end_with_parent
from stages.train.batches import Batch

_PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others: validation of a large volume lies between two steps."""


@contextmanager
def group(numerics: Numerics, follow: Callable[[], object]) -> Iterator[None]:
    """Join or start the processes of a training; this one leads those that it starts.

    Args:
        numerics: how many, and on which device.
        follow: what the others call; a picklable function that does what this process does
            within the context, but writes nothing.

    Raises:
        Transient: one of the others died.
    """
    backend = "nccl" if numerics.device == "cuda" else "gloo"
    if "TORCHELASTIC_RUN_ID" in os.environ:
        distributed.init_process_group(backend, timeout=_PATIENCE)
        try:
            yield
        finally:
            distributed.destroy_process_group()
        return
    if numerics.processes == 1:
        yield
        return
    context, count = multiprocessing.get_context("spawn"), numerics.processes
    with tempfile.TemporaryDirectory() as folder:
        meeting = f"file://{folder}/meeting"
        others = [
            context.Process(target=_join, args=(backend, meeting, rank, count, follow))
            for rank in range(1, count)
        ]
        for process in others:
            process.start()
        try:
            _meet(backend, meeting, 0, count)
            yield
        except RuntimeError as error:
            if not distributed.is_initialized() or all(p.exitcode is None for p in others):
                raise
            raise Transient(
                "One of the processes of the training died.",
                "It may have run out of memory: make `volume.patch` or `train.batch` smaller, or "
                "set `numerics.processes` lower.",
            ) from error
        finally:
            if distributed.is_initialized():
                distributed.destroy_process_group()
            for process in others:
                process.terminate()
                process.join()


def _join(backend: str, meeting: str, rank: int, count: int, follow: Callable[[], object]) -> None:
    end_with_parent()
    _meet(backend, meeting, rank, count)
    follow()


def _meet(backend: str, meeting: str, rank: int, count: int) -> None:
    distributed.init_process_group(
        backend, init_method=meeting, rank=rank, world_size=count, timeout=_PATIENCE
    )


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
