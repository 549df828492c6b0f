"""The course of a training: how the learning rate goes, and how long weights balance."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from helpers_train import batch, course

from stages.train.batches import Batch
from stages.train.loop import Training
from stages.train.objective import Objective, Supervised


def _rates(**choices: object) -> list[float]:
    found = course(epochs=10, learning_rate=1.0, **choices)
    return [found.rate(epoch) for epoch in range(1, 11)]


def test_by_default_the_rate_is_highest_first_and_falls_by_the_polynomial() -> None:
    assert _rates() == pytest.approx([(1 - n / 10) ** 0.9 for n in range(10)])


@pytest.mark.parametrize("decay", ["polynomial", "cosine"])
def test_after_a_warm_up_the_rate_falls_from_its_height(decay: str) -> None:
    rates = _rates(warmup=0.3, decay=decay)
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1])
    assert rates[3] == pytest.approx(1)
    assert all(later < before for before, later in pairwise(rates[3:]))
    left = 1 / 7  # of what follows the warm-up, before the last epoch
    last = {"polynomial": left**0.9, "cosine": (1 - math.cos(math.pi * left)) / 2}
    assert rates[-1] == pytest.approx(last[decay])


def test_a_warm_up_shorter_than_an_epoch_is_none() -> None:
    assert _rates(warmup=0.05)[0] == 1


class _Around(Objective):
    """An objective around another one."""

    def __init__(self, inner: Objective) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        found: torch.Tensor = self.inner(module, batch)
        return found


def _losses(weights: tuple[float, float], until: float | None, epochs: int = 4) -> list[float]:
    """Of a network that stays as it is."""
    images = batch((8, 8, 8)).images
    shown = Batch(images, (images > 0.5).float(), torch.full((2,), -1))
    module = torch.nn.Conv3d(1, 2, 1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(0.3)
    objective = _Around(Supervised(torch.tensor(weights), torch.ones(0)))
    whole = course(epochs=epochs, learning_rate=1e-12, balance_until=until)
    training = Training(module, objective, whole)
    return [epoch.loss for epoch in training.run(lambda epoch: [shown])]


def test_weights_fade_to_one_wherever_the_labels_loss_stands() -> None:
    alike, whole = _losses((1.0, 1.0), None)[0], _losses((0.25, 4.0), None)
    assert whole == pytest.approx([whole[0]] * 4, abs=1e-6)
    faded = _losses((0.25, 4.0), 0.5)
    assert faded[0] == pytest.approx(whole[0], abs=1e-6)
    assert faded[1] == pytest.approx(_losses((0.5, 2.0), None)[0], abs=1e-6)
    assert faded[2:] == pytest.approx([alike, alike], abs=1e-6)
    assert abs(whole[0] - alike) > 0.1
