"""Section `weights` of `params.yaml`: weights that somebody else trained, as entries of a registry.

An entry holds what must be known before the first byte is read: where the bytes are, which bytes
they are, what permits their use, and what the entry of a SOUP list asks for (IEC 62304:2006 with
Amendment 1:2015, 5.3.3 requirements, 8.1.2 title, manufacturer, unique designation).

Rules:

- WTS-1  An entry names its bytes by SHA-256; the place is only where they may be found.
- WTS-2  A place is relative to the project and never climbs, or https; a hub's or a bundle's place
         names its version.
- WTS-3  An entry without a license is no entry. One that the allowed licenses do not permit is
         refused before a byte is read, unless its entry says in writing what permits the use.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from stages.artifact import Digest
from stages.params import Name, Params
from stages.pretrained_place import place_of

PERMISSIVE = (
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC-BY-3.0",
    "CC-BY-4.0",
    "CC0-1.0",
    "CDLA-Permissive-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "ODC-By-1.0",
    "PDDL-1.0",
    "Unlicense",
    "Zlib",
)
"""Licenses (SPDX identifiers) that permit use in a product and ask for no more than attribution."""

Line = Annotated[str, Field(min_length=1, max_length=300, pattern=r"^[^\r\n]+$")]
Text = Annotated[str, Field(min_length=1, max_length=4000)]
KeyText = Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9_.\-]*$")]
"""A tensor's name or a part of it."""
Pattern = Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9_.\-]*\*?[A-Za-z0-9_.\-]*$")]
"""A tensor's name in which one `*` may stand for any text."""


class Preprocessing(Params):
    """What the source's network was shown when its weights were trained."""

    dims: Literal[2, 3]
    """Spatial dimensions of its input."""
    channels: Annotated[int, Field(ge=1, le=4096)]
    """Channels of its input: 3 for color."""
    spacing_mm: tuple[float, ...] | None = None
    """Spacing of its input (mm; slice, row, column axes, or row, column); null: many or unknown."""
    normalization: Literal["window", "standardize", "zscore", "none"]
    """`window`: clip to `window`, then [0, 1]; `standardize`: subtract `mean`, divide by `std`;
    `zscore`: by the mean and deviation of each image; `none`: values as they are."""
    window: tuple[float, float] | None = None
    """Of `window`: [low, high] in rescaled units (HU for CT)."""
    mean: tuple[float, ...] | None = None
    """Of `standardize`, by channel, in units where an image lies in [0, 1]."""
    std: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    """Of `standardize`, by channel."""

    @model_validator(mode="after")
    def _whole(self) -> Preprocessing:
        if self.spacing_mm is not None and (
            len(self.spacing_mm) != self.dims or min(self.spacing_mm) <= 0
        ):
            raise ValueError("spacing_mm needs one positive value for each of `dims`")
        if (self.window is not None) != (self.normalization == "window"):
            raise ValueError("`window` belongs to the normalization `window`, and to it alone")
        if self.window is not None and self.window[0] >= self.window[1]:
            raise ValueError("the window's low end must be below its high end")
        for values in (self.mean, self.std):
            if (values is not None) != (self.normalization == "standardize"):
                raise ValueError("`mean` and `std` belong to `standardize`, and to it alone")
            if values is not None and len(values) != self.channels:
                raise ValueError("`mean` and `std` need one value for each channel")
        return self


class PretrainedSource(Params):
    """One entry: a file of weights, what it is, and how it becomes ours."""

    uri: Annotated[str, Field(min_length=1, max_length=2000)]
    """`path` or `file:path` in the project; `https://…`; `monai:<bundle>@<version>`;
    `hf:<owner>/<repository>@<revision>/<file>`."""
    sha256: Digest
    """SHA-256 of that file (of the archive, for a bundle)."""
    title: Line
    """The SOUP item's title."""
    supplier: Line
    """Who made it: the SOUP item's manufacturer."""
    origin: Line
    """Where it is published: a page or a citation."""
    version: Line
    """The maker's unique designation: release, revision, date."""
    license: Line
    """SPDX license expression; `LicenseRef-…` for one that SPDX does not list."""
    license_justification: Annotated[str, Field(min_length=20, max_length=4000)] | None = None
    """What permits the use where the license is none of `licenses`: a contract, a grant in writing.
    It is shown as a finding and in the bill of materials."""
    training_data: Text
    """What it was trained on, and under which terms, as far as known."""
    architecture: Text
    """Network and size."""
    requirements: Annotated[tuple[Text, ...], Field(min_length=1)]
    """What the product needs of this item (IEC 62304, 5.3.3)."""
    preprocessing: Preprocessing
    archive_key: KeyText = ""
    """Keys (joined by `.`) below which an archive holds the tensors, for example `state_dict`."""
    prefix: KeyText = ""
    """Taken off the names of the source's tensors, for example `module.`; names without it are left
    out."""
    mapping: dict[Pattern, Pattern | None] = Field(default={})
    """Name of the source's tensors, without prefix → name in the network, each with at most one
    `*`; null leaves it out. Of several that fit, the longest counts; what none fits keeps its
    name."""
    inflate: bool = False
    """Make kernels of 2-D convolutions 3-D: repeated along the slices, divided by their number."""
    adapt_channels: bool = False
    """Sum the first kernels over the source's input channels where the network has one."""

    @field_validator("uri")
    @classmethod
    def _place(cls, value: str) -> str:
        place_of(value)
        return value

    @field_validator("license")
    @classmethod
    def _expression(cls, value: str) -> str:
        from stages.pretrained_license import parse

        parse(value)
        return value

    @field_validator("mapping")
    @classmethod
    def _stars(cls, value: dict[str, str | None]) -> dict[str, str | None]:
        if any(new is not None and ("*" in new) != ("*" in old) for old, new in value.items()):
            raise ValueError("a `*` must stand on both sides of a mapping, or on none")
        return value


class Weights(Params):
    """Section `weights`: the registry of pre-trained weights."""

    licenses: tuple[Line, ...] = PERMISSIVE
    """SPDX identifiers of licenses that permit use in this product."""
    sources: dict[Name, PretrainedSource] = Field(default={})
    """Name → entry, as variants name it."""
