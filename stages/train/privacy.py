"""DP-SGD for a training (Abadi et al., CCS 2016), by Opacus.

The unit of privacy is one training series: each step takes every series with the same probability,
each series' gradient is clipped, and noise is added. What the bound assumes, and who it holds
against, is said in docs/train.md: the noise comes from `numerics.seed`, so that a release can be
rebuilt; who has the seed can take it away again.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from audit.errors import WrongUse
from stages.network import parted
from stages.train.ways import Privacy

Json = dict[str, Any]


@dataclass(frozen=True)
class Noise:
    """How one training is kept private."""

    privacy: Privacy
    multiplier: float
    """Standard deviation of the noise, in units of the clipping norm."""
    batch: int
    """Expected number of cases of a step."""

    def facts(self, steps: int) -> Json:
        """What a record says of it."""
        return {
            "epsilon": self.privacy.epsilon,
            "delta": self.privacy.delta,
            "clip_norm": self.privacy.clip_norm,
            "noise_multiplier": round(self.multiplier, 6),
            "steps": steps,
            "unit": "training series",
            "accountant": "RDP, Poisson sampling",
            "noise_from": "numerics.seed",
        }


def steps_of(cases: int, batch: int, patches: int | None, epochs: int) -> int:
    """Steps of a whole training."""
    return epochs * math.ceil((patches or cases) / batch)


def noise(privacy: Privacy, cases: int, batch: int, steps: int) -> Noise:
    """The noise that keeps the bound over so many steps (RDP accountant).

    Raises:
        WrongUse: no noise that is worth training with keeps the bound.
    """
    from opacus.accountants.utils import get_noise_multiplier

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a bound that could be tighter
            multiplier = get_noise_multiplier(
                target_epsilon=privacy.epsilon,
                target_delta=privacy.delta,
                sample_rate=min(1.0, batch / cases),
                steps=steps,
                accountant="rdp",
            )
        return Noise(privacy, float(multiplier), batch)
    except ValueError:
        raise WrongUse(
            f"No noise keeps epsilon {privacy.epsilon:g} over {steps} steps.",
            "Raise `privacy.epsilon`, train fewer epochs, or give more series.",
        ) from None


def wrap(
    module: torch.nn.Module, optimizer: torch.optim.Optimizer, noise: Noise
) -> torch.optim.Optimizer:
    """Have every case's gradient computed, and clipped and noised by the optimizer that comes back.

    Args:
        module: hooks are set on its layers; its own call stays as it is.
        optimizer: of its parameters.
        noise: of the training.

    Raises:
        WrongUse: a layer looks across the cases of a batch.
    """
    from opacus import GradSampleModule
    from opacus.optimizers import DPOptimizer
    from opacus.validators import ModuleValidator

    if ModuleValidator.validate(module, strict=False):
        raise WrongUse(
            "The network has a layer that looks across the cases of a batch, or one whose "
            "gradients cannot be told apart by case: it cannot be trained with privacy.",
            "Take group or instance normalization in `network.arguments`.",
        )
    GradSampleModule(module, loss_reduction="mean", strict=False)
    noised: torch.optim.Optimizer = DPOptimizer(
        optimizer,
        noise_multiplier=noise.multiplier,
        max_grad_norm=noise.privacy.clip_norm,
        expected_batch_size=noise.batch,
        loss_reduction="mean",
    )
    return noised


def check_apart(module: torch.nn.Module, patch: tuple[int, int, int]) -> None:
    """Try one step on nothing with a wrapped network.

    Raises:
        WrongUse: a layer works in place, which breaks the hooks of the gradients.
    """
    device = next(module.parameters()).device
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of hooks that Opacus sets as it must
        try:
            grid, classes = parted(module(torch.zeros((2, 1, *patch), device=device)))
            told = [part.sum() for part in (grid, classes) if part is not None]
            torch.stack(told).sum().backward()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise WrongUse(
                "Gradients of the network cannot be told apart by case: a layer works in place.",
                "Train less of it with privacy (`trains: head`), or take another network.",
            ) from error
    for parameter in module.parameters():
        parameter.grad = None
        if hasattr(parameter, "grad_sample"):
            parameter.grad_sample = None


def without_cases(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Give a step that sees no case its gradients: none, to which the noise is added."""
    for parameter in parameters:
        parameter.grad_sample = torch.zeros((0, *parameter.shape))  # type: ignore[attr-defined]
