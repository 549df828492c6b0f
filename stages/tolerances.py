"""Equivalence (R2): scores of a rebuild held against those of a release. Pure decisions.

Rules:

- TOL-1  Only subjects that both have are compared; a structure that one of the two could not score
         is not within any tolerance.
- TOL-2  A flip is a subject whose Dice lies on the other side of the declared limit
         (`assess.min_dice`): told, and no verdict of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from statistics import fmean
from typing import Any

from pydantic import BaseModel, ConfigDict

Row = Mapping[str, Any]
COLUMNS = ("dice", "hd95_mm", "nsd")
PER_SUBJECT = "subject_"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Held(_Frozen):
    """One figure held against its tolerance."""

    what: str
    """`mean dice of organ`, or `dice of organ of s-…`."""
    released: float | None
    rebuilt: float | None
    difference: float | None
    tolerance: float
    within: bool


class Flip(_Frozen):
    """A subject whose verdict changed."""

    subject: str
    series: str
    structure: str
    released: float
    rebuilt: float
    limit: float


def hold(
    released: Iterable[Row], rebuilt: Iterable[Row], tolerances: Mapping[str, float]
) -> tuple[Held, ...]:
    """Hold means, and single subjects where asked for (`subject_dice`), against tolerances."""
    before, after = _by_place(released), _by_place(rebuilt)
    if not {place[0] for place in before} & {place[0] for place in after}:
        return ()
    return tuple(
        row
        for column in COLUMNS
        for rows in (
            _means(before, after, column, tolerances.get(column)),
            _singles(before, after, column, tolerances.get(PER_SUBJECT + column)),
        )
        for row in rows
    )


Place = tuple[str, str, str]


def _by_place(rows: Iterable[Row]) -> dict[Place, Row]:
    return {(row["subject"], row["series"], row["structure"]): row for row in rows}


def _means(
    before: Mapping[Place, Row], after: Mapping[Place, Row], column: str, limit: float | None
) -> Iterator[Held]:
    """The mean over the subjects that both have, structure by structure."""
    if limit is None:
        return
    subjects = {place[0] for place in before} & {place[0] for place in after}
    for structure in sorted({place[2] for place in before}):
        one, other = (
            [
                row[column]
                for (subject, _, name), row in rows.items()
                if subject in subjects and name == structure and row[column] is not None
            ]
            for rows in (before, after)
        )
        if one or other:
            yield _held(
                f"mean {column} of {structure}",
                fmean(one) if one else None,
                fmean(other) if other else None,
                limit,
            )


def _singles(
    before: Mapping[Place, Row], after: Mapping[Place, Row], column: str, limit: float | None
) -> Iterator[Held]:
    if limit is None:
        return
    for place in sorted(before.keys() & after.keys()):
        one, other = before[place][column], after[place][column]
        if one is not None or other is not None:
            yield _held(f"{column} of {place[2]} of {place[0]}", one, other, limit)


def _held(what: str, one: float | None, other: float | None, limit: float) -> Held:
    difference = None if one is None or other is None else round(abs(one - other), 6)
    return Held(
        what=what,
        released=None if one is None else round(one, 6),
        rebuilt=None if other is None else round(other, 6),
        difference=difference,
        tolerance=limit,
        within=difference is not None and difference <= limit,
    )


def flips(
    released: Iterable[Row], rebuilt: Iterable[Row], parameters: Mapping[str, Any]
) -> tuple[Flip, ...]:
    """Subjects on the other side of the declared limit (TOL-2).

    Args:
        released: rows of the release's scores.
        rebuilt: rows of the rebuild's.
        parameters: dotted key → value, of the release: holds `assess.min_dice`, one for all
            structures or one of each.
    """
    before, after = _by_place(released), _by_place(rebuilt)
    found = []
    for place in sorted(before.keys() & after.keys()):
        subject, series, structure = place
        limit = parameters.get("assess.min_dice", parameters.get(f"assess.min_dice.{structure}"))
        one, other = before[place]["dice"], after[place]["dice"]
        if limit is None or one is None or other is None:
            continue
        if (one >= limit) != (other >= limit):
            found.append(
                Flip(
                    subject=subject,
                    series=series,
                    structure=structure,
                    released=one,
                    rebuilt=other,
                    limit=limit,
                )
            )
    return tuple(found)
