"""Section `release`: what must be there before a candidate becomes a release.

It decides whether and how a candidate is released, never a bit of it: it enters no stage's key,
neither report nor archive. The release's manifest keeps what was declared.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from stages.params import Params

Meaning = Literal["reviewed", "approved", "released"]
"""What a person's signature over a bundle says (21 CFR 11.50)."""


class Tolerances(Params):
    """How far a rebuild elsewhere may differ and still be equivalent (R2).

    Absolute differences of the mean over the test split, for each structure alike.
    """

    dice: Annotated[float, Field(ge=0, le=1)] = 0.01
    nsd: Annotated[float, Field(ge=0, le=1)] = 0.02
    """Of the normalized surface Dice."""
    hd95_mm: Annotated[float, Field(ge=0)] = 1.0
    """Of the 95th percentile of the surface distances, mm."""


class ReleaseParams(Params):
    """Section `release`."""

    approvals: tuple[Meaning, ...] = ()
    """Signatures that the bundle must have (`kette sign BUNDLE --meaning …`), each once."""
    findings: Literal["allow", "refuse"] = "allow"
    """Whether a chain whose gates passed with findings may be released."""
    retention_years: Annotated[int, Field(ge=1, le=100)] = 15
    """How long the release and its evidence are kept, from the day of the release on."""
    tolerances: Tolerances = Tolerances()

    @field_validator("approvals")
    @classmethod
    def _once(cls, value: tuple[Meaning, ...]) -> tuple[Meaning, ...]:
        if len(value) != len(set(value)):
            raise ValueError("an approval is named twice")
        return value
