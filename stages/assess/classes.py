"""Metrics of class probabilities, with intervals over subjects. Pure; NumPy alone.

Every metric is computed from **weights** of the cases: ones for the value itself, and for its
interval how often each case's subject was drawn. Subjects are drawn, not cases: the cases of one
subject are not independent. A sample in which a metric is not defined (no case of a class) is left
out of its interval.

Sources: AUC as the Mann-Whitney statistic with ties counted half (Hanley, McNeil 1982), one class
against the rest; Brier, *Verification of forecasts* (1950), summed over classes; expected
calibration error in ten equal bins of the highest probability (Naeini et al., AAAI 2015).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]
"""(samples, cases)."""
Values = NDArray[np.float64]
"""(samples,); NaN where not defined."""
Row = dict[str, Any]
ALL = "all"
"""The metric is of all classes together."""
_BINS = 10
_CHUNK = 2**22
"""Weights in memory at once."""
RATES = tuple(place / 50 for place in range(51))
"""False-positive rates at which the ROC curve's band is told."""


@dataclass(frozen=True)
class Cases:
    """Predictions and references of a set of cases."""

    subjects: Sequence[str]
    reference: NDArray[np.int64]
    """(cases,), index of the class."""
    probabilities: NDArray[np.float64]
    """(cases, classes)."""

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The most probable class, the first of equals."""
        chosen: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return chosen


def cases_of(rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> Cases:
    """Gather rows of `predictions.parquet`, in the order of their first row."""
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    references: dict[tuple[str, str, str], str] = {}
    for row in rows:
        key = row["subject"], row["series"], row["sop"]
        found.setdefault(key, {})[row["class"]] = row["probability"]
        references[key] = row["reference"]
    return Cases(
        subjects=[subject for subject, _, _ in found],
        reference=np.array([classes.index(references[key]) for key in found], np.int64),
        probabilities=np.array(
            [[own[name] for name in classes] for own in found.values()], np.float64
        ).reshape(len(found), len(classes)),
    )


def measure(
    cases: Cases, classes: Sequence[str], *, resamples: int, confidence: float, seed: int
) -> Iterator[Row]:
    """Every metric with its interval.

    Yields:
        `class` (or `all`), `metric`, `n` (subjects), `cases` (of the class), `value`, `ci_low`,
        `ci_high`; rounded to six decimals, None where not defined.
    """
    count = len(cases.subjects)
    subjects = len(set(cases.subjects))
    metrics = list(_metrics(cases, classes)) if count else []
    drawn = [
        [function(weights) for _, _, function in metrics]
        for weights in _drawn(cases.subjects, resamples, seed)
    ]
    for (name, metric, function), *samples in zip(metrics, *drawn, strict=True):
        of = count if name == ALL else int((cases.reference == classes.index(name)).sum())
        value = float(function(np.ones((1, count)))[0])
        alone = subjects == 1  # nothing varies
        low, high = (None, None) if alone else _interval(np.concatenate(samples), confidence)
        yield {
            "class": name,
            "metric": metric,
            "n": subjects,
            "cases": of,
            "value": None if np.isnan(value) else round(value, 6),
            "ci_low": low,
            "ci_high": high,
        }


def confusion(cases: Cases, classes: Sequence[str]) -> list[Row]:
    """How many cases of each class were given which: `reference`, `predicted`, `cases`."""
    return [
        {
            "reference": truth,
            "predicted": said,
            "cases": int(((cases.reference == i) & (cases.predicted == j)).sum()),
        }
        for i, truth in enumerate(classes)
        for j, said in enumerate(classes)
    ]


def curves(
    cases: Cases, classes: Sequence[str], *, resamples: int, confidence: float, seed: int
) -> list[Row]:
    """ROC curve of each class against the rest, with a band over subjects, at `RATES`.

    Returns:
        `class`, `false_positive_rate`, `sensitivity`, `ci_low`, `ci_high`; none for a class that
        all cases or no case is of.
    """
    rows: list[Row] = []
    for place, name in enumerate(classes):
        positive, scores = cases.reference == place, cases.probabilities[:, place]
        if not 0 < positive.sum() < len(positive):
            continue
        value = _roc(np.ones((1, len(scores))), scores, positive)[0]
        weights = _drawn(cases.subjects, resamples, seed)
        drawn = np.concatenate([_roc(some, scores, positive) for some in weights])
        ends = [_interval(column, confidence) for column in drawn.T]
        rows += [
            {
                "class": name,
                "false_positive_rate": rate,
                "sensitivity": round(float(sensitivity), 6),
                "ci_low": low,
                "ci_high": high,
            }
            for rate, sensitivity, (low, high) in zip(RATES, value, ends, strict=True)
        ]
    return rows


def auc(weights: Weights, scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> Values:
    """Area under the ROC curve of weighted cases."""
    ups, downs = (_by_score(weights * mask, scores) for mask in (positive, ~positive))
    below = np.cumsum(downs, axis=1) - downs
    pairs = ups.sum(axis=1) * downs.sum(axis=1)
    return _share((ups * (below + 0.5 * downs)).sum(axis=1), pairs)


def _metrics(
    cases: Cases, classes: Sequence[str]
) -> Iterator[tuple[str, str, Callable[[Weights], Values]]]:
    right = cases.reference == cases.predicted
    of = [cases.reference == place for place in range(len(classes))]
    given = [cases.predicted == place for place in range(len(classes))]

    def area(place: int) -> Callable[[Weights], Values]:
        return lambda weights: auc(weights, cases.probabilities[:, place], of[place])

    def rate(within: NDArray[np.bool_], hits: NDArray[np.bool_]) -> Callable[[Weights], Values]:
        return lambda weights: _share(weights @ (within & hits), weights @ within)

    def mean(functions: Sequence[Callable[[Weights], Values]]) -> Callable[[Weights], Values]:
        return lambda weights: np.mean([function(weights) for function in functions], axis=0)

    places = range(len(classes))
    truth = np.eye(len(classes))[cases.reference]
    squares = ((cases.probabilities - truth) ** 2).sum(axis=1)
    everyone = np.ones(len(cases.subjects), np.bool_)
    yield ALL, "auc", mean([area(place) for place in places])
    yield ALL, "accuracy", rate(everyone, right)
    yield ALL, "balanced_accuracy", mean([rate(of[place], right) for place in places])
    yield ALL, "brier", lambda weights: _share(weights @ squares, weights.sum(axis=1))
    yield ALL, "ece", lambda weights: _calibration_error(weights, cases, right)
    for place, name in enumerate(classes):
        yield name, "auc", area(place)
        yield name, "sensitivity", rate(of[place], given[place])
        yield name, "specificity", rate(~of[place], ~given[place])


def _calibration_error(weights: Weights, cases: Cases, right: NDArray[np.bool_]) -> Values:
    sure = cases.probabilities.max(axis=1)
    bins = np.minimum((sure * _BINS).astype(np.int64), _BINS - 1)
    gaps = sum(np.abs(weights @ ((bins == one) * (sure - right))) for one in range(_BINS))
    return _share(np.asarray(gaps), weights.sum(axis=1))


def _roc(
    weights: Weights, scores: NDArray[np.float64], positive: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Sensitivity at `RATES`, (samples, rates); NaN without both kinds of cases."""
    ups, downs = (
        np.cumsum(_by_score(weights * mask, -scores), axis=1) for mask in (positive, ~positive)
    )
    found = np.full((len(weights), len(RATES)), np.nan)
    for sample, (hits, alarms) in enumerate(zip(ups, downs, strict=True)):
        if hits[-1] and alarms[-1]:
            x, y = (np.concatenate([[0.0], line / line[-1]]) for line in (alarms, hits))
            found[sample] = np.interp(RATES, x, y)
    return found


def _by_score(weights: Weights, scores: NDArray[np.float64]) -> Weights:
    """Sums of the weights of cases with one score, scores ascending: (samples, scores)."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    sums: Weights = np.add.reduceat(weights[:, order], starts, axis=1)
    return sums


def _drawn(subjects: Sequence[str], resamples: int, seed: int) -> Iterator[Weights]:
    """Weights of so many samples, some at a time; the same seed draws the same."""
    names = sorted(set(subjects))
    owner = np.array([names.index(subject) for subject in subjects], np.int64)
    generator = np.random.default_rng(seed)
    step = max(1, _CHUNK // max(1, len(subjects)))
    for start in range(0, resamples, step):
        size = (min(step, resamples - start), len(names))
        drawn = generator.integers(max(1, len(names)), size=size)
        times = np.array([np.bincount(one, minlength=len(names)) for one in drawn], np.float64)
        yield times[:, owner]


def _interval(values: Values, confidence: float) -> tuple[float | None, float | None]:
    known = values[~np.isnan(values)]
    if not known.size:
        return None, None
    tail = (1 - confidence) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return round(float(low), 6), round(float(high), 6)


def _share(part: Values, whole: Values) -> Values:
    shares: Values = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return shares
