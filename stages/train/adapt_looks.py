"""Adaptation by looks: labeled images are made to look like the target's; their labels stay true.

`spectrum`: a labeled patch keeps its phases and takes the amplitudes of low frequencies from a
target patch (FDA, Yang and Soatto, CVPR 2020, in three dimensions).
`histogram`: a labeled volume's intensities go through the one increasing map that gives them the
target's distribution: the mean of the target volumes' quantiles, which is the barycenter of their
distributions (Nyúl, Udupa and Zhang, IEEE TMI 2000, with a landmark each percent). It is a map of
the volume, not of the patch: how much of a structure a patch shows must not decide its contrast.
MONAI's HistogramNormalize maps to uniform, not to other images, so it is not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from stages.train.batches import Batch
from stages.train.objective import Objective, Supervised
from stages.train.params import Parameters
from stages.train.source import Source

SHARES = np.linspace(0, 1, 101)
"""Of the voxels, at which quantiles are taken."""


class Swapped(Objective):
    """The labels' loss, on images whose low frequencies have the target's amplitudes."""

    def __init__(
        self, supervised: Supervised, _module: torch.nn.Module, params: Parameters
    ) -> None:
        super().__init__()
        self.supervised = supervised
        self._highest = params.train.adapted.frequencies

    def forward(self, module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        assert batch.unlabeled is not None  # noqa: S101 - drawn for every batch of this way
        images = swapped(batch.images, batch.unlabeled, self._highest)
        return self.supervised.forward(module, replace(batch, images=images))


def swapped(images: torch.Tensor, others: torch.Tensor, highest: float) -> torch.Tensor:
    """Images with the amplitudes of others up to a frequency along each axis.

    Args:
        images: (batch, 1, slices, rows, columns).
        others: the same shape.
        highest: in cycles a voxel; 0 swaps the mean alone, 0.5 swaps everything.
    """
    axes, shape = (-3, -2, -1), images.shape[-3:]
    ours, theirs = (torch.fft.rfftn(x.contiguous(), dim=axes) for x in (images, others))
    low = torch.ones((), dtype=torch.bool, device=images.device)
    for axis, side in enumerate(shape):
        frequencies = torch.fft.fftfreq(side, device=images.device).abs()
        if axis == 2:
            frequencies = torch.fft.rfftfreq(side, device=images.device)
        low = low & (frequencies <= highest).view([-1 if a == axis else 1 for a in range(3)])
    turned = torch.polar(theirs.abs(), ours.angle())
    made: torch.Tensor = torch.fft.irfftn(torch.where(low, turned, ours), s=shape, dim=axes)
    return made.contiguous(memory_format=torch.channels_last_3d)


def matched(labeled: Sequence[Source], target: Sequence[Source]) -> list[Source]:
    """Labeled volumes with the target's distribution of intensities.

    Args:
        labeled: volumes; what they are labeled with stays.
        target: volumes; at least one.
    """
    wanted = np.mean([_quantiles(_voxels(source)) for source in target], axis=0)
    return [_matched(source, wanted) for source in labeled]


def _matched(source: Source, wanted: NDArray[np.float64]) -> Source:
    voxels = _voxels(source)
    own, places = np.unique(_quantiles(voxels), return_inverse=True)
    # Equal intensities stay equal: they get the mean of what their share of the voxels would.
    new = np.bincount(places, weights=wanted) / np.bincount(places)
    array = np.round(np.interp(voxels, own, new), 5).astype(np.float32)
    minimum = float(array.min())
    return replace(source, image=torch.from_numpy(array - np.float32(minimum)), minimum=minimum)


def _voxels(source: Source) -> NDArray[np.float64]:
    return source.image.numpy().astype(np.float64) + source.minimum


def _quantiles(voxels: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.quantile(voxels, SHARES)
