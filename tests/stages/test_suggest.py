"""Plans: each rule as a table, the budget held, and never a choice without its reason."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from audit.errors import WrongUse
from stages.fingerprint import Fingerprint, Triple
from stages.params import Network, Volume
from stages.suggest import Plan, suggest
from stages.suggest_volume import (
    overlap,
    patches,
    resampled_size,
    target_spacing,
    target_window,
)
from stages.windows import held_bytes

SEGRESNET, DYNUNET = "monai.networks.nets.SegResNet", "monai.networks.nets.DynUNet"


def cohort(
    shape: tuple[int, int, int] = (96, 256, 256),
    spacings: tuple[Triple, ...] = ((2.0, 1.0, 1.0),) * 8,
    **changes: Any,
) -> Fingerprint:
    figures: dict[str, Any] = {
        "modality": "CT",
        "subjects": len(spacings),
        "labeled": len(spacings),
        "shapes": (shape,) * len(spacings),
        "spacings_mm": spacings,
        "low": -57.3,
        "high": 163.2,
        "mean": 60.0,
        "deviation": 30.0,
        "shares": {"organ": 0.1},
    }
    return Fingerprint(**(figures | changes))


def estimate(given: dict[str, Any], patch: tuple[int, int, int], batch: int) -> int:
    """Memory as of a network whose every filter keeps eight values a voxel."""
    width = given.get("init_filters") or given.get("filters", (16,))[0]
    return 600 + 32 * width * batch * math.prod(patch) // 2**20


def planned(memory_mib: int, target: str = SEGRESNET, **changes: Any) -> Plan:
    found = changes.pop("found", cohort())
    return suggest(
        found,
        target=target,
        given=changes.pop("given", {}),
        channels_out=2,
        memory_mib=memory_mib,
        estimate=estimate,
    )


@pytest.mark.rule("SUG-1")
@pytest.mark.parametrize("memory_mib", [800, 1500, 4000, 16_000, 200_000])
@pytest.mark.parametrize("target", [SEGRESNET, DYNUNET])
def test_a_plan_stays_within_the_budget_and_is_valid(memory_mib: int, target: str) -> None:
    plan = planned(memory_mib, target)
    assert max(plan.training_mib, plan.labeling_mib) <= memory_mib
    volume = Volume.model_validate(plan.volume)
    Network.model_validate(plan.network)
    patch, batch = volume.patch, plan.train["batch"]
    assert plan.training_mib == estimate(plan.network["arguments"], patch, batch)


@pytest.mark.rule("SUG-1")
def test_more_memory_never_shows_less() -> None:
    plans = [planned(memory) for memory in (800, 1500, 4000, 16_000, 200_000)]
    seen = [
        plan.network["arguments"]["init_filters"] * math.prod(plan.volume["patch"])
        for plan in plans
    ]
    assert seen == sorted(seen)
    assert seen[0] < seen[-1]
    assert plans[-1].volume["patch"] == [96, 256, 256], "all of the median series"
    assert plans[-1].network["arguments"]["init_filters"] == 32


@pytest.mark.rule("SUG-1")
def test_a_budget_below_the_smallest_plan_is_refused_with_what_it_takes() -> None:
    with pytest.raises(WrongUse, match="does not fit 500 MiB") as error:
        planned(500)
    least = int(re.search(r"at least (\d+) MiB", error.value.diagnostics())[1])  # type: ignore[index]
    assert max(planned(least).training_mib, planned(least).labeling_mib) <= least
    with pytest.raises(WrongUse):
        planned(least - 1)


@pytest.mark.rule("SUG-2")
@pytest.mark.parametrize("target", [SEGRESNET, DYNUNET, "my.Net"])
def test_every_choice_has_its_reason(target: str) -> None:
    plan = planned(4000, target, given={"width": 3})
    sections = {"volume": plan.volume, "network": plan.network, "train": plan.train}
    keys = {f"{name}.{key}" for name, section in sections.items() for key in section}
    assert plan.reasons.keys() == keys - {"network._target_"}
    assert all(reason.endswith(".") for reason in plan.reasons.values())


def test_a_class_without_a_table_keeps_its_arguments() -> None:
    assert planned(4000, "my.Net", given={"width": 3}).network["arguments"] == {"width": 3}


def test_small_patches_make_shallow_networks() -> None:
    thin = planned(200_000, found=cohort((12, 64, 64), ((1.0, 1.0, 1.0),) * 8))
    assert thin.volume["patch"] == [16, 64, 64]
    assert thin.network["arguments"]["blocks_down"] == (1, 2, 2)
    assert len(thin.network["arguments"]["blocks_up"]) == 2


@pytest.mark.parametrize(
    ("shape", "spacings", "expected"),
    [
        ((96, 256, 256), ((1.0, 1.0, 1.0),) * 3, None),
        ((96, 256, 256), ((1.0, 1.0, 1.0), (1.02, 1.0, 1.0)), None),
        ((40, 256, 256), ((5.0, 1.0, 1.0),) * 3, (5.0, 1.0, 1.0)),
        ((96, 256, 256), ((1.0, 0.8, 0.8), (1.5, 0.8, 0.8), (2.0, 0.8, 0.8)), (1.5, 0.8, 0.8)),
        # Thick slices (> 3 times, and fewer than a third): the 10th percentile, nnU-Net.
        ((20, 256, 256), tuple((float(z), 0.8, 0.8) for z in range(3, 14)), (4.0, 0.8, 0.8)),
        # As thick, but no fewer: the median.
        ((200, 256, 256), tuple((float(z), 0.8, 0.8) for z in range(3, 14)), (8.0, 0.8, 0.8)),
    ],
)
def test_the_spacing_is_the_median_and_finer_across_thick_slices(
    shape: tuple[int, int, int], spacings: tuple[Triple, ...], expected: Triple | None
) -> None:
    assert target_spacing(cohort(shape, spacings))[0] == expected


def test_the_window_holds_the_structures_of_a_ct_alone() -> None:
    assert target_window(cohort())[0] == (-60.0, 170.0)
    assert target_window(cohort(low=5.0, high=5.0))[0] == (0.0, 10.0)
    assert target_window(cohort(modality="MR"))[0] is None


def test_the_size_follows_the_spacing() -> None:
    assert resampled_size(cohort(), None) == (96, 256, 256)
    assert resampled_size(cohort(), (1.0, 2.0, 1.0)) == (192, 128, 256)


@pytest.mark.parametrize(
    ("sizes", "spacing", "first", "last"),
    [
        ((20, 50, 60), (1.0, 1.0, 1.0), (24, 56, 64), (8, 8, 8)),
        ((4, 50, 60), (5.0, 1.0, 1.0), (1, 56, 64), (1, 8, 8)),
        ((1, 500, 600), (1.0, 1.0, 1.0), (1, 504, 600), (1, 8, 8)),
    ],
)
def test_patches_shrink_from_the_median_series_to_the_smallest(
    sizes: Any, spacing: Triple, first: Any, last: Any
) -> None:
    found = patches(sizes, spacing)
    assert (found[0], found[-1]) == (first, last)
    volumes = [math.prod(patch) for patch in found]
    assert volumes == sorted(volumes, reverse=True)
    for patch in found:
        Volume(patch=patch)


def test_a_patch_becomes_a_cube_in_mm() -> None:
    found = patches((64, 256, 256), (4.0, 1.0, 1.0))
    assert (32, 128, 128) in found
    assert (24, 96, 96) in found


def test_many_windows_overlap_less() -> None:
    assert overlap((96, 96, 96), (32, 32, 32))[0] == 0.5
    assert overlap((512, 512, 512), (32, 32, 32))[0] == 0.25


def test_what_windows_hold_does_not_depend_on_the_slices() -> None:
    asked = Volume(patch=(32, 64, 64))
    few, many = (held_bytes((slices, 512, 512), asked, 20) for slices in (128, 512))
    assert few == many
    assert many < 2**30
