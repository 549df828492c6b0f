"""One visit to the scanner, on paper: dates, lesions, readers, and what goes wrong."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from enum import IntEnum
from typing import Final

from stages.phantom.chance import Chance
from stages.phantom.site import SITES

UNLABELED: Final = 1000
"""Number of the first unlabeled subject."""


class Defect(IntEnum):
    """What goes wrong, and the number of the subject with whom it does."""

    SKIPPED_READER = 0
    BURNED_IN = 1
    MISSING_SLICE = 2
    TRUNCATED = 3
    TEXT_FILE = 4
    ORPHAN_ANNOTATION = 5
    SINGLE_SLICE = 2000


@dataclass(frozen=True)
class Study:
    """One visit to the scanner."""

    index: int
    taken: date
    hour: int
    accession: str
    study_id: str
    radii_um: tuple[int, ...]
    readers: tuple[int, ...]
    """Indexes of `READERS`: who annotated it."""
    slices: int
    missing: int | None = None
    """Index of the slice that the export lost."""
    burned_in: bool = False

    @property
    def da(self) -> str:
        return f"{self.taken:%Y%m%d}"

    def read_on(self, reader: int) -> date:
        """The day on which a reader annotated it."""
        return self.taken + timedelta(days=4 + 3 * reader)

    @property
    def ordered(self) -> date:
        return self.taken - timedelta(days=3)

    @property
    def calibrated(self) -> date:
        return self.taken - timedelta(days=19)


def plan_study(
    number: int, index: int, first: date, *, malignant: bool, defect: Defect | None
) -> Study:
    """Invent one visit.

    Args:
        number: the subject's.
        index: 0 for the first visit.
        first: day of the first visit.
        malignant: whether the lesions grow from one visit to the next.
        defect: what goes wrong with this subject.
    """
    site, radii = SITES[number % 3], Chance("radii", number)
    sizes = [radii.between(7500, 10500)]
    sizes += [radii.between(4000, 7000) for _ in range(radii.between(0, 2))]
    growth = index * (1200 if malignant else 100)
    chance = Chance("study", number, index)
    readers = site.readers if number < UNLABELED else ()
    depth = site.vendor.space.shape[0]
    return Study(
        index=index,
        taken=first + timedelta(days=index * chance.between(28, 90)),
        hour=chance.between(7, 18),
        accession=f"ACC{chance.digits(6)}{number:04d}",
        study_id=f"E{chance.digits(7)}",
        radii_um=tuple(size + growth for size in sizes),
        readers=readers[:2] if defect is Defect.SKIPPED_READER else readers,
        slices=1 if defect is Defect.SINGLE_SLICE else depth,
        missing=depth // 2 if defect is Defect.MISSING_SLICE and index else None,
        burned_in=defect is Defect.BURNED_IN,
    )
