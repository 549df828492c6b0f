"""Section `train` of `params.yaml`, and the sections that the stage takes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from stages.params import Network, Numerics, Params, Task, Volume
from stages.train.ways import Variant


class Augmentation(Params):
    """How far a training patch may differ from its volume; 0 switches a kind off."""

    rotation_deg: Annotated[float, Field(ge=0, le=45)] = 10.0
    """Largest rotation within the plane of a slice, either way."""
    scale: Annotated[float, Field(ge=0, lt=0.5)] = 0.1
    """Largest relative change of size."""
    shift_voxels: Annotated[int, Field(ge=0)] = 4
    """Largest shift along each axis, beyond the choice of the patch."""
    intensity: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Largest relative change of contrast, and largest offset in units of the prepared volume."""
    noise: Annotated[float, Field(ge=0)] = 0.05
    """Largest standard deviation of added Gaussian noise, in units of the prepared volume."""


class Pretraining(Params):
    """Masked reconstruction on images without their labels."""

    epochs: Annotated[int, Field(ge=1)] = 30
    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.6
    """Share of the patch's blocks that are hidden."""
    mask_block: Annotated[int, Field(ge=1)] = 8
    """Side of a block, in voxels."""


class TrainParams(Params):
    """Section `train`."""

    variants: Annotated[tuple[Variant, ...], Field(min_length=1)] = (
        "scratch",
        "frozen",
        "finetuned",
    )
    """Ways of transfer to compare, the simplest first: this order decides within the margin."""
    epochs: Annotated[int, Field(ge=1)] = 60
    """Passes over the training series, for every variant alike; each series gives a patch."""
    batch: Annotated[int, Field(ge=1)] = 2
    learning_rate: Annotated[float, Field(gt=0)] = 0.004
    """Of AdamW at the first epoch; falls to zero by a polynomial of degree 0.9."""
    foreground: Annotated[float, Field(ge=0, le=1)] = 0.67
    """Share of patches that are centered on a structure, each structure alike; matters where a
    volume is larger than the patch."""
    unfrozen_layers: Annotated[int, Field(ge=1)] = 3
    """Convolutions before the output, the output's own included, that `frozen` trains."""
    validate_every: Annotated[int, Field(ge=1)] = 5
    """Epochs between validations; the last epoch is always validated."""
    pretraining: Pretraining = Pretraining()
    augmentation: Augmentation = Augmentation()
    margin: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """Dice below the best variant's that still counts as not inferior: the simplest variant within
    it is chosen."""
    min_dice: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Least mean validation Dice of the chosen variant; below it the gate refuses."""

    @field_validator("variants")
    @classmethod
    def _distinct(cls, value: tuple[Variant, ...]) -> tuple[Variant, ...]:
        if len(value) != len(set(value)):
            raise ValueError("a variant is named twice")
        return value


class Parameters(Params):
    """What `train` takes of `params.yaml`."""

    task: Task
    numerics: Numerics
    volume: Volume
    network: Network
    train: TrainParams = TrainParams()
