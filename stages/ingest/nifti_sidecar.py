"""The sidecar of a NIfTI image: what the image itself cannot say, in the words of BIDS.

Other keys of a sidecar are passed over; none of their values is kept. No text of a value can hold
what separates values in DICOM, nor a path.
"""

from __future__ import annotations

import json
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from audit.errors import Unreadable

LARGEST: Final = 256 * 1024
"""Bytes of a sidecar."""
_TEXT: Final = r"^[^\\\x00-\x1f\x7f]{0,64}$"
Text = Annotated[str, Field(pattern=_TEXT)]
Needed = Annotated[str, Field(pattern=_TEXT, min_length=1)]
FileName = Annotated[str, Field(pattern=r"^[^/\\\x00-\x1f]{1,200}\.nii(\.gz)?$")]


class _Sidecar(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class LabelMap(_Sidecar):
    """A reader's label map, on the grid of the image."""

    file: FileName = Field(alias="File")
    """In the same folder."""
    reader: Needed = Field(alias="Reader")
    """Content creator's name."""
    segments: dict[Annotated[str, Field(pattern=r"^[1-9]\d{0,2}$")], Needed] = Field(
        alias="Segments", min_length=1
    )
    """Value in the map → segment label."""


class Sidecar(_Sidecar):
    """`<image>.json`."""

    modality: Literal["CT", "MR"] = Field(alias="Modality")
    patient_id: Needed = Field(alias="PatientID")
    patient_sex: Literal["M", "F", "O", ""] = Field(alias="PatientSex", default="")
    patient_age: Annotated[str, Field(pattern=r"^(\d{3}[DWMY])?$")] = Field(
        alias="PatientAge", default=""
    )
    study: Text = Field(alias="StudyID", default="")
    """Images of one patient and study stand in one study; without it each is one of its own."""
    study_date: Annotated[str, Field(pattern=r"^(\d{8})?$")] = Field(alias="StudyDate", default="")
    manufacturer: Text = Field(alias="Manufacturer", default="")
    model: Text = Field(alias="ManufacturersModelName", default="")
    body_part: Annotated[str, Field(pattern=r"^[A-Z0-9 _]{0,16}$")] = Field(
        alias="BodyPartExamined", default=""
    )
    description: Text = Field(alias="SeriesDescription", default="")
    labels: list[LabelMap] = Field(alias="Labels", default_factory=list, max_length=16)


def parse(data: bytes) -> Sidecar:
    """Read a sidecar.

    Raises:
        Unreadable: it is none, or says too little.
    """
    try:
        return Sidecar.model_validate(json.loads(data[: LARGEST + 1]))
    except (ValueError, ValidationError, RecursionError):
        raise Unreadable(
            "The sidecar of a NIfTI image is missing or says too little.",
            "It needs Modality (CT or MR) and PatientID; see docs/sources.md.",
        ) from None
