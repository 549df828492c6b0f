"""Arguments of a network's class: what the parameters leave out, from task, patch and spacing.

Pure; imports neither torch nor MONAI.

Rules:

- NDF-1  Arguments that the parameters give win over every default.
- NDF-2  A class gets only arguments that its signature (or, behind `**kwargs`, its bases')
         names; so any class with `spatial_dims`, `in_channels` and `out_channels` under one of
         their known names can be used.
- NDF-3  Nothing is downloaded: `pretrained` is false unless given.

Sources: strides and kernels of DynUNet and UNet as nnU-Net plans them (Isensee et al. 2021,
doi:10.1038/s41592-020-01008-z, Supplementary Note 2), ViT's size DeiT-S (Touvron et al. 2021),
EfficientNet's blocks B0 (Tan and Le 2019), ResNet's layers ResNet-18 (He et al. 2016).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Sizes = tuple[int, ...]

_LEVELS = {2: 7, 3: 6}
"""Most resolutions of a U-Net, by dimensions (nnU-Net's usual plans)."""
_LEAST_SIDE = 8
"""Shortest side that is still halved (nnU-Net: no side falls below four voxels)."""
_LEAST_STEPS = 2
"""DynUNet has three resolutions or more: for these a side may fall to two voxels."""
_B0 = (
    "r1_k3_s11_e1_i32_o16_se0.25",
    "r2_k3_s22_e6_i16_o24_se0.25",
    "r2_k5_s22_e6_i24_o40_se0.25",
    "r3_k3_s22_e6_i40_o80_se0.25",
    "r3_k5_s11_e6_i80_o112_se0.25",
    "r4_k5_s22_e6_i112_o192_se0.25",
    "r1_k3_s11_e6_i192_o320_se0.25",
)


@dataclass(frozen=True)
class Wanted:
    """What is known when a network is built."""

    dims: int
    """2 (rows, columns) or 3 (slices, rows, columns)."""
    channels_out: int
    """Of a segmentation, the background included; or classes."""
    patch: Sizes
    """One size a dimension, in voxels."""
    spacing_mm: tuple[float, ...]
    """One a dimension; only their ratios count."""
    given: Mapping[str, Any]
    """Arguments of the parameters."""


def arguments(
    target: str,
    cls: type,
    *,
    dims: int,
    channels_out: int,
    patch: Sizes,
    given: Mapping[str, Any],
    spacing_mm: tuple[float, ...] | None = None,
) -> dict[str, Any]:
    """Full keyword arguments of a network's class.

    Args:
        target: dotted name of the class, as in the parameters; its last part names the defaults.
        cls: the class itself.
        dims: 2 or 3.
        channels_out: channels of a segmentation, the background included; or classes.
        patch: (slices, rows, columns), or (rows, columns); a planar network sees the last two.
        given: arguments of the parameters (NDF-1).
        spacing_mm: of the patch, in the same order; None takes voxels as cubes.
    """
    wanted = Wanted(
        dims,
        channels_out,
        tuple(patch[-dims:]),
        tuple((spacing_mm or (1.0,) * len(patch))[-dims:]),
        given,
    )
    name = target.rpartition(".")[2]
    own = _BY_CLASS.get(name, _none)(wanted) if cls.__module__.startswith("monai.") else {}
    known = _names(cls)
    defaults = {key: value for key, value in (_roles(wanted) | own).items() if key in known}
    return defaults | dict(given)


def strides(patch: Sizes, spacing_mm: tuple[float, ...], levels: int | None = None) -> list[Sizes]:
    """Steps between the resolutions of a U-Net, one an axis; a step of ones keeps the resolution.

    An axis is halved while it is even and long enough, and while its voxels are not more than twice
    as long as the shortest: thick slices are left alone until the others have caught up.

    Args:
        patch: one size a dimension.
        spacing_mm: one a dimension.
        levels: resolutions wanted, the first included; None takes as many as the patch has, at
            least three.
    """
    steps: list[Sizes] = []
    sizes, spacing = patch, spacing_mm
    while len(steps) < (levels or _LEVELS[len(patch)]) - 1:
        least = _LEAST_SIDE if levels is None and len(steps) >= _LEAST_STEPS else 4
        step = tuple(
            2 if size >= least and size % 2 == 0 and length <= 2 * min(spacing) else 1
            for size, length in zip(sizes, spacing, strict=True)
        )
        if levels is None and max(step) == 1:
            break
        steps.append(step)
        sizes = tuple(size // by for size, by in zip(sizes, step, strict=True))
        spacing = tuple(length * by for length, by in zip(spacing, step, strict=True))
    return steps


def kernels(steps: Sequence[Sizes], spacing_mm: tuple[float, ...]) -> list[Sizes]:
    """Kernels of a U-Net's resolutions: 3, but 1 along axes of thick voxels (nnU-Net)."""
    found, spacing = [], spacing_mm
    for step in steps:
        thin = 2 * min(spacing)
        found.append(tuple(3 if length <= thin else 1 for length in spacing))
        spacing = tuple(length * by for length, by in zip(spacing, step, strict=True))
    return [*found, (3,) * len(spacing_mm)]


def _roles(wanted: Wanted) -> dict[str, Any]:
    """Arguments whose names say what they are, in any class."""
    return {
        "spatial_dims": wanted.dims,
        "in_channels": 1,
        "n_input_channels": 1,
        "out_channels": wanted.channels_out,
        "num_classes": wanted.channels_out,
        "img_size": wanted.patch,
        "pretrained": False,
    }


def _none(_: Wanted) -> dict[str, Any]:
    return {}


def _levels(given: Mapping[str, Any], of_levels: tuple[str, ...], of_steps: str) -> int | None:
    """Resolutions that the given arguments speak of."""
    counts = [len(given[name]) for name in of_levels if name in given]
    counts += [len(given[of_steps]) + 1] if of_steps in given else []
    return counts[0] if counts else None


def _unet(wanted: Wanted) -> dict[str, Any]:
    levels = _levels(wanted.given, ("channels",), "strides")
    steps = strides(wanted.patch, wanted.spacing_mm, levels or 5)
    if levels is None:
        steps = [step for step in steps if max(step) > 1]
    channels = tuple(min(16 * 2**level, 256) for level in range(len(steps) + 1))
    return {"channels": channels, "strides": tuple(steps), "num_res_units": 2}


def _dynunet(wanted: Wanted) -> dict[str, Any]:
    levels = _levels(wanted.given, ("filters", "kernel_size", "strides"), "upsample_kernel_size")
    steps = strides(wanted.patch, wanted.spacing_mm, levels)
    own = wanted.given.get("strides", ())[1:]
    return {
        "kernel_size": kernels(steps, wanted.spacing_mm),
        "strides": [(1,) * wanted.dims, *steps],
        "upsample_kernel_size": own or steps,
    }


def _resnet(wanted: Wanted) -> dict[str, Any]:
    return {
        "block": "basic",
        "layers": (2, 2, 2, 2),
        "block_inplanes": (64, 128, 256, 512),
        "conv1_t_stride": tuple(2 if size >= 64 else 1 for size in wanted.patch),
    }


def _densenet(wanted: Wanted) -> dict[str, Any]:
    """As many blocks as the shortest side can be halved: twice before them, once between two."""
    blocks = max(1, 1 + int(math.log2(min(wanted.patch) / 4)))
    return {"block_config": (6, 12, 24, 16)[:blocks]}


def _efficientnet(wanted: Wanted) -> dict[str, Any]:
    return {"blocks_args_str": list(_B0), "image_size": max(wanted.patch)}


def _vit(wanted: Wanted) -> dict[str, Any]:
    tokens = tuple(16 if size % 16 == 0 and size >= 64 else 8 for size in wanted.patch)
    return {
        "patch_size": tokens,
        "hidden_size": 384,
        "mlp_dim": 1536,
        "num_layers": 12,
        "num_heads": 6,
        "classification": True,
        "post_activation": None,
    }


_BY_CLASS: dict[str, Callable[[Wanted], dict[str, Any]]] = {
    "UNet": _unet,
    "AttentionUnet": _unet,
    "DynUNet": _dynunet,
    "ResNet": _resnet,
    "DenseNet": _densenet,
    "DenseNet121": _densenet,
    "EfficientNet": _efficientnet,
    "EfficientNetBN": lambda _: {"model_name": "efficientnet-b0"},
    "FlexibleUNet": lambda _: {"backbone": "efficientnet-b0"},
    "ViT": _vit,
}
"""MONAI's classes that need more than `_roles`, or are better with it (NDF-1)."""


def _names(cls: type) -> set[str]:
    """Keyword arguments of a class; of its bases too, where it hands `**kwargs` on (NDF-2)."""
    names: set[str] = set()
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        found = inspect.signature(vars(base)["__init__"]).parameters.values()
        names |= {one.name for one in found if one.kind is not one.VAR_KEYWORD}
        if not any(one.kind is one.VAR_KEYWORD for one in found):
            break
    return names - {"self", "args"}
