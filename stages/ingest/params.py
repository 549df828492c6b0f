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
    label_bytes: Annotated[int, Field(ge=1)] = 64 * 2**20
    """Of one table of class labels."""


class Options(Params):
    """Options of PS3.15 Annex E beside the dates; decision 13 argues the defaults.

    The two for pixels are no part of it: what is done to pixels decides them.
    """

    safe_private: bool = True
    """Keep the private elements that Table E.3.10-1 lists, for their creators alone (113111)."""
    uids: bool = False
    """Keep all UIDs: whoever has the originals can join them (113110)."""
    device_identity: Literal["removed", "pseudonyms", "retained"] = "pseudonyms"
    """Serial numbers, station and detector names: removed, a keyed pseudonym each, or as they are
    (113109)."""
    institution_identity: bool = False
    """Keep names and addresses of institutions (113112)."""
    patient_characteristics: Literal["removed", "ranges", "retained"] = "ranges"
    """Sex, age, size, weight, smoking, pregnancy: removed, age by 5 years (from 90 on one), size
    by 5 cm and weight by 5 kg, or as they are, with ethnic group and state (113108)."""
    descriptors: bool = True
    """Keep the words of descriptions that the vocabulary knows (113105); else descriptions go."""
    structured_content: bool = True
    """Clean structured reports (113104); else they are quarantined."""
    graphics: bool = True
    """Clean presentation states (113103); else they are quarantined. Overlays always go."""


class PixelParams(Params):
    """What is done about text in the pixels; decision 14 argues the defaults."""

    text: Literal["by kind", "blank", "quarantine"] = "by kind"
    """Text found in an image: blank it, quarantine the image (and its series, if that is a volume),
    or by kind: blank in pictures (ultrasound, secondary captures), quarantine in volumes."""
    sampled: Annotated[float, Field(ge=0, le=1)] = 0.005
    """Share of the instances of volumes (CT, MR) that is looked at; of pictures all are."""
    face: Literal["keep", "remove"] = "keep"
    """Faces in CT and MR of a head: left and said to be there, or their front taken away, all but
    what a reader segmented (113102)."""


class GeometryParams(Params):
    """What is done about a series that is no even volume; decision 16 argues the defaults.

    `quarantine`; `flag`: it passes with its facts and is left out downstream; `resample`: its
    instances pass as they are, and the volume is resampled wherever the series is read.
    """

    localizer: Literal["quarantine", "flag"] = "quarantine"
    """Localizers and scouts: quarantined alone, and the rest of the series judged without."""
    few_slices: Literal["quarantine", "flag"] = "quarantine"
    """Fewer than three slices."""
    no_geometry: Literal["quarantine", "flag"] = "quarantine"
    """Position, orientation or spacing missing or malformed."""
    mixed: Literal["quarantine", "flag"] = "quarantine"
    """Several orientations, shapes, spacings, frames of reference, or enhanced instances."""
    double_slice: Literal["quarantine", "flag", "resample"] = "quarantine"
    """Two slices at one place; `resample` takes one of those that are equal to the last voxel."""
    missing_slice: Literal["quarantine", "flag"] = "quarantine"
    """Gaps of whole slices; they are never filled."""
    uneven: Literal["quarantine", "flag", "resample"] = "quarantine"
    """Other spacings that differ by more than 1 % and 0.01 mm."""
    tilted: Literal["quarantine", "flag", "resample"] = "quarantine"
    """Slices shifted in their plane: a tilted gantry."""


class IngestParams(Params):
    """How sources are read, what is kept, and when the stage refuses."""

    pseudonym_key: Literal["vault", "demo"] = "vault"
    """Whose secrets make the pseudonyms. `demo` is a public key: it serves phantoms alone."""
    dates: Literal["modified", "full", "removed"] = "modified"
    """Shift dates by the subject's own number of days (intervals stay exact), keep them as they
    are, or remove them."""
    shift_days: tuple[int, int] = (-3650, -366)
    """Lowest and highest shift, days."""
    options: Options = Options()
    readers: dict[RoleName, ReaderName] = Field(default_factory=dict)
    """Content creator's name that is a role → name of that reader, such as
    `Reader^A: reader-a`. All other readers get a keyed pseudonym."""
    pixels: PixelParams = PixelParams()
    geometry: GeometryParams = GeometryParams()
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
