"""Width and depth of the networks that are planned, as arguments of their classes. Pure.

Strides and kernels are left to `stages/network_defaults.py`, which derives them from the patch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from stages.fingerprint import Triple
from stages.network_defaults import strides
from stages.suggest_volume import Patch

Given = dict[str, Any]

WIDTHS = (32, 16, 8)
"""Filters of the first level to try, the widest first (nnU-Net: 32)."""


def _unet(width: int, patch: Patch, spacing: Triple) -> tuple[int, ...]:
    dims = 2 if patch[0] == 1 else 3
    levels = len(strides(patch[-dims:], spacing[-dims:])) + 1
    return tuple(min(width * 2**level, 512 if dims == 2 else 320) for level in range(levels))


def _segresnet(width: int, patch: Patch, spacing: Triple) -> Given:  # noqa: ARG001 - a table's
    side = min(size for size in patch if size > 1)
    levels = min(4, int(math.log2(side / 4)) + 1)
    return {
        "init_filters": width,
        "blocks_down": (1, 2, 2, 4)[:levels],
        "blocks_up": (1, 1, 1)[: levels - 1],
    }


ARGUMENTS: dict[str, Callable[[int, Patch, Triple], Given]] = {
    "SegResNet": _segresnet,
    "UNet": lambda *args: {"channels": _unet(*args)},
    "AttentionUnet": lambda *args: {"channels": _unet(*args)},
    "DynUNet": lambda *args: {"filters": _unet(*args)},
}
"""Networks whose width and depth are planned; strides and kernels follow when they are built."""
