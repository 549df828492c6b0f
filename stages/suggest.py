"""A plan from a cohort's fingerprint and a memory budget: spacing, patch, network, batch.

Pure. The rules are nnU-Net's (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z, Supplementary
Note 2), where Kette's parameters allow; each choice carries its reason.

Rules:

- SUG-1  Training and labeling, as estimated, stay within the budget; else the plan is refused.
- SUG-2  Every choice has its reason.
- SUG-3  A suggestion decides nothing: it is text for `params.yaml`, which a person commits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from audit.errors import WrongUse
from stages.fingerprint import Fingerprint, Triple
from stages.params import Volume
from stages.suggest_network import ARGUMENTS, WIDTHS, Given
from stages.suggest_volume import (
    Patch,
    median_spacing,
    overlap,
    patches,
    resampled_size,
    target_spacing,
    target_window,
)
from stages.windows import held_bytes

Estimate = Callable[[Given, Patch, int], int]
"""(network's arguments, patch, batch) → MiB of training, see `stages/training_memory.py`."""
Fits = Callable[[int, Patch, int], bool]
"""(width, patch, batch) → whether they stay within the budget."""

ENOUGH = {3: 64**3, 2: 256**2}
"""Voxels of a patch, by dimensions, for which a network is not made narrower."""
LARGEST_BATCH = 16
SHARE_A_STEP = 0.05
"""Most of the cohort's voxels that one step may see (nnU-Net)."""
LABELING_MIB = 400
"""Of a process that labels, before it has a series."""
_STEP = {"SwinUNETR": 32, "UNETR": 16}
"""Sides of the patch are multiples of this; else of 8."""


@dataclass(frozen=True)
class Plan:
    """Sections of the parameters, and why."""

    volume: dict[str, Any]
    network: dict[str, Any]
    train: dict[str, Any]
    reasons: dict[str, str]
    """`section.key` → one sentence (SUG-2)."""
    training_mib: int
    labeling_mib: int


def suggest(
    found: Fingerprint,
    *,
    target: str,
    given: Mapping[str, Any],
    channels_out: int,
    memory_mib: int,
    estimate: Estimate,
) -> Plan:
    """Plan for a cohort.

    Args:
        found: the cohort.
        target: dotted class of the network, as in the parameters.
        given: its arguments there; they stay as they are for classes without a table of widths.
        channels_out: background included; or classes.
        memory_mib: budget of one process, training or labeling.
        estimate: of training.

    Raises:
        WrongUse: not even the smallest plan fits the budget.
    """
    spacing, why_spacing = target_spacing(found)
    sizes = resampled_size(found, spacing)
    window, why_window = target_window(found)
    voxel = spacing or median_spacing(found.spacings_mm)
    name = target.rpartition(".")[2]
    ladder = patches(sizes, voxel, _STEP.get(name, 8))

    def chosen(width: int, patch: Patch) -> Given:
        return ARGUMENTS[name](width, patch, voxel) if name in ARGUMENTS else dict(given)

    def labeling(patch: Patch, share: float = 0.5) -> int:
        return labeling_mib(found, spacing, Volume(patch=patch, overlap=share), channels_out)

    def fits(width: int, patch: Patch, batch: int) -> bool:
        need = estimate(chosen(width, patch), patch, batch)
        return max(need, labeling(patch)) <= memory_mib

    best = _search(ladder, WIDTHS if name in ARGUMENTS else WIDTHS[:1], fits)
    if best is None:
        least = max(estimate(chosen(WIDTHS[-1], ladder[-1]), ladder[-1], 1), labeling(ladder[-1]))
        raise WrongUse(
            f"{target} does not fit {memory_mib} MiB even with a patch of {ladder[-1]} voxels.",
            f"Give at least {least} MiB, or choose a smaller network.",
        )
    width, patch, batch = best
    batch, why_batch = _batch(found, sizes, patch, batch, lambda n: fits(width, patch, n))
    share, why_overlap = overlap(sizes, patch)
    arguments = chosen(width, patch)
    return Plan(
        volume={
            "spacing_mm": None if spacing is None else list(spacing),
            "window": None if window is None else list(window),
            "patch": list(patch),
            "overlap": share,
        },
        network={"_target_": target, "arguments": arguments},
        train={"batch": batch},
        reasons={
            "volume.spacing_mm": why_spacing,
            "volume.window": why_window,
            "volume.patch": _why_patch(sizes, patch, ladder[0], memory_mib),
            "volume.overlap": why_overlap,
            "network.arguments": _why_network(width, patch, deep=name in ARGUMENTS),
            "train.batch": why_batch,
        },
        training_mib=estimate(arguments, patch, batch),
        labeling_mib=labeling(patch, share),
    )


def labeling_mib(found: Fingerprint, spacing: Triple | None, volume: Volume, channels: int) -> int:
    """Peak memory of labeling the largest series: itself, prepared, its labels, sums of windows."""

    def bytes_of(shape: Patch, own: Triple) -> int:
        z, y, x = (
            max(1, round(n * have / want))
            for n, have, want in zip(shape, own, spacing or own, strict=True)
        )
        held = held_bytes((z, y, x), volume, channels)
        return 9 * math.prod(shape) + 9 * z * y * x + held

    series = zip(found.shapes, found.spacings_mm, strict=True)
    return LABELING_MIB + max(bytes_of(*one) for one in series) // 2**20


def _search(
    ladder: list[Patch], widths: tuple[int, ...], fits: Fits
) -> tuple[int, Patch, int] | None:
    """The widest network that sees enough; else the one that sees most; batches of two first."""
    for batch in (2, 1):
        tried: list[tuple[int, Patch, int]] = []
        for width in widths:
            patch = _largest(ladder, width, batch, fits)
            if patch is None:
                continue
            tried.append((width, patch, batch))
            enough = min(math.prod(ladder[0]), ENOUGH[2 if patch[0] == 1 else 3])
            if math.prod(patch) >= enough:
                return tried[-1]
        if tried:
            return max(tried, key=lambda one: math.prod(one[1]))  # of equals the widest
    return None


def _largest(ladder: list[Patch], width: int, batch: int, fits: Fits) -> Patch | None:
    """First patch that fits, by bisection: a shorter patch takes less."""
    low, high = 0, len(ladder)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(width, ladder[middle], batch) else (middle + 1, high)
    return ladder[low] if low < len(ladder) else None


def _batch(
    found: Fingerprint, sizes: Patch, patch: Patch, least: int, fits: Callable[[int], bool]
) -> tuple[int, str]:
    series = found.labeled or len(found.shapes)
    share = int(SHARE_A_STEP * series * math.prod(sizes) / math.prod(patch))
    most = max(2, min(LARGEST_BATCH, share, series))
    batch = least
    while batch < most and fits(batch + 1):
        batch += 1
    if batch < most:
        return batch, f"As many patches as fit the budget beside the network ({batch})."
    return batch, (
        "Two patches, the least for a steady gradient."
        if batch == 2
        else f"{batch} patches: no more than 5 % of the cohort's voxels a step."
    )


def _why_patch(sizes: Patch, patch: Patch, full: Patch, memory_mib: int) -> str:
    seen = "single slices, since the series have few" if patch[0] == 1 else "all axes"
    if patch == full:
        return f"Covers the median series of {_times(sizes)} voxels ({seen})."
    return (
        f"The largest that fits {memory_mib} MiB, near to a cube in mm, of a median series of "
        f"{_times(sizes)} voxels ({seen})."
    )


def _why_network(width: int, patch: Patch, *, deep: bool) -> str:
    if not deep:
        return "As they are: this class has no table of widths."
    narrow = "" if width == WIDTHS[0] else ", narrower than 32 so that the patch can be larger"
    return f"{width} filters at first{narrow}; as many levels as a patch of {_times(patch)} allows."


def _times(sizes: Patch) -> str:
    return " × ".join(str(size) for size in sizes)
