"""How sure a comparison is: intervals and paired tests over subjects and seeds.

All variants were validated on the same subjects, with the same seeds; so each resample draws
subjects, and seeds, once for all of them, and differences are paired. Percentile intervals (Efron
and Tibshirani 1993, chapter 13); a test's p is twice the smaller share of resamples on either side
of zero; several tests are corrected by Holm's method (1979).

The validation split chose each variant's epoch, so scores on it are a little high for all alike;
the differences between variants are what these figures are for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.params import Task
from stages.train.scores import Outcome

Array = NDArray[np.float64]
Trials = Mapping[str, Sequence[Sequence[Outcome]]]
"""Variant → for each seed, in one order for all, its outcomes."""


@dataclass(frozen=True)
class Interval:
    """A figure, and where it lies with the declared confidence."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Compared:
    """A variant beside the best one."""

    score: Interval
    difference: Interval
    """Its score less the best one's."""
    p: float
    """That there is no difference, corrected for how many variants were compared."""


class Resampled:
    """The scores of all variants, on the cases that were and on every resample of them."""

    def __init__(self, trials: Trials, task: Task, *, resamples: int, seed: int) -> None:
        """Draw.

        Args:
            trials: of every variant.
            task: what the outcomes are of.
            resamples: number of samples.
            seed: the same seed draws the same samples.
        """
        subjects = sorted({o.subject for runs in trials.values() for run in runs for o in run})
        seeds = min(len(runs) for runs in trials.values())
        random = np.random.default_rng(seed)
        count = len(subjects)
        drawn = random.multinomial(count, np.full(count, 1 / count), size=resamples)
        weights = np.vstack([np.ones(count), drawn]).astype(np.float64)
        turned = random.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples)
        turns: Array = np.vstack([np.ones(seeds), turned]) / seeds
        self._scores: dict[str, Array] = {
            name: np.sum(
                [
                    turns[:, place] * _score(runs[place], task, subjects, weights)
                    for place in range(seeds)
                ],
                axis=0,
            )
            for name, runs in trials.items()
        }

    def mean(self, name: str) -> float:
        """The score on the cases that were, the mean over seeds."""
        return round(float(self._scores[name][0]), 6)

    def interval(self, name: str, confidence: float, *, less: str | None = None) -> Interval:
        """Of a variant's score, or of its score less another's."""
        return _interval(self._values(name, less), confidence)

    def p(self, name: str, other: str) -> float:
        """Of no difference between two variants, for one test."""
        drawn = self._values(name, other)[1:]
        drawn = drawn[np.isfinite(drawn)]
        if not drawn.size:
            return 1.0
        sides = (1 + np.array([(drawn <= 0).sum(), (drawn >= 0).sum()])) / (1 + drawn.size)
        return round(min(1.0, 2 * float(sides.min())), 6)

    def _values(self, name: str, less: str | None) -> Array:
        values: Array = self._scores[name]
        return values if less is None else values - self._scores[less]


def compare(resampled: Resampled, names: Sequence[str], confidence: float) -> dict[str, Compared]:
    """Every variant beside the best (the first of equals)."""
    best = max(names, key=resampled.mean)
    p = holm({name: resampled.p(name, best) for name in names if name != best}) | {best: 1.0}
    return {
        name: Compared(
            resampled.interval(name, confidence),
            resampled.interval(name, confidence, less=best),
            p[name],
        )
        for name in names
    }


def holm(tests: Mapping[str, float]) -> dict[str, float]:
    """Correct p-values for how many they are, keeping the chance of one false find."""
    corrected, least = {}, 0.0
    for place, name in enumerate(sorted(tests, key=lambda name: tests[name])):
        least = max(least, min(1.0, tests[name] * (len(tests) - place)))
        corrected[name] = round(least, 6)
    return corrected


def _interval(values: Array, confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    drawn = values[1:][np.isfinite(values[1:])]
    low, high = np.quantile(drawn, [tail, 1 - tail]) if drawn.size else (values[0], values[0])
    return Interval(*(round(float(value), 6) for value in (values[0], low, high)))


def _score(
    outcomes: Sequence[Outcome], task: Task, subjects: Sequence[str], weights: Array
) -> Array:
    """The score (see `scores`) for every row of weights (resamples, subjects)."""
    place = {subject: index for index, subject in enumerate(subjects)}
    parts = []
    if task.structures:
        parts.append([_dice(outcomes, s.name, place, weights) for s in task.structures])
    if task.classes:
        parts.append([_auc(outcomes, c.name, place, weights) for c in task.classes])
    with np.errstate(invalid="ignore"):
        means = [_mean(np.array(part)) for part in parts]
    return _mean(np.array(means))


def _mean(values: Array) -> Array:
    """Over the first axis, of what is defined."""
    known = np.isfinite(values)
    counts = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.where(counts > 0, total / np.maximum(counts, 1), np.nan)


def _dice(
    outcomes: Sequence[Outcome], structure: str, place: Mapping[str, int], weights: Array
) -> Array:
    sums, counts = np.zeros(len(place)), np.zeros(len(place))
    for outcome in outcomes:
        if (outcome.kind, outcome.target) == ("dice", structure):
            sums[place[outcome.subject]] += outcome.value
            counts[place[outcome.subject]] += 1
    total = weights @ counts
    return np.where(total > 0, weights @ sums / np.maximum(total, 1e-12), np.nan)


def _auc(outcomes: Sequence[Outcome], name: str, place: Mapping[str, int], weights: Array) -> Array:
    """Weighted area under the ROC curve; ties count half."""
    rows = [o for o in outcomes if (o.kind, o.target) == ("probability", name)]
    values = np.array([row.value for row in rows])
    order = np.argsort(values, kind="stable")
    truth = np.array([bool(row.truth) for row in rows])[order]
    cases = weights[:, [place[rows[index].subject] for index in order]]
    ups, downs = cases * truth, cases * ~truth
    _, ties = np.unique(values[order], return_inverse=True)
    starts = np.flatnonzero(np.diff(ties, prepend=-1))
    tied_ups = np.add.reduceat(ups, starts, axis=1)
    tied_downs = np.add.reduceat(downs, starts, axis=1)
    below = np.cumsum(tied_downs, axis=1) - tied_downs
    wins = (tied_ups * (below + tied_downs / 2)).sum(axis=1)
    pairs = ups.sum(axis=1) * downs.sum(axis=1)
    return np.where(pairs > 0, wins / np.maximum(pairs, 1e-12), np.nan)
