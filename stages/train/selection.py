"""The choice of the variant: a rule that stands before the results do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean


def mean_dice(structures: Mapping[str, float | None]) -> float | None:
    """Mean over the structures that validation could measure; None if there is none."""
    known = [dice for dice in structures.values() if dice is not None]
    return fmean(known) if known else None


def select(dice: Mapping[str, float], order: Sequence[str], margin: float) -> str:
    """The simplest variant whose Dice is not more than the margin below the best.

    Args:
        dice: variant → mean validation Dice.
        order: the variants, the simplest first.
        margin: of non-inferiority; a variant exactly at the margin is within it.
    """
    best = max(dice.values())
    return next(name for name in order if round(best - dice[name], 6) <= margin)


def benefit(dice: Mapping[str, float], pretrained: frozenset[str]) -> float | None:
    """Best Dice with pre-training less the best without; None unless both were tried."""
    with_it = [value for name, value in dice.items() if name in pretrained]
    without = [value for name, value in dice.items() if name not in pretrained]
    return max(with_it) - max(without) if with_it and without else None
