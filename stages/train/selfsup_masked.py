"""Masked reconstruction: blocks of a patch are hidden behind its mean; the network restores them.

The loss is the mean squared error over the hidden voxels alone. Source: He et al., *Masked
autoencoders are scalable vision learners* (CVPR 2022), on a convolutional network.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.train.params import Pretraining
from stages.train.patches import Shape
from stages.train.pretext import Method, Patch, Reconstruction


def change(patch: Patch, options: Pretraining, random: np.random.Generator) -> tuple[Patch, Patch]:
    """The patch with blocks hidden; as target itself, and which of its voxels were hidden."""
    hidden = mask((patch.shape[0], patch.shape[1], patch.shape[2]), options, random)
    seen = np.where(hidden, np.float32(patch.mean(dtype=np.float64)), patch)
    return seen, np.stack([patch, hidden.astype(np.float32)])


def mask(patch: Shape, options: Pretraining, random: np.random.Generator) -> NDArray[np.bool_]:
    """Which voxels are hidden: whole blocks, the shape of the patch, True where hidden."""
    blocks = [-(-side // options.mask_block) for side in patch]
    count = int(np.prod(blocks))
    hidden = np.zeros(count, np.bool_)
    hidden[random.permutation(count)[: max(1, round(count * options.mask_ratio))]] = True
    voxels = hidden.reshape(blocks)
    for axis in range(3):
        voxels = voxels.repeat(options.mask_block, axis)
    return np.ascontiguousarray(voxels[: patch[0], : patch[1], : patch[2]])


MASKED = Method(change, Reconstruction)
