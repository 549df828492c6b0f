"""Parameters: everything in a project's commit that decides bits.

A section of `params.yaml` is one frozen model. Sections that several stages read stand here;
each stage keeps its own section in `stages/<stage>/params.py`. A stage names the sections that it
takes by declaring one model whose fields are those sections; nothing else of `params.yaml` enters
its key.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]


class Params(BaseModel):
    """Base of every parameter model: frozen, unknown keys refused, no silent coercion of NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Project(Params):
    """Section `project`: who this chain is for, and the one clock that outputs may show."""

    name: Name
    """Names the machine's folder for ledger, keys and vault (`KETTE_HOME/<name>/`)."""
    epoch: AwareDatetime
    """The only time that enters an artifact: DICOM content dates, archive dates, report date."""


class Code(Params):
    """A coded concept (DICOM PS3.3 Section 8.8): value, scheme designator, meaning."""

    value: str
    scheme: str
    meaning: str


class Structure(Params):
    """One structure to segment: an integer of the label map and its coded concept."""

    name: Name
    label: Annotated[int, Field(ge=1, le=254)]
    """Value in label maps; 0 is background."""
    segment_label: str
    """SegmentLabel (0062,0005) that readers' SEG objects carry for it, compared without case."""
    code: Code
    """Segmented Property Type; the category is always Anatomical Structure or Morphologically
    Abnormal Structure, see `category`."""
    category: Literal["anatomy", "abnormality"] = "anatomy"
    classes: tuple[Name, ...] = ()
    """Class labels that readers may give to it (in Segment Description (0062,0006))."""


class ClassLabel(Params):
    """One of the classes that exclude each other: its name in label tables, its coded concept."""

    name: Name
    code: Code


class Task(Params):
    """Section `task`: what the network is asked to do, and on which images.

    Structures alone: segmentation. Classes alone: classification of each image or series. Both:
    one network with a shared backbone answers both (multi-task).
    """

    modality: Literal["CT", "MR", "US"]
    structures: tuple[Structure, ...] = ()
    classes: tuple[ClassLabel, ...] = ()
    """Classes of a case, exactly one of which holds. Where their names are those of a structure's
    own `classes`, that structure's class is the case's; else readers' label tables say it."""

    @field_validator("classes")
    @classmethod
    def _several(cls, value: tuple[ClassLabel, ...]) -> tuple[ClassLabel, ...]:
        if len(value) == 1 or len(value) != len({label.name for label in value}):
            raise ValueError("classes must be none, or two and more of different names")
        return value

    @property
    def kinds(self) -> frozenset[str]:
        """Kinds of series, of its modality, that it is asked about.

        Volumes (`image`), and, for classes alone, each picture of no place (`picture`).
        """
        alone = self.classes and not self.structures
        return frozenset({"image", "picture"} if alone else {"image"})

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.structures and not self.classes:
            raise ValueError("the task names neither structures nor classes")
        return self

    @field_validator("structures")
    @classmethod
    def _distinct(cls, value: tuple[Structure, ...]) -> tuple[Structure, ...]:
        for field in ("name", "label"):
            seen = [getattr(structure, field) for structure in value]
            if len(seen) != len(set(seen)):
                raise ValueError(f"two structures share one {field}")
        return value


class Numerics(Params):
    """Section `numerics`: what decides the last bit of a floating-point result."""

    threads: Annotated[int, Field(ge=1, le=64)] = 2
    """Of each process."""
    instruction_set: Literal["default", "avx2"] = "avx2"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 20261121
    device: Literal["cpu", "cuda"] = "cpu"
    """Where networks are trained. `cuda` needs a GPU; its weights are another class's (ADR 5)."""
    precision: Literal["f32", "bf16", "f16"] = "f32"
    """Of training: single, or mixed (matrix products in 16 bits, weights in 32)."""
    processes: Annotated[int, Field(ge=1, le=64)] = 1
    """Of training, each with its share of every batch (torchrun)."""

    @model_validator(mode="after")
    def _scaled(self) -> Self:
        if self.precision == "f16" and self.device == "cpu":
            raise ValueError("f16 is trained on cuda alone: take bf16 on a cpu")
        return self


class Volume(Params):
    """Section `volume`: from a series in physical units to the network's input (train = infer)."""

    spacing_mm: tuple[float, float, float] | None = None
    """Resample to this spacing (slice, row, column axes; mm); null keeps each series' own."""
    window: tuple[float, float] | None = None
    """Clip to [low, high] in rescaled units (HU for CT) and map to [0, 1]; null: z-score of the
    series after clipping to its 0.5th and 99.5th percentile."""
    patch: tuple[int, int, int]
    """Voxels (slice, row, column) that the network sees at once; each a multiple of 8. One slice:
    the network has two dimensions, and sees slice by slice."""
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Overlap of neighboring windows in inference."""

    @field_validator("patch")
    @classmethod
    def _multiple(cls, value: tuple[int, int, int]) -> tuple[int, int, int]:
        if any(size < 8 or size % 8 for size in (value[1:] if value[0] == 1 else value)):
            raise ValueError("each side of the patch must be a positive multiple of 8 (or 1 slice)")
        return value

    @property
    def planar(self) -> bool:
        """Whether the network sees single slices."""
        return self.patch[0] == 1


class Network(Params):
    """Section `network`: the architecture that every variant trains; the output layer is new."""

    target: str = Field(alias="_target_", default="monai.networks.nets.SegResNet")
    """Dotted name of the class, as in MONAI bundles."""
    arguments: dict[str, int | float | str | bool | tuple[int, ...]] = {}
    """Keyword arguments of the class, without input and output channels."""
