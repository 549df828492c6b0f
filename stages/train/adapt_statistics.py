"""Adaptation by statistics: batch normalization with the target's means and variances.

AdaBN (Li et al., *Revisiting batch normalization for practical domain adaptation*, 2016): the
weights stay; each such layer's running statistics are estimated anew, as the mean over batches of
target images, drawn as in training but without augmentation. It is done before every validation,
so that the epoch is chosen by what will be kept.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from audit.errors import WrongUse
from stages.train.batches import batches
from stages.train.params import Augmentation, Parameters
from stages.train.source import Source

PLAIN = Augmentation(rotation_deg=0, scale=0, shift_voxels=0, intensity=0, noise=0)


def check_statistics(module: torch.nn.Module) -> None:
    """Refuse a network without running statistics.

    Raises:
        WrongUse: it has no layer of batch normalization that keeps them.
    """
    if not _layers(module):
        raise WrongUse(
            "The network keeps no running statistics that could be estimated anew on the target's "
            "images: it has no batch normalization.",
            "Take batch normalization in `network.arguments` (norm: BATCH), or another way to "
            "adapt. Instance and group normalization take each image's own statistics already.",
        )


def restated(
    module: torch.nn.Module, target: Sequence[Source], params: Parameters, seed: int
) -> torch.nn.Module:
    """A copy of a network with the target's statistics.

    Args:
        module: has layers of batch normalization; is not changed.
        target: volumes whose labels are not looked at.
        params: of the stage.
        seed: of the patches' places.
    """
    made = copy.deepcopy(module).eval()
    device = next(made.parameters()).device
    for layer in _layers(made):
        layer.reset_running_stats()
        layer.momentum = None  # the mean over all batches
        layer.train()
    train = params.train.model_copy(update={"augmentation": PLAIN, "patches": None})
    with torch.no_grad():
        for batch in batches(target, 1, params.volume.patch, train, seed):
            made(batch.images.to(device))
    for layer, own in zip(_layers(made), _layers(module), strict=True):
        layer.momentum = own.momentum
    return made.eval()


def _layers(module: torch.nn.Module) -> list[_BatchNorm]:
    return [
        layer
        for layer in module.modules()
        if isinstance(layer, _BatchNorm) and layer.track_running_stats
    ]
