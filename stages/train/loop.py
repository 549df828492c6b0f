"""The training loop: one for pre-training and every variant.

AdamW, a learning rate that falls by epoch to zero (polynomial of degree 0.9, as in nnU-Net,
Isensee et al., Nature Methods 2021), gradients clipped to a norm.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch

from audit.errors import Fault

WEIGHT_DECAY = 1e-4
CLIP_NORM = 12.0
Batch = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Epoch:
    """One pass over the data."""

    number: int
    """From 1."""
    loss: float
    """Mean over batches."""
    batches_sha256: str
    """Of the bytes of every batch that the network saw, in their order."""


def fit(
    module: torch.nn.Module,
    batches: Callable[[int], Iterable[Batch]],
    objective: Callable[[torch.nn.Module, Batch], torch.Tensor],
    *,
    name: str,
    epochs: int,
    learning_rate: float,
    seed: int,
) -> Iterator[Epoch]:
    """Train in place; between two epochs the caller may look at the module.

    Args:
        module: parameters that require no gradient stay as they are, and so do the running
            statistics of their layers.
        batches: epoch (from 1) → the epoch's batches.
        objective: module and batch → a scalar loss.
        name: of what is trained, for messages.
        epochs: passes.
        learning_rate: at the first epoch.
        seed: torch is seeded with it and the epoch (dropout).

    Yields:
        what each epoch was.

    Raises:
        Fault: a loss or a weight is not finite.
    """
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=WEIGHT_DECAY, fused=True)
    for epoch in range(1, epochs + 1):
        torch.manual_seed(seed * 100_003 + epoch)
        _set_modes(module)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * (1 - (epoch - 1) / epochs) ** 0.9
        losses, seen = [], hashlib.sha256()
        for batch in batches(epoch):
            for tensor in batch:
                seen.update(tensor.contiguous().numpy().data)
            loss = objective(module, batch)
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise _diverged(name, epoch, "loss")
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            torch.nn.utils.clip_grad_norm_(trained, CLIP_NORM)
            optimizer.step()
        if not all(bool(torch.isfinite(parameter).all()) for parameter in trained):
            raise _diverged(name, epoch, "weights")
        yield Epoch(epoch, math.fsum(losses) / len(losses), seen.hexdigest())


def _set_modes(module: torch.nn.Module) -> None:
    """Training mode, but for layers whose own parameters are all frozen."""
    module.train()
    for layer in module.modules():
        own = list(layer.parameters(recurse=False))
        if own and not any(parameter.requires_grad for parameter in own):
            layer.eval()


def _diverged(name: str, epoch: int, what: str) -> Fault:
    return Fault(
        f"The {what} of {name} became infinite or not a number in epoch {epoch}.",
        "Lower `train.learning_rate`, or bound the intensities with `volume.window`.",
    )
