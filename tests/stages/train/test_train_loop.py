"""The loop: it learns, stops where numbers fail, averages, and goes on from a saved state."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from helpers_train import batch, course

from audit.errors import Fault
from stages.train.batches import Batch
from stages.train.loop import Training
from stages.train.objective import Objective, class_weights, voxel_weights
from stages.train.source import Source


class Line(Objective):
    """Squares of a linear map's error against the sum of its inputs."""

    def forward(self, module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        loss: torch.Tensor = (module(batch.images) - batch.targets).square().mean()
        return loss


class Scaled(Objective):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        loss: torch.Tensor = module(batch.images).sum() * self.factor
        return loss


ONE = Batch(torch.ones(1, 1), torch.ones(1, 1), torch.zeros(1, dtype=torch.int64))


@pytest.mark.rule("TRN-8")
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_training_with_a_remedy(value: float) -> None:
    training = Training(torch.nn.Linear(1, 1), Scaled(value), course(name="variant scratch"))
    with pytest.raises(Fault, match=r"loss of variant scratch .* epoch 1") as caught:
        list(training.run(lambda epoch: [ONE]))
    assert "learning_rate" in caught.value.remedy


class _Root(Objective):
    def forward(self, module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        return (module(batch.images) * 0).sqrt().sum()  # its slope at 0 is infinite


@pytest.mark.rule("TRN-8")
def test_a_gradient_that_is_not_finite_stops_training() -> None:
    training = Training(torch.nn.Linear(1, 1), _Root(), course(name="x"))
    with pytest.raises(Fault, match="gradient of x"):
        list(training.run(lambda epoch: [ONE]))


@pytest.mark.rule("TRN-8")
def test_weights_that_explode_stop_training_even_after_the_last_loss() -> None:
    training = Training(torch.nn.Linear(1, 1), Scaled(1), course(name="x", learning_rate=1e39))
    with pytest.raises(Fault, match="weights of x"):
        list(training.run(lambda epoch: [ONE]))


def _line() -> tuple[torch.nn.Module, Batch]:
    torch.manual_seed(0)
    module, inputs = torch.nn.Linear(4, 1), torch.randn(16, 4)
    wanted = inputs.sum(dim=1, keepdim=True)
    return module, Batch(inputs, wanted, torch.zeros(16, dtype=torch.int64))


def test_the_learning_rate_falls_and_the_loss_too() -> None:
    module, data = _line()
    training = Training(module, Line(), course(epochs=60, learning_rate=0.1))
    losses = [epoch.loss for epoch in training.run(lambda epoch: [data])]
    assert losses[-1] < 0.05 * losses[0]


def test_the_average_lags_behind_the_weights_and_is_the_result() -> None:
    module, data = _line()
    training = Training(module, Line(), course(epochs=5, learning_rate=0.1, average=0.9))
    weights = [module.weight.detach().clone()]
    weights += [module.weight.detach().clone() for _ in training.run(lambda epoch: [data])]
    expected = weights[1].clone()
    for count, value in enumerate(weights[2:], start=1):
        decay = min(0.9, (1 + count) / (10 + count))
        expected = decay * expected + (1 - decay) * value
    assert training.result is not module
    assert torch.allclose(training.result.weight, expected, atol=1e-6)


def _deep() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(), torch.nn.Linear(8, 1))


@pytest.mark.rule("TRN-9")
@pytest.mark.parametrize("average", [None, 0.9])
def test_a_training_goes_on_from_its_state_to_the_same_bits(average: float | None) -> None:
    def trained(stop: int | None) -> dict[str, Any]:
        torch.manual_seed(3)
        module = _deep()
        _, data = _line()
        whole = course(epochs=6, learning_rate=0.1, average=average)
        training = Training(module, Line(), whole)
        if stop is not None:
            run = training.run(lambda epoch: [data])
            for _ in range(stop):
                next(run)
            state = training.state()
            torch.manual_seed(99)
            module = _deep()
            training = Training(module, Line(), whole)
            training.restore(state)
        list(training.run(lambda epoch: [data], after=stop or 0))
        return training.state()

    whole = trained(None)
    for stop in (1, 3, 5):
        again = trained(stop)
        assert again.keys() == whole.keys()
        assert all(torch.equal(again[name], whole[name]) for name in whole)


def test_mixed_precision_on_a_cpu_learns_too() -> None:
    module, data = _line()
    training = Training(module, Line(), course(epochs=60, learning_rate=0.1, precision="bf16"))
    losses = [epoch.loss for epoch in training.run(lambda epoch: [data])]
    assert losses[-1] < 0.1 * losses[0]
    assert module.weight.dtype == torch.float32


def test_a_rare_class_weighs_more_and_the_mean_weight_is_one() -> None:
    target = torch.zeros((1, 1, 10, 10, 10))
    target[..., 0:1, :, :] = 1  # a tenth
    target[0, 0, 9, 0, :] = 2  # a hundredth
    source = Source(torch.zeros_like(target), 0.0, target, (1.0, 1.0, 1.0), ())
    weights = voxel_weights([source, source], 3)
    assert float(weights.mean()) == pytest.approx(1, abs=1e-4)
    assert float(weights[2] / weights[1]) == pytest.approx(10**0.25, rel=1e-3)
    assert weights[0] < weights[1] < weights[2]
    cases = [
        Source(target, 0.0, None, (1.0, 1.0, 1.0), (), label=label) for label in (0, 0, 0, 0, 1, -1)
    ]
    weights = class_weights(cases, 2)
    assert float(weights[1] / weights[0]) == pytest.approx(2, rel=1e-3)


def test_a_batch_knows_what_the_network_saw() -> None:
    first, again, other = batch((8, 8, 8)), batch((8, 8, 8)), batch((8, 8, 8), seed=1)
    digests = []
    for one in (first, again, other):
        training = Training(torch.nn.Conv3d(1, 1, 1), Line(), course(epochs=1))
        digests.append(next(iter(training.run(lambda epoch, one=one: [one]))).batches_sha256)
    assert digests[0] == digests[1] != digests[2]
