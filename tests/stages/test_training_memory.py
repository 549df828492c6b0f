"""The estimate of training memory, against processes that train."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from audit.errors import WrongUse
from stages.training_memory import training_mib

NETS = "monai.networks.nets."
PATCH = (32, 64, 64)
CASES: list[tuple[str, dict[str, Any]]] = [
    ("SegResNet", {"init_filters": 16}),
    ("UNet", {"channels": (32, 64, 128)}),
    ("DynUNet", {"filters": (32, 64, 128)}),
]
TRAIN = """
import importlib, resource, sys, torch
from monai.losses.dice import DiceCELoss
from stages.network_defaults import arguments
name, given, patch = sys.argv[1], eval(sys.argv[2]), eval(sys.argv[3])
torch.set_num_threads(1)
cls = getattr(importlib.import_module("monai.networks.nets"), name)
found = arguments(name, cls, dims=3, channels_out=3, patch=patch, given=given)
module = cls(**found).train().to(memory_format=torch.channels_last_3d)
optimizer, loss = torch.optim.AdamW(module.parameters()), DiceCELoss(to_onehot_y=True, softmax=True)
images = torch.randn((2, 1, *patch)).contiguous(memory_format=torch.channels_last_3d)
for _ in range(2):
    optimizer.zero_grad()
    loss(module(images), (images > 0).float()).backward()
    optimizer.step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "given"), CASES, ids=[name for name, _ in CASES])
def test_a_training_process_takes_what_was_estimated(name: str, given: dict[str, Any]) -> None:
    command = [sys.executable, "-W", "ignore", "-c", TRAIN, name, repr(given), repr(PATCH)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    measured = int(done.stdout)
    estimated = training_mib(NETS + name, given, channels_out=3, patch=PATCH, batch=2)
    assert 0.8 * measured < estimated < 1.35 * measured, (measured, estimated)


@pytest.mark.parametrize(("name", "given"), CASES, ids=[name for name, _ in CASES])
def test_memory_grows_with_patch_and_batch(name: str, given: dict[str, Any]) -> None:
    def mib(patch: tuple[int, int, int], batch: int) -> int:
        return training_mib(NETS + name, given, channels_out=3, patch=patch, batch=batch)

    one, twice, larger = mib(PATCH, 1), mib(PATCH, 2), mib((32, 64, 128), 1)
    assert one < twice
    assert twice == pytest.approx(larger, rel=0.02), "a voxel is a voxel"


def test_classifiers_and_planar_networks_are_estimated_too() -> None:
    for target, patch in (("ResNet", (16, 32, 32)), ("DenseNet121", (1, 64, 64))):
        assert training_mib(NETS + target, {}, channels_out=3, patch=patch, batch=2) > 600


@pytest.mark.parametrize(
    ("target", "patch"), [("no.such.Net", PATCH), (NETS + "SwinUNETR", (8, 8, 8))]
)
def test_a_network_that_cannot_be_planned_is_wrong_use(
    target: str, patch: tuple[int, int, int]
) -> None:
    with pytest.raises(WrongUse, match="cannot be planned"):
        training_mib(target, {}, channels_out=3, patch=patch, batch=1)
