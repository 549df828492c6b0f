"""Section `annotate` of `params.yaml`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stages.params import Params, Project, Task

Share = Annotated[float, Field(ge=0, le=1)]


class AnnotateParams(Params):
    """How readers' annotations become a consensus, and when a human must look."""

    consensus: Literal["staple", "majority", "expert"] = "staple"
    """With three or more readers: STAPLE or a strict majority of votes. `expert`: the annotation
    of one reader stands, the others only measure it."""
    expert: str | None = None
    """Reader whose annotation stands (as in `series.parquet`); needs `consensus: expert`."""
    two_readers: Literal["midway", "withhold"] = "midway"
    """Two readers have no majority. `midway`: the surface halfway between theirs, unless they
    disagree on an object; `withhold`: no consensus."""
    readers: tuple[str, ...] = ()
    """Readers who are expected to annotate each annotated series; one missing queues it."""
    min_readers: Annotated[int, Field(ge=1)] = 1
    """With fewer readers a series gets no consensus."""
    tolerance_mm: Annotated[float, Field(gt=0)] = 1.0
    """Distance within which two surfaces agree (normalized surface Dice)."""
    min_dice: Share = 0.5
    """A series is queued if its readers' mean Dice of a structure is lower."""
    min_mean_dice: Share = 0.6
    """The stage refuses if the cohort's mean Dice between readers of a structure is lower."""
    min_class_agreement: Share = 0.6
    """The stage refuses if two readers of the class give the same label to a lower share of their
    common cases, over all pairs of the cohort."""
    max_queued: Share = 0.5
    """The stage refuses if a higher share of the annotated series is queued."""

    @model_validator(mode="after")
    def _expert_named(self) -> Self:
        if (self.consensus == "expert") != (self.expert is not None):
            raise ValueError("`expert` names the reader of `consensus: expert`, and only of it")
        return self


class Parameters(Params):
    """The sections that the stage takes."""

    project: Project
    task: Task
    annotate: AnnotateParams = AnnotateParams()
