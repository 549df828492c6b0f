"""Starts and rates: the head is found, the tail is what forward runs last, frozen stays frozen."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers_dicom import TASK
from helpers_train import NETWORK, batch, course

from stages.network import assemble
from stages.params import ClassLabel, Code, Network, Task, Volume
from stages.train.loop import Training
from stages.train.objective import Objective
from stages.train.rates import blocks, choose_trained, groups, layers, tail
from stages.train.start import new_network, take
from stages.train.ways import Variant
from stages.wrapped import bare

PATCH = (8, 16, 16)
SHAPE = (1, 1, *PATCH)
VOLUME = Volume(window=(-100.0, 200.0), patch=PATCH)
HEAD = frozenset({"conv_final.2.conv.bias", "conv_final.2.conv.weight"})
UNET = Network(_target_="monai.networks.nets.UNet", arguments={"channels": (4, 8), "strides": (2,)})
CLASSES = tuple(
    ClassLabel(name=name, code=Code(value=name, scheme="99TEST", meaning=name))
    for name in ("benign", "malignant")
)


class Squares(Objective):
    def forward(self, module: torch.nn.Module, batch: Any) -> torch.Tensor:
        loss: torch.Tensor = module(batch.images).square().mean()
        return loss


@pytest.mark.rule("TRN-4")
@pytest.mark.parametrize(("network", "head"), [(NETWORK, HEAD), (UNET, None)])
def test_the_backbone_is_taken_and_the_head_is_new(
    network: Network, head: frozenset[str] | None
) -> None:
    torch.manual_seed(1)
    source = assemble(network, VOLUME, channels=1).state_dict()
    module, found = new_network(network, TASK, VOLUME, 2)
    fresh = {name: value.clone() for name, value in module.state_dict().items()}
    taken = take(module, source, found, keep=False)
    assert head is None or found == head
    assert taken.new
    assert set(taken.new) == found
    assert set(taken.unused) == found
    for name, value in module.state_dict().items():
        assert torch.equal(value, fresh[name] if name in found else source[name])


@pytest.mark.rule("TRN-4")
def test_a_head_of_the_same_shape_is_new_too_unless_it_is_kept() -> None:
    torch.manual_seed(1)
    source = assemble(NETWORK, VOLUME, channels=3).state_dict()
    module, head = new_network(NETWORK, TASK, VOLUME, 2)
    take(module, source, head, keep=False)
    name = "conv_final.2.conv.weight"
    assert not torch.equal(module.state_dict()[name], source[name])
    take(module, source, head, keep=True)
    assert torch.equal(module.state_dict()[name], source[name])


def test_a_new_network_depends_on_its_seed_and_leaves_chance_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, _ = new_network(NETWORK, TASK, VOLUME, 2)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    other, _ = new_network(NETWORK, TASK, VOLUME, 2)
    third, _ = new_network(NETWORK, TASK, VOLUME, 3)
    weight = "convInit.conv.weight"
    assert torch.equal(one.state_dict()[weight], other.state_dict()[weight])
    assert not torch.equal(one.state_dict()[weight], third.state_dict()[weight])


@pytest.mark.rule("NET-1")
@pytest.mark.parametrize("patch", [PATCH, (1, 16, 16)])
def test_a_shared_backbone_answers_both_questions_and_transfers(
    patch: tuple[int, int, int],
) -> None:
    task = Task(modality="CT", structures=TASK.structures, classes=CLASSES)
    volume = Volume(patch=patch)
    module, head = new_network(NETWORK, task, volume, 0)
    module.eval()
    with torch.no_grad():
        grid, classes = module(torch.zeros((2, 1, *patch)))
    assert grid.shape == (2, 3, *patch)
    assert classes.shape == (2, 2)
    assert {"classifier.weight", "classifier.bias"} < head
    assert any("conv_final" in name for name in head)
    torch.manual_seed(1)
    source = assemble(NETWORK, volume, channels=1)
    taken = take(module, bare(source).state_dict(), head, keep=False)
    assert set(taken.new) == head
    choose_trained(module, Variant(name="x", trains="head"), head, (1, 1, *patch))
    assert {n for n, p in module.named_parameters() if p.requires_grad} == head


@pytest.mark.rule("TRN-4")
def test_the_tail_is_the_last_layers_in_the_order_of_forward() -> None:
    module, _ = new_network(NETWORK, TASK, VOLUME, 0)
    assert tail(module, 1, SHAPE) == HEAD
    assert {name.split(".")[0] for name in tail(module, 3, SHAPE)} == {"up_layers", "conv_final"}
    sizes = [len(tail(module, count, SHAPE)) for count in range(1, 6)]
    assert sizes == sorted(sizes)
    assert tail(module, 100, SHAPE) == {name for name, _ in module.named_parameters()}
    assert module.training
    assert layers(module, SHAPE)[0] == ("convInit.conv.weight",)


@pytest.mark.rule("TRN-4")
def test_frozen_layers_keep_weights_and_running_statistics() -> None:
    network = Network(
        arguments={"init_filters": 4, "blocks_down": (1, 1), "blocks_up": (1,), "norm": "BATCH"}
    )
    module, head = new_network(network, TASK, VOLUME, 0)
    choose_trained(module, Variant(name="x", trains="tail", layers=1), head, SHAPE)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    training = Training(module, Squares(), course(epochs=2))
    first, second = training.run(lambda epoch: [batch(PATCH)])
    assert (first.number, second.number) == (1, 2)
    assert first.batches_sha256 == second.batches_sha256
    changed = {
        name for name, value in module.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed.issuperset(head)
    assert {name.split(".")[0] for name in changed} == {"conv_final"}
    assert any("running_mean" in name for name in before if not name.startswith("conv_final"))


@pytest.mark.rule("TRN-4")
@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        ({"schedule": "head first"}, {0.0: "head", 0.24: "head", 0.25: "all"}),
        ({"schedule": "gradual"}, {0.0: "head", 0.5: "some", 0.99: "all"}),
        ({"rate_decay": 0.5}, {0.0: "all"}),
    ],
)
def test_schedules_freeze_and_unfreeze_from_the_head_on(
    choices: dict[str, Any], expected: dict[float, str]
) -> None:
    module, head = new_network(NETWORK, TASK, VOLUME, 0)
    found = groups(module, Variant(name="x", **choices), head, SHAPE)
    everything = {name for name, _ in module.named_parameters()}
    names = [name for group in found for name in group.names]
    assert sorted(names) == sorted(everything), "every parameter is in one group"
    for done, what in expected.items():
        learning = {name for group in found for name in group.names if group.factor(done) > 0}
        assert learning >= head
        assert {
            "head": learning == head,
            "some": head < learning < everything,
            "all": learning == everything,
        }[what]


def test_discriminative_rates_fall_towards_the_input() -> None:
    module, head = new_network(NETWORK, TASK, VOLUME, 0)
    found = groups(module, Variant(name="x", rate_decay=0.5), head, SHAPE)
    assert [group.factor(0.3) for group in found] == [1.0, 0.5, 0.25, 0.125, 0.0625]
    assert set(found[0].names) == head
    assert "convInit.conv.weight" in found[-1].names
    assert len(blocks(module, head, SHAPE)) == 4


def test_rates_reach_the_optimizer_and_a_frozen_group_stays() -> None:
    module, head = new_network(NETWORK, TASK, VOLUME, 0)
    way = Variant(name="x", schedule="head first")
    before = {name: value.clone() for name, value in module.state_dict().items()}
    training = Training(module, Squares(), course(epochs=4), groups(module, way, head, SHAPE))
    changes = []
    for _ in training.run(lambda epoch: [batch(PATCH)]):
        now = module.state_dict()
        changes.append({n for n in before if not torch.equal(now[n], before[n])})
    assert changes[0] == head
    assert changes[1] > head
