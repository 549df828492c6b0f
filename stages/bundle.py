"""The bundle: what a released archive says about itself, and where its parts lie in it.

`package` writes it, `infer` and the acceptance kit read it; so it stands here. The archive is a
ZIP shaped as a MONAI bundle (`configs/metadata.json`, `models/`, `docs/`); our own program reads
only the members below, and only after `manifest.json` vouched for their bytes.

Rules:

- BUN-1  `manifest.json` lists every other member of the archive (path, size, SHA-256).
- BUN-2  `configs/kette.json` is a `BundleConfig`: all that inference must know, and nothing that
         Python would have to import to understand it.
- BUN-3  The limits are those of the series that the network learned from, widened by a declared
         margin; what lies outside is refused, not extrapolated. A series that had to be resampled
         is taken only by a network that learned from such.

Version 1 is the first schema. A later version names here how a bundle of the one before is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, field_validator, model_validator

from stages.artifact import FileEntry
from stages.params import Name, Network, Numerics, Params, Task, Volume

CONFIG = "configs/kette.json"
"""Member that holds the `BundleConfig`."""
MANIFEST = "manifest.json"
"""Member that holds the `Manifest` (of `stages.artifact`) of all other members."""
MODELS: Mapping[str, str] = {
    "onnxruntime-cpu": "models/model.onnx",
    "openvino-cpu": "models/openvino/model.xml",
    "tensorrt-rtx": "models/tensorrt-rtx/model.engine",
}
"""Target → the member that its runtime opens, where the release has that target. OpenVINO reads
the weights from the `.bin` beside the `.xml`. Without `models/`, the paths in `optimize`'s tree."""

Target = Literal["onnxruntime-cpu", "openvino-cpu", "tensorrt-rtx"]
"""A runtime on a class of hardware."""
_OUTWARDS = 1e-6
Range = tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]


class Limits(Params):
    """Series that the network may be used on: [low, high] by axis (slice, row, column)."""

    shape: tuple[Range, Range, Range]
    """Voxels along each axis."""
    spacing_mm: tuple[Range, Range, Range]
    """Distance of voxel centers along each axis, in mm."""
    resampled: bool = False
    """Whether a series of uneven spacing or with a tilted gantry is taken, and resampled as the
    network's own were; only if it learned from such."""

    @field_validator("shape", "spacing_mm")
    @classmethod
    def _ordered(cls, value: tuple[Range, Range, Range]) -> tuple[Range, Range, Range]:
        if any(low > high for low, high in value):
            raise ValueError("a range's low end lies above its high end")
        return value

    @classmethod
    def seen(
        cls,
        grids: Iterable[tuple[Sequence[int], Sequence[float]]],
        margin: float,
        *,
        resampled: bool = False,
    ) -> Limits:
        """The ranges that hold every grid, widened (BUN-3).

        Args:
            grids: shape (voxels) and spacing (mm) of each series that the network learned from,
                axes (slice, row, column).
            margin: 0.25 allows 1.25 times the largest and 1 / 1.25 of the smallest figure seen.
            resampled: whether one of them was resampled.

        Raises:
            ValueError: without any grid.
        """
        seen = tuple(grids)
        if not seen:
            raise ValueError("no series was seen")
        shapes, spacings = zip(*seen, strict=True)
        return cls(
            shape=_widened(shapes, margin),
            spacing_mm=_widened(spacings, margin),
            resampled=resampled,
        )

    def outside(self, shape: Sequence[int], spacing_mm: Sequence[float]) -> str | None:
        """What lies outside, as a sentence with figure and limit; None if nothing does."""
        figures = (("extent", "voxels", shape, self.shape),)
        spacings = (("spacing", "mm", spacing_mm, self.spacing_mm),)
        for what, unit, values, ranges in (*figures, *spacings):
            for axis, value, (low, high) in zip(
                ("slice", "row", "column"), values, ranges, strict=True
            ):
                if not low <= value <= high:
                    return (
                        f"The {what} along the {axis} axis is {value:.6g} {unit}, outside "
                        f"{low:.6g} to {high:.6g} {unit}."
                    )
        return None


class BundleConfig(Params):
    """`configs/kette.json`, schema version 1."""

    schema_version: Literal[1] = 1
    name: Name
    """The project's name."""
    version: Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+-]{0,62}$")]
    epoch: AwareDatetime
    """The project's epoch: the date of results whose series carries none."""
    task: Task
    volume: Volume
    network: Network
    """As trained; inference does not build it."""
    channels_out: Annotated[int, Field(ge=1)]
    """Background and one channel a structure, in the order of `task.structures`; 1 for a task of
    classes alone, whose models have no output on the grid."""
    numerics: Numerics
    """Inference runs with these threads, as the equivalence test did."""
    models: Mapping[Target, str]
    """Target → member of the archive, the preferred target first; the values are `MODELS`'."""
    limits: Limits

    @property
    def pictures(self) -> bool:
        """Whether it is used on single pictures: it has classes alone, and learned from some."""
        return "picture" in self.task.kinds and self.limits.shape[0][0] <= 1

    @model_validator(mode="after")
    def _whole(self) -> BundleConfig:
        if self.channels_out != len(self.task.structures) + 1:
            raise ValueError("channels_out is not background plus one channel a structure")
        if not self.models:
            raise ValueError("a bundle without models")
        for path in self.models.values():
            FileEntry(path=path, size=0, sha256="0" * 64)
        return self


def _widened(rows: Iterable[Sequence[float]], margin: float) -> tuple[Range, Range, Range]:
    """[low, high] of each column, to six decimals, so that rounding shuts nothing out."""
    first, second, third = (
        (
            round(min(column) / (1 + margin) - _OUTWARDS, 6),
            round(max(column) * (1 + margin) + _OUTWARDS, 6),
        )
        for column in zip(*rows, strict=True)
    )
    return first, second, third
