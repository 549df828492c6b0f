"""Section `ingest` of `params.yaml`: how studies are taken in and pseudonymized."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from stages.params import Params, Project, Task

RoleName = Annotated[str, Field(pattern=r"^[Rr]eader[\^ _-]?[A-Za-z0-9]{1,8}$")]
"""A content creator's name that is a role. A person's name cannot stand in `params.yaml`."""
ReaderName = Annotated[str, Field(pattern=r"^reader-[a-z0-9]{1,8}$")]


class Limits(Params):
    """Sizes beyond which a file is quarantined instead of read."""

    file_bytes: Annotated[int, Field(ge=1)] = 512 * 2**20
    """Of one instance, unpacked."""
    archive_bytes: Annotated[int, Field(ge=1)] = 16 * 2**30
    """Of one archive, unpacked."""
    archive_entries: Annotated[int, Field(ge=1)] = 200_000
    rows: Annotated[int, Field(ge=1)] = 8192
    """Rows, and columns, of one frame."""
    frames: Annotated[int, Field(ge=1)] = 20_000
    """Frames of one instance."""
    depth: Annotated[int, Field(ge=1, le=64)] = 16
    """Sequences within sequences."""
    header_bytes: Annotated[int, Field(ge=1)] = 64 * 2**20
    """Of all of an instance but its pixel data."""
    elements: Annotated[int, Field(ge=1)] = 250_000
    """Elements and items of one instance, at every depth."""


class IngestParams(Params):
    """How sources are read, what is kept, and when the stage refuses."""

    pseudonym_key: Literal["vault", "demo"] = "vault"
    """Whose secrets make the pseudonyms. `demo` is a public key: it serves phantoms alone."""
    dates: Literal["modified", "removed"] = "modified"
    """Shift dates by the subject's own number of days (intervals stay exact), or remove them."""
    shift_days: tuple[int, int] = (-3650, -366)
    """Lowest and highest shift, days."""
    readers: dict[RoleName, ReaderName] = Field(default_factory=dict)
    """Content creator's name that is a role → name of that reader, such as
    `Reader^A: reader-a`. All other readers get a keyed pseudonym."""
    max_quarantined_fraction: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Highest share of the instances that may be quarantined before the stage refuses."""
    limits: Limits = Limits()

    @field_validator("shift_days")
    @classmethod
    def _range(cls, value: tuple[int, int]) -> tuple[int, int]:
        low, high = value
        if low > high or low <= 0 <= high or max(abs(low), abs(high)) > 36525:
            raise ValueError("shift_days must ascend, leave out 0 and stay within a century")
        return value

    @field_validator("readers")
    @classmethod
    def _distinct(cls, value: dict[str, str]) -> dict[str, str]:
        if len(set(value.values())) != len(value):
            raise ValueError("two content creators share one reader's name")
        return value


class Parameters(Params):
    """The sections that ingest takes."""

    project: Project
    task: Task
    ingest: IngestParams = IngestParams()
