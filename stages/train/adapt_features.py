"""Adaptation by features: the deepest ones of labeled and of target images are made alike.

Both kinds of images go through the network in one pass, so that a layer that looks across a batch
sees both, as its running statistics will. Every place of the deepest grid is a sample of as many
values as there are channels.

`correlation` adds the squared distance of means and of covariances (deep CORAL, Sun and Saenko,
ECCV 2016 workshops; with the means, as in DomainBed, Gulrajani and Lopez-Paz, ICLR 2021).
`adversarial` trains a discriminator to tell the two kinds apart, and the network, through a
reversed gradient, to have them not told apart (DANN, Ganin et al., JMLR 2016); it sees each channel
normalized over both kinds together.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional

from audit.errors import WrongUse
from stages.features import Tap, deepest
from stages.train.batches import Batch
from stages.train.objective import Objective, Supervised
from stages.train.params import Parameters

HIDDEN = 64
"""Units of the discriminator's hidden layer."""
STEEPNESS = 10.0
"""Of the rise of the reversed gradient's weight over the training (Ganin et al., section 5.2.2)."""


class _Aligned(Objective):
    """The labels' loss, and what keeps the features of two kinds of images apart."""

    def __init__(self, supervised: Supervised, module: torch.nn.Module, params: Parameters) -> None:
        """Find the deepest features.

        Raises:
            WrongUse: the network has none on a grid.
        """
        super().__init__()
        try:
            place = deepest(module, (1, 1, *params.volume.patch))
        except ValueError as error:
            raise WrongUse(
                f"The network's features cannot be adapted: {error}.",
                "Adapt by `spectrum` or `histogram`, or take a convolutional network.",
            ) from error
        self.supervised = supervised
        self.channels = place.channels
        self._tap = Tap(module, place.layer)

    def forward(self, module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        assert batch.unlabeled is not None  # noqa: S101 - drawn for every batch of this way
        count = len(batch.images)
        both = torch.cat([batch.images, batch.unlabeled])
        answer = module(both.contiguous(memory_format=torch.channels_last_3d))
        features = self._tap.take().float()
        parted = tuple(a[:count] for a in answer) if isinstance(answer, tuple) else answer[:count]
        ours, theirs = _samples(features[:count]), _samples(features[count:])
        with torch.autocast(features.device.type, enabled=False):  # moments need the precision
            apart = self.apart(ours, theirs)
        return self.supervised.of(parted, batch) + apart

    def apart(self, ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
        """How far the features of labeled and of target images, (samples, channels), are apart."""
        raise NotImplementedError


class Correlated(_Aligned):
    """Means and covariances are made alike."""

    def __init__(self, supervised: Supervised, module: torch.nn.Module, params: Parameters) -> None:
        super().__init__(supervised, module, params)
        self._weight = params.train.adapted.correlation

    def apart(self, ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
        return self._weight * moments_apart(ours, theirs)


class Adversarial(_Aligned):
    """A discriminator, which is the objective's own, must not tell them apart."""

    ramp: torch.Tensor

    def __init__(self, supervised: Supervised, module: torch.nn.Module, params: Parameters) -> None:
        super().__init__(supervised, module, params)
        self._weight = params.train.adapted.adversarial
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(params.numerics.seed)
            self.discriminator = torch.nn.Sequential(
                torch.nn.Linear(self.channels, HIDDEN),
                torch.nn.ReLU(),
                torch.nn.Linear(HIDDEN, 1),
            )
        self.register_buffer("ramp", torch.zeros(()))

    def apart(self, ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
        # Without bounds a network escapes a discriminator by features that grow without end.
        features = functional.batch_norm(torch.cat([ours, theirs]), None, None, training=True)
        strength = self._weight * float(self.ramp)
        told = self.discriminator(_Reversed.apply(features, strength))  # type: ignore[no-untyped-call]
        truth = torch.cat([torch.zeros(len(ours)), torch.ones(len(theirs))]).to(told.device)
        return functional.binary_cross_entropy_with_logits(told[:, 0], truth)

    def after_step(self, _module: torch.nn.Module, done: float) -> None:
        """Let the reversed gradient grow with the training."""
        self.ramp.fill_(2 / (1 + math.exp(-STEEPNESS * done)) - 1)


def moments_apart(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of the means, and of the covariances, of two sets of samples.

    Args:
        ours: (samples, channels).
        theirs: (other samples, channels).
    """
    (mean, covariance), (other_mean, other_covariance) = _moments(ours), _moments(theirs)
    return (mean - other_mean).square().mean() + (covariance - other_covariance).square().mean()


def _moments(samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean = samples.mean(dim=0)
    centered = samples - mean
    return mean, centered.T @ centered / max(1, len(samples) - 1)


def _samples(features: torch.Tensor) -> torch.Tensor:
    """(batch, channels, *grid) → (batch · places, channels)."""
    return features.flatten(2).transpose(1, 2).flatten(0, 1)


class _Reversed(torch.autograd.Function):
    """The identity; its gradient is turned round and weighted."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, strength: float) -> torch.Tensor:
        ctx.strength = strength
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return -ctx.strength * gradients[0], None
