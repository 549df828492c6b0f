"""Self-supervised pre-training: masked reconstruction of images whose labels are not looked at.

Blocks of a patch are hidden behind its mean; the network, with a head of one channel, restores
them. The loss is the mean squared error over the hidden voxels alone. Source: He et al., *Masked
autoencoders are scalable vision learners* (CVPR 2022), on a convolutional network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from stages.network import build, weights_sha256
from stages.train.loop import fit
from stages.train.params import Parameters, Pretraining
from stages.train.patches import Pair, Purpose, Shape, Source, batches, generator


def pretrain(
    sources: Sequence[Source],
    params: Parameters,
    say: Callable[[int, float], None],
    *,
    workers: int = 0,
) -> tuple[torch.nn.Module, list[dict[str, Any]]]:
    """Train a network of one output channel to restore what is hidden.

    Args:
        sources: images; their labels are not read.
        params: of the stage.
        say: told each epoch and its loss.
        workers: processes that draw patches.

    Returns:
        The network, and a row (epoch, loss, weights_sha256, batches_sha256) an epoch.
    """
    seed, options = params.numerics.seed, params.train.pretraining
    torch.manual_seed(seed)
    module = build(params.network, 1)
    rows = []
    for epoch in fit(
        module,
        lambda epoch: _hidden(sources, epoch, params, workers),
        _restoration,
        name="pre-training",
        epochs=options.epochs,
        learning_rate=params.train.learning_rate,
        seed=seed,
    ):
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
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """An epoch's batches: images, and which of their voxels are hidden."""
    patch, seed = params.volume.patch, params.numerics.seed
    options = params.train.pretraining
    for images, _, chosen in batches(sources, epoch, patch, params.train, seed, workers=workers):
        masks = [mask(patch, options, generator(seed, Purpose.MASK, epoch, i)) for i in chosen]
        yield images, torch.cat(masks)


def _restoration(module: torch.nn.Module, batch: Pair) -> torch.Tensor:
    images, hidden = batch
    means = images.mean(dim=(1, 2, 3, 4), keepdim=True)
    error = (module(torch.where(hidden, means, images)) - images) * hidden
    loss: torch.Tensor = error.square().sum() / hidden.sum()
    return loss
