"""The choice among variants and the gate: tables, no training."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from stages.stage import Verdict
from stages.train.choice import gate
from stages.train.params import TrainParams
from stages.train.selection import benefit, select
from stages.train.significance import Interval
from stages.train.ways import RANDOM

ORDER = ("scratch", "frozen", "finetuned")


@pytest.mark.rule("TRN-5")
@pytest.mark.parametrize(
    ("scratch", "frozen", "finetuned", "margin", "chosen"),
    [
        (0.80, 0.85, 0.90, 0.01, "finetuned"),
        (0.90, 0.85, 0.80, 0.01, "scratch"),
        (0.89, 0.80, 0.90, 0.01, "scratch"),  # exactly at the margin
        (0.889999, 0.80, 0.90, 0.01, "finetuned"),  # just beyond it
        (0.80, 0.895, 0.90, 0.01, "frozen"),
        (0.90, 0.90, 0.90, 0.0, "scratch"),
        (0.0, 0.0, 0.0, 0.0, "scratch"),
        (0.5, 0.6, 0.9, 0.5, "scratch"),
    ],
)
def test_the_simplest_variant_within_the_margin_of_the_best_is_chosen(
    scratch: float, frozen: float, finetuned: float, margin: float, chosen: str
) -> None:
    dice = {"scratch": scratch, "frozen": frozen, "finetuned": finetuned}
    below = {name: max(dice.values()) - value for name, value in dice.items()}
    assert select(below, ORDER, margin) == chosen
    shuffled = {name: below[name] for name in ("finetuned", "scratch", "frozen")}
    assert select(shuffled, ORDER, margin) == chosen, "the declared order decides, no other"


@pytest.mark.rule("TRN-5")
def test_the_declared_order_says_what_is_simplest() -> None:
    assert select({"scratch": 0.0, "frozen": 0.0}, ("frozen", "scratch"), 0.01) == "frozen"


@pytest.mark.rule("TRN-5")
def test_where_all_may_be_worse_than_the_margin_the_least_worse_is_chosen() -> None:
    below = {"scratch": 0.2, "frozen": 0.05, "finetuned": 0.05}
    assert select(below, ORDER, 0.01) == "frozen"


@pytest.mark.parametrize(
    ("dice", "expected"),
    [
        ({"scratch": 0.8, "frozen": 0.7, "finetuned": 0.9}, ("finetuned", "scratch")),
        ({"scratch": 0.8, "frozen": 0.7}, ("frozen", "scratch")),
        ({"scratch": 0.8}, None),
        ({"finetuned": 0.8}, None),
    ],
)
def test_the_benefit_is_the_best_with_less_the_best_without(
    dice: dict[str, float], expected: tuple[str, str] | None
) -> None:
    ways = TrainParams().ways
    assert benefit(dice, frozenset(n for n in ways if ways[n].start != RANDOM)) == expected


@pytest.mark.rule("TRN-6")
@pytest.mark.rule("TRN-7")
@pytest.mark.parametrize(
    ("dice", "gained", "verdicts"),
    [
        (0.50, 0.05, [Verdict.PASSED, Verdict.PASSED]),
        (0.49, 0.05, [Verdict.REFUSED, Verdict.PASSED]),
        (0.90, 0.01, [Verdict.PASSED, Verdict.FINDINGS]),
        (0.90, -0.2, [Verdict.PASSED, Verdict.FINDINGS]),
        (0.90, None, [Verdict.PASSED]),
    ],
)
def test_the_gate_refuses_below_its_limit_and_says_where_pretraining_is_of_no_use(
    dice: float, gained: float | None, verdicts: list[Verdict]
) -> None:
    gain = None if gained is None else Interval(gained, gained - 0.1, gained + 0.1)
    found = gate("scratch", dice, gain, TrainParams(min_score=0.5, margin=0.01))
    assert [check.verdict for check in found.checks] == verdicts
    for check in found.checks:
        assert (check.remedy == "") == (check.verdict is Verdict.PASSED)
        assert "train." in check.limit
    if gained is not None and verdicts[1] is Verdict.FINDINGS:
        assert "no benefit" in found.checks[1].figure


@pytest.mark.rule("TRN-10")
def test_noise_that_can_be_drawn_again_is_a_finding() -> None:
    train = TrainParams(variants=("scratch", "private"))
    assert len(gate("scratch", 0.9, None, train).checks) == 1
    check = gate("private", 0.9, None, train).checks[-1]
    assert (check.rule, check.verdict) == ("TRN-10", Verdict.FINDINGS)


@pytest.mark.parametrize(
    "section",
    [
        {"variants": ()},
        {"variants": ("scratch", "scratch")},
        {"variants": ("no-such-way",)},
        {"epochs": 0},
        {"learning_rate": 0.0},
        {"margin": -0.1},
        {"no_such_key": 1},
        {"pretraining": {"mask_ratio": 1.0}},
    ],
)
def test_contradictory_parameters_are_refused(section: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TrainParams.model_validate(section)
