"""Self-supervised pre-training: weights from images whose labels are not looked at.

`masked`: blocks of a patch are hidden behind its mean; the network, with a head of one channel,
restores them. The loss is the mean squared error over the hidden voxels alone. Source: He et al.,
*Masked autoencoders are scalable vision learners* (CVPR 2022), on a convolutional network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from stages.network import assemble, weights_sha256
from stages.train.batches import Batch, batches
from stages.train.loop import Course, Training
from stages.train.objective import Objective
from stages.train.params import Parameters, Pretraining
from stages.train.patches import Shape
from stages.train.source import Purpose, Source, generator


def pretrain(
    method: str,
    sources: Sequence[Source],
    params: Parameters,
    say: Callable[[int, float], None],
    *,
    workers: int = 0,
) -> tuple[torch.nn.Module, list[dict[str, Any]]]:
    """Train a network on images alone.

    Args:
        method: one of `METHODS`.
        sources: images; their labels are not read.
        params: of the stage.
        say: told each epoch and its loss.
        workers: processes that draw patches.

    Returns:
        The network, and a row (epoch, loss, weights_sha256, batches_sha256) an epoch.
    """
    seed, options = params.numerics.seed, params.train.pretraining
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = assemble(params.network, params.volume, channels=1)
    course = Course.of(
        f"pre-training ({method})", options.epochs, seed, params.train, params.numerics
    )
    training = Training(module, METHODS[method](), replace(course, average=None))
    rows = []
    for epoch in training.run(lambda number: _hidden(sources, number, params, workers)):
        rows.append(
            {
                "epoch": epoch.number,
                "loss": epoch.loss,
                "weights_sha256": weights_sha256(module),
                "batches_sha256": epoch.batches_sha256,
            }
        )
        say(epoch.number, epoch.loss)
    return module, rows


class Masked(Objective):
    """Mean squared error over the voxels that were hidden (the batch's targets say which)."""

    def forward(self, module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        images, hidden = batch.images, batch.targets > 0
        means = images.mean(dim=(1, 2, 3, 4), keepdim=True)
        error = (module(torch.where(hidden, means, images)) - images) * hidden
        loss: torch.Tensor = error.square().sum() / hidden.sum()
        return loss


METHODS: dict[str, Callable[[], Objective]] = {"masked": Masked}


def mask(patch: Shape, options: Pretraining, random: np.random.Generator) -> torch.Tensor:
    """Which voxels are hidden: whole blocks, (1, 1, *patch), True where hidden."""
    blocks = [-(-side // options.mask_block) for side in patch]
    count = int(np.prod(blocks))
    hidden = np.zeros(count, np.bool_)
    hidden[random.permutation(count)[: max(1, round(count * options.mask_ratio))]] = True
    voxels = hidden.reshape(blocks)
    for axis in range(3):
        voxels = voxels.repeat(options.mask_block, axis)
    cut = voxels[: patch[0], : patch[1], : patch[2]]
    return torch.from_numpy(np.ascontiguousarray(cut))[None, None]


def _hidden(
    sources: Sequence[Source], epoch: int, params: Parameters, workers: int
) -> Iterator[Batch]:
    """An epoch's batches: images, and as targets which of their voxels are hidden."""
    patch, seed = params.volume.patch, params.numerics.seed
    options = params.train.pretraining
    for batch in batches(sources, epoch, patch, params.train, seed, workers=workers):
        masks = [
            mask(
                patch,
                options,
                generator(seed, Purpose.MASK, epoch, index, *([turn] if turn else [])),
            )
            for turn, index in batch.places
        ]
        yield replace(batch, targets=torch.cat(masks).float())
