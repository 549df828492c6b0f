"""The network: built by name, weights as safetensors, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers_dicom import TASK

from audit.errors import Unreadable, WrongUse
from stages import network
from stages.params import Network, Numerics, Volume

TINY = Network(
    arguments={"init_filters": 4, "blocks_down": (1, 1), "blocks_up": (1,), "norm": "INSTANCE"}
)


VOLUME = Volume(patch=(16, 16, 8))
SMALL = Volume(patch=(8, 8, 8))


def _build(seed: int = 0, channels_out: int = 3) -> torch.nn.Module:
    torch.manual_seed(seed)
    return network.assemble(TINY, SMALL, channels=channels_out)


@pytest.mark.rule("NET-1")
@pytest.mark.parametrize(
    ("target", "arguments"),
    [
        ("monai.networks.nets.SegResNet", {"init_filters": 8}),
        ("monai.networks.nets.UNet", {"channels": (4, 8), "strides": (2,)}),
    ],
)
def test_networks_by_name_answer_one_channel_a_class_on_the_same_grid(
    target: str, arguments: dict[str, object]
) -> None:
    made = network.build(Network(_target_=target, arguments=arguments), TASK, VOLUME)
    network.check_takes(made, VOLUME.patch, 3, 0)
    assert made.training, "the check leaves the mode as it was"


@pytest.mark.rule("NET-1")
@pytest.mark.parametrize(
    "target", ["monai.networks.nets.NoSuchNet", "no_such_package.Net", "Net", "pathlib.Path"]
)
def test_a_class_that_is_not_there_or_no_module_is_wrong_use(target: str) -> None:
    with pytest.raises(WrongUse, match=r"no class|not a torch module"):
        network.build(Network(_target_=target), TASK, VOLUME)


@pytest.mark.rule("NET-1")
def test_refused_arguments_and_patches_are_wrong_use() -> None:
    with pytest.raises(WrongUse, match="refuses its arguments"):
        network.build(Network(arguments={"no_such_argument": 1}), TASK, VOLUME)
    deep = Network(
        _target_="monai.networks.nets.UNet",
        arguments={"channels": (4, 8, 8, 8, 8), "strides": (2, 2, 2, 2)},
    )
    with pytest.raises(WrongUse, match="cannot take a patch"):
        network.build(deep, TASK, Volume(patch=(24, 24, 8)))
    with pytest.raises(WrongUse, match="answers a patch"):
        network.check_takes(_build(channels_out=3), (8, 8, 8), 2, 0)


@pytest.mark.rule("NET-2")
def test_same_weights_give_the_same_bytes_in_any_memory_format(tmp_path: Path) -> None:
    made = _build()
    network.save(made, tmp_path / "a" / "model.safetensors")
    digest = network.weights_sha256(made)
    network.save(made.to(memory_format=torch.channels_last_3d), tmp_path / "b.safetensors")
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (
        tmp_path / "b.safetensors"
    ).read_bytes()
    assert network.weights_sha256(made) == digest
    other = _build(seed=1)
    assert network.weights_sha256(other) != digest
    network.load(other, tmp_path / "b.safetensors")
    assert network.weights_sha256(other) == digest


@pytest.mark.rule("NET-3")
def test_weights_of_another_network_are_refused_and_change_nothing(tmp_path: Path) -> None:
    network.save(_build(channels_out=2), tmp_path / "two.safetensors")
    target = _build(channels_out=3)
    before = network.weights_sha256(target)
    with pytest.raises(Unreadable, match="do not fit"):
        network.load(target, tmp_path / "two.safetensors")
    (tmp_path / "torn.safetensors").write_bytes((tmp_path / "two.safetensors").read_bytes()[:100])
    with pytest.raises(Unreadable, match="not readable"):
        network.load(target, tmp_path / "torn.safetensors")
    assert network.weights_sha256(target) == before


def test_parameters_are_counted_and_frozen_ones_apart() -> None:
    made = torch.nn.Linear(3, 2)
    made.bias.requires_grad_(False)
    assert network.parameters_count(made) == 8
    assert network.parameters_count(made, trained_only=True) == 6


@pytest.mark.rule("NET-4")
def test_pinned_seeds_and_gives_everything_back() -> None:
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    drawn = []
    for _ in range(2):
        with network.pinned(Numerics(threads=3, seed=11)):
            assert torch.get_num_threads() == 3
            assert torch.are_deterministic_algorithms_enabled()
            drawn.append(torch.rand(4))
    assert torch.equal(drawn[0], drawn[1])
    assert torch.get_num_threads() == threads
    assert torch.are_deterministic_algorithms_enabled() == strict
    assert torch.equal(torch.get_rng_state(), before)


def test_the_predictor_gives_the_networks_logits_in_evaluation_mode() -> None:
    made = _build()
    window = np.random.default_rng(0).normal(size=(1, 1, 8, 8, 8)).astype(np.float32)
    logits = network.predictor(made)(window)
    made.eval()
    with torch.no_grad():
        expected = made(torch.from_numpy(window)).numpy()
    assert logits.dtype == np.float32
    assert np.allclose(logits, expected, atol=1e-5)
