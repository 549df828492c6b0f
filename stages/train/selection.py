"""The choice of the variant: a rule that stands before the results do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def select(scores: Mapping[str, float], order: Sequence[str], margin: float) -> str:
    """The simplest variant whose score is not more than the margin below the best.

    Args:
        scores: variant → validation score.
        order: the variants, the simplest first.
        margin: of non-inferiority; a variant exactly at the margin is within it.
    """
    best = max(scores.values())
    return next(name for name in order if round(best - scores[name], 6) <= margin)


def benefit(scores: Mapping[str, float], pretrained: frozenset[str]) -> float | None:
    """Best score with pre-training less the best without; None unless both were tried."""
    with_it = [value for name, value in scores.items() if name in pretrained]
    without = [value for name, value in scores.items() if name not in pretrained]
    return max(with_it) - max(without) if with_it and without else None
