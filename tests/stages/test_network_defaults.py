"""Defaults of networks: enough to build each named class, and to get the right answer from it."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch

from stages.network_defaults import arguments, kernels, strides

NETS = "monai.networks.nets."
SEGMENTATION = [
    ("SegResNet", 3, (8, 16, 16)),
    ("SegResNet", 2, (1, 16, 24)),
    ("SegResNetDS", 3, (8, 16, 16)),
    ("UNet", 3, (8, 24, 40)),
    ("UNet", 2, (1, 40, 24)),
    ("AttentionUnet", 3, (8, 16, 16)),
    ("BasicUNet", 3, (16, 16, 32)),
    ("DynUNet", 3, (8, 24, 40)),
    ("DynUNet", 2, (1, 72, 40)),
    ("VNet", 3, (16, 16, 16)),
    ("FlexibleUNet", 2, (1, 32, 32)),
    ("SwinUNETR", 3, (32, 32, 64)),
    ("SwinUNETR", 2, (1, 32, 64)),
    ("UNETR", 3, (16, 16, 32)),
]
CLASSIFICATION = [
    ("ResNet", 3, (8, 16, 16)),
    ("ResNet", 2, (1, 64, 64)),
    ("DenseNet", 3, (8, 16, 32)),
    ("DenseNet121", 2, (1, 32, 32)),
    ("SEResNet50", 2, (1, 32, 32)),
    ("EfficientNet", 2, (1, 40, 32)),
    ("EfficientNetBN", 3, (32, 32, 32)),
    ("ViT", 3, (8, 16, 24)),
    ("ViT", 2, (1, 64, 48)),
]


ATTENTION = ("ViT", "SwinUNETR", "UNETR")


def _ids(case: Any) -> str:
    return str(case).replace(" ", "")


def _answer(name: str, dims: int, patch: tuple[int, ...], out: int, **given: Any) -> torch.Tensor:
    if name in ATTENTION:
        pytest.importorskip("einops")  # MONAI's attention blocks need it
    cls = getattr(importlib.import_module(NETS[:-1]), name)
    found = arguments(NETS + name, cls, dims=dims, channels_out=out, patch=patch, given=given)
    module = cls(**found).eval()
    with torch.no_grad():
        answer = module(torch.zeros((2, 1, *patch[-dims:])))
    scores: torch.Tensor = answer[0] if isinstance(answer, tuple) else answer  # ViT's: (scores, …)
    return scores


@pytest.mark.rule("NDF-2")
@pytest.mark.parametrize(("name", "dims", "patch"), SEGMENTATION, ids=_ids)
def test_a_segmenting_network_answers_on_the_same_grid(
    name: str, dims: int, patch: tuple[int, ...]
) -> None:
    assert _answer(name, dims, patch, 3).shape == (2, 3, *patch[-dims:])


@pytest.mark.rule("NDF-2")
@pytest.mark.parametrize(("name", "dims", "patch"), CLASSIFICATION, ids=_ids)
def test_a_classifying_network_answers_one_score_a_class(
    name: str, dims: int, patch: tuple[int, ...]
) -> None:
    assert _answer(name, dims, patch, 5).shape == (2, 5)


@pytest.mark.parametrize("name", ["UNet", "DynUNet"])
def test_a_u_net_trains_on_the_smallest_patch(name: str) -> None:
    cls = getattr(importlib.import_module(NETS[:-1]), name)
    found = arguments(NETS + name, cls, dims=3, channels_out=2, patch=(8, 8, 8), given={})
    module = cls(**found).train()
    module(torch.zeros((1, 1, 8, 8, 8))).sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


@pytest.mark.rule("NDF-1")
@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("SegResNet", {"init_filters": 16, "blocks_down": (1, 1), "blocks_up": (1,)}),
        ("UNet", {"channels": (4, 8)}),
        ("UNet", {"strides": (2, 2)}),
        ("UNet", {"channels": (4, 8, 8, 8, 8), "strides": (2, 2, 1, 1)}),
        ("DynUNet", {"filters": (4, 8, 8)}),
        ("DynUNet", {"strides": (1, 2, 2), "filters": (4, 8, 8)}),
        ("DynUNet", {"kernel_size": (3, 3, 3, 3), "res_block": True}),
        ("AttentionUnet", {"channels": (4, 8, 8)}),
    ],
    ids=_ids,
)
def test_given_arguments_win_and_the_rest_fits_them(name: str, given: dict[str, Any]) -> None:
    cls = getattr(importlib.import_module(NETS[:-1]), name)
    found = arguments(NETS + name, cls, dims=3, channels_out=3, patch=(8, 16, 16), given=given)
    assert {key: found[key] for key in given} == given
    assert _answer(name, 3, (8, 16, 16), 3, **given).shape == (2, 3, 8, 16, 16)


class _Base:
    def __init__(self, in_channels: int, num_classes: int = 2) -> None: ...


class _Child(_Base):
    def __init__(self, width: int = 4, **kwargs: Any) -> None: ...


class _Closed(_Base):
    def __init__(self, out_channels: int) -> None: ...


@pytest.mark.rule("NDF-2")
@pytest.mark.parametrize(
    ("cls", "expected"),
    [
        (_Base, {"in_channels": 1, "num_classes": 7}),
        (_Child, {"in_channels": 1, "num_classes": 7}),
        (_Closed, {"out_channels": 7}),
    ],
)
def test_any_class_gets_the_arguments_that_it_names(cls: type, expected: dict[str, int]) -> None:
    found = arguments("my.UNet", cls, dims=3, channels_out=7, patch=(8, 8, 8), given={})
    assert found == expected


@pytest.mark.rule("NDF-3")
@pytest.mark.parametrize("name", ["DenseNet121", "EfficientNetBN", "FlexibleUNet", "SEResNet50"])
def test_nothing_is_downloaded(name: str) -> None:
    cls = getattr(importlib.import_module(NETS[:-1]), name)
    found = arguments(NETS + name, cls, dims=2, channels_out=2, patch=(1, 32, 32), given={})
    assert found["pretrained"] is False


THICK = [(1, 2, 2), (1, 2, 2), (2, 2, 2)]


@pytest.mark.parametrize(
    ("patch", "spacing", "expected"),
    [
        ((64, 64, 64), (1, 1, 1), [(2, 2, 2)] * 4),
        ((16, 64, 64), (1, 1, 1), [(2, 2, 2), (2, 2, 2), (1, 2, 2), (1, 2, 2)]),
        ((16, 64, 64), (5, 1, 1), [*THICK, (2, 2, 2)]),
        ((8, 8, 8), (1, 1, 1), [(2, 2, 2)] * 2),
        ((40, 40, 40), (1, 1, 1), [(2, 2, 2)] * 3),
        ((256, 256, 256), (1, 1, 1), [(2, 2, 2)] * 5),
        ((512, 512), (1, 1), [(2, 2)] * 6),
    ],
)
def test_sides_are_halved_as_nnu_net_plans(
    patch: tuple[int, ...], spacing: tuple[float, ...], expected: list[tuple[int, ...]]
) -> None:
    assert strides(patch, spacing) == expected


def test_kernels_do_not_reach_across_thick_slices() -> None:
    assert kernels(THICK, (5, 1, 1)) == [(1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3)]
