"""Section `assess` of `params.yaml`, and the sections that the stage takes."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stages.params import Name, Network, Numerics, Params, Project, Task, Volume

Share = Annotated[float, Field(ge=0, le=1)]


class Detection(Params):
    """How lesions are counted as instances."""

    structure: Name
    """The structure whose connected parts are lesions."""
    criterion: Literal["iou", "center"] = "iou"
    """A hit is an overlap of at least `min_iou`, or a candidate's center within the lesion."""
    min_iou: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Least intersection over union of a candidate and a lesion."""
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Least probability of a candidate's voxels."""
    min_voxels: Annotated[int, Field(ge=1)] = 1
    """Smaller candidates are dropped."""
    min_cpm: Share | None = None
    """Least mean sensitivity at 1/8 to 8 false positives a scan; null asks for none."""


class AssessParams(Params):
    """Section `assess`."""

    min_dice: Share | dict[Name, Share] = 0.5
    """Least mean Dice on the test split: one for all structures, or structure's name → its own."""
    min_ci_low: Share | None = None
    """Least lower end of each structure's confidence interval; null asks for none."""
    min_auc: Share | dict[Name, Share] = 0.7
    """Least area under the ROC curve of a class against the rest: one for all classes, or class's
    name → its own."""
    min_auc_ci_low: Share | None = None
    """Least lower end of the confidence interval of each class's AUC; null asks for none."""
    vendor_gap: Annotated[float, Field(gt=0, le=1)] = 0.1
    """A vendor whose mean Dice of a structure, or mean AUC over classes, lies further below that
    of all is a finding."""
    min_subjects: Annotated[int, Field(ge=2)] = 10
    """Fewer test subjects of a structure, or cases of a class, are a finding: the interval is then
    not to be trusted."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    resamples: Annotated[int, Field(ge=100)] = 2000
    """Bootstrap samples of each interval."""
    nsd_tolerance_mm: Annotated[float, Field(gt=0)] = 2.0
    """Surface distance that counts as agreement in the normalized surface Dice."""
    detection: Detection | None = None
    """Count a structure's lesions as instances, with a free-response (FROC) curve; null: do not."""


class Parameters(Params):
    """What `assess` takes of `params.yaml`."""

    project: Project
    task: Task
    numerics: Numerics
    volume: Volume
    network: Network
    assess: AssessParams = AssessParams()

    @model_validator(mode="after")
    def _limits(self) -> Self:
        names = {structure.name for structure in self.task.structures}
        limits = self.assess.min_dice
        if isinstance(limits, dict) and limits.keys() != names:
            raise ValueError("assess.min_dice must name every structure of the task, and no other")
        lesions = self.assess.detection
        if lesions is not None and lesions.structure not in names:
            raise ValueError("assess.detection.structure must be a structure of the task")
        classes = {label.name for label in self.task.classes}
        areas = self.assess.min_auc
        if isinstance(areas, dict) and areas.keys() != classes:
            raise ValueError("assess.min_auc must name every class of the task, and no other")
        return self

    def min_dice(self, structure: str) -> float:
        """The declared limit of one structure."""
        limits = self.assess.min_dice
        return limits[structure] if isinstance(limits, dict) else limits

    def min_auc(self, name: str) -> float:
        """The declared limit of one class."""
        limits = self.assess.min_auc
        return limits[name] if isinstance(limits, dict) else limits
