"""Transfer: the head is found, the tail is what forward runs last, frozen stays frozen."""

from __future__ import annotations

import math

import pytest
import torch
from helpers_train import NETWORK, parameters

from audit.errors import Fault
from stages.network import build
from stages.params import Network
from stages.train.loop import fit
from stages.train.patches import Source
from stages.train.transfer import choose_trained, tail, take_backbone
from stages.train.variants import class_weights
from stages.train.ways import WAYS

PATCH = (8, 16, 16)
ONES = (torch.ones(1, 1), torch.ones(1, 1))
HEAD = ("conv_final.2.conv.bias", "conv_final.2.conv.weight")


def _built(channels: int, seed: int, network: Network = NETWORK) -> torch.nn.Module:
    torch.manual_seed(seed)
    return build(network, channels)


@pytest.mark.rule("TRN-4")
@pytest.mark.parametrize(
    ("network", "head"),
    [
        (NETWORK, HEAD),
        (
            Network(
                _target_="monai.networks.nets.UNet", arguments={"channels": (4, 8), "strides": (2,)}
            ),
            None,
        ),
    ],
)
def test_the_backbone_is_taken_and_the_head_is_new(
    network: Network, head: tuple[str, ...] | None
) -> None:
    source, target = _built(1, 1, network), _built(3, 2, network)
    fresh = {name: value.clone() for name, value in target.state_dict().items()}
    new = take_backbone(target, source)
    assert new
    assert head is None or new == head
    pretrained = source.state_dict()
    for name, value in target.state_dict().items():
        assert torch.equal(value, fresh[name] if name in new else pretrained[name])


@pytest.mark.rule("TRN-4")
def test_the_tail_is_the_last_layers_in_the_order_of_forward() -> None:
    module = _built(3, 0)
    assert tail(module, 1, PATCH) == frozenset(HEAD)
    assert {name.split(".")[0] for name in tail(module, 3, PATCH)} == {"up_layers", "conv_final"}
    sizes = [len(tail(module, layers, PATCH)) for layers in range(1, 6)]
    assert sizes == sorted(sizes)
    assert tail(module, 100, PATCH) == {name for name, _ in module.named_parameters()}
    assert module.training


@pytest.mark.rule("TRN-4")
def test_frozen_layers_keep_weights_and_running_statistics() -> None:
    network = Network(
        arguments={"init_filters": 4, "blocks_down": (1, 1), "blocks_up": (1,), "norm": "BATCH"}
    )
    module = _built(3, 0, network)
    choose_trained(module, WAYS["frozen"], HEAD, 1, PATCH)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    random = torch.Generator().manual_seed(0)
    batch = torch.randn((2, 1, *PATCH), generator=random)
    steps = fit(
        module,
        lambda epoch: [(batch, batch)],
        lambda made, pair: made(pair[0]).square().mean(),
        name="x",
        epochs=2,
        learning_rate=0.01,
        seed=0,
    )
    first, second = steps
    assert (first.number, second.number) == (1, 2)
    assert first.batches_sha256 == second.batches_sha256
    changed = {
        name for name, value in module.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed.issuperset(HEAD)
    assert {name.split(".")[0] for name in changed} == {"conv_final"}
    assert any("running_mean" in name for name in before if not name.startswith("conv_final"))


@pytest.mark.rule("TRN-8")
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_training_with_a_remedy(value: float) -> None:
    module = torch.nn.Linear(1, 1)
    with pytest.raises(Fault, match=r"loss of variant scratch .* epoch 1") as caught:
        list(
            fit(
                module,
                lambda epoch: [ONES],
                lambda made, batch: made(batch[0]).sum() * value,
                name="variant scratch",
                epochs=3,
                learning_rate=0.1,
                seed=0,
            )
        )
    assert "learning_rate" in caught.value.remedy


@pytest.mark.rule("TRN-8")
def test_weights_that_explode_stop_training_even_after_the_last_loss() -> None:
    module = torch.nn.Linear(1, 1)
    with pytest.raises(Fault, match="weights of x"):
        list(
            fit(
                module,
                lambda epoch: [ONES],
                lambda made, batch: made(batch[0]).sum(),
                name="x",
                epochs=1,
                learning_rate=1e39,
                seed=0,
            )
        )


def test_a_rare_class_weighs_more_and_the_mean_weight_is_one() -> None:
    target = torch.zeros((1, 1, 10, 10, 10))
    target[..., 0:1, :, :] = 1  # a tenth
    target[0, 0, 9, 0, :] = 2  # a hundredth
    source = Source(torch.zeros_like(target), 0.0, target, (1.0, 1.0, 1.0), ())
    weights = class_weights([source, source], 3)
    assert float(weights.mean()) == pytest.approx(1, abs=1e-4)
    assert float(weights[2] / weights[1]) == pytest.approx(10**0.25, rel=1e-3)
    assert weights[0] < weights[1] < weights[2]


def test_the_learning_rate_falls_and_the_loss_too() -> None:
    torch.manual_seed(0)
    module = torch.nn.Linear(4, 1)
    inputs = torch.randn(16, 4)
    wanted = inputs.sum(dim=1, keepdim=True)
    losses = [
        epoch.loss
        for epoch in fit(
            module,
            lambda epoch: [(inputs, wanted)],
            lambda made, batch: (made(batch[0]) - batch[1]).square().mean(),
            name="x",
            epochs=60,
            learning_rate=0.1,
            seed=parameters().numerics.seed,
        )
    ]
    assert losses[-1] < 0.05 * losses[0]
