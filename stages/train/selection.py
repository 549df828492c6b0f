"""The choice of the variant: a rule that stands before the results do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def select(below: Mapping[str, float], order: Sequence[str], margin: float) -> str:
    """The simplest variant that is not inferior to the best one.

    Args:
        below: variant → how far its score lies below the best one's: by its mean, or at the worst.
        order: the variants, the simplest first.
        margin: of non-inferiority; a variant exactly at the margin is within it. Where none is (by
            the worst case, the best itself may not be told from others), the first of those that
            lie least below.
    """
    least = max(margin, min(round(below[name], 6) for name in order))
    return next(name for name in order if round(below[name], 6) <= least)


def benefit(scores: Mapping[str, float], pretrained: frozenset[str]) -> tuple[str, str] | None:
    """The best variant with pre-training, and the best without; None unless both were tried."""
    with_it = [name for name in scores if name in pretrained]
    without = [name for name in scores if name not in pretrained]
    if not with_it or not without:
        return None
    return max(with_it, key=scores.__getitem__), max(without, key=scores.__getitem__)
