"""Which split a labeled subject belongs to. Pure decisions, no I/O.

A subject's **place** is a number in [0, 1) drawn by HMAC-SHA-256 from its pseudonym under the
seed. The places below `fractions.test` are the test split, the next `fractions.validation` the
validation split, the rest train. Within a vendor, sorted by place, the splits are thus three runs
in a row; where a vendor with three or more labeled subjects would leave a run empty, the boundary
moves by the one or two ranks that fill it. Where subjects have classes, those of one vendor and one
class are parted so by themselves if they are three or more; a vendor's others are parted together
(the subject that makes a class three moves at most six of its vendor).

Why thresholds and not exact shares (ranks with quotas): a subject's split must not hang on who
else is in the cohort. With quotas a subject more (or one erased) moves another across the border of
the locked test split in every third case; with thresholds it moves nobody, as long as no vendor is
at its minimum, and never more than two, of its own vendor. The price is that shares are met in
expectation only; the stage shows the counts and its gate holds the minimum.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter, defaultdict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from stages.dataset.params import Fractions

Split = Literal["train", "validation", "test", "unlabeled", "excluded"]
MIN_FOR_ALL = 3
"""Labeled subjects from which on a vendor stands in every split."""


def place(subject: str, seed: int) -> float:
    """A subject's own number in [0, 1): 53 bits of HMAC-SHA-256(seed, pseudonym)."""
    drawn = hmac.digest(str(seed).encode(), subject.encode(), hashlib.sha256)
    return (int.from_bytes(drawn[:8], "big") >> 11) / 2**53


def assign(
    vendors: Mapping[str, str],
    fractions: Fractions,
    seed: int,
    classes: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Split]:
    """Part labeled subjects.

    Args:
        vendors: labeled subject → its vendor.
        fractions: expected shares.
        seed: parts the cohort anew.
        classes: subject → its class, where it has one.

    Returns:
        Subject → "train", "validation" or "test".
    """
    alike = Counter((vendor, classes.get(subject, "")) for subject, vendor in vendors.items())
    strata = defaultdict(list)
    for subject, vendor in vendors.items():
        known = classes.get(subject, "")
        own = known if alike[vendor, known] >= MIN_FOR_ALL else ""
        strata[vendor, own].append((place(subject, seed), subject))
    splits: dict[str, Split] = {}
    for stratum in strata.values():
        stratum.sort()
        to_test, to_validation = _boundaries([at for at, _ in stratum], fractions)
        for rank, (_, subject) in enumerate(stratum):
            splits[subject] = (
                "test" if rank < to_test else "validation" if rank < to_validation else "train"
            )
    return splits


def _boundaries(places: list[float], fractions: Fractions) -> tuple[int, int]:
    """Ranks at which the test and the validation split of one vendor end."""
    count = len(places)
    to_test = sum(at < fractions.test for at in places)
    to_validation = sum(at < fractions.test + fractions.validation for at in places)
    if count >= MIN_FOR_ALL:
        to_test = min(max(to_test, 1), count - 2)
        to_validation = min(max(to_validation, to_test + 1), count - 1)
    return to_test, to_validation
