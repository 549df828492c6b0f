"""Section `dataset` of `params.yaml`: how subjects are parted, and what a cohort must hold."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from stages.params import Params, Project, Task

Fraction = Annotated[float, Field(gt=0, lt=1)]


class Fractions(Params):
    """Expected share of the labeled subjects in each split; the three add up to 1."""

    train: Fraction = 0.6
    validation: Fraction = 0.15
    test: Fraction = 0.25

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if abs(self.train + self.validation + self.test - 1) > 1e-9:
            raise ValueError("train, validation and test must add up to 1")
        return self


class DatasetParams(Params):
    """Section `dataset`."""

    fractions: Fractions = Fractions()
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 1
    """Another seed parts the cohort anew. Changing it unlocks the test split: do it before the
    first look at the test split, never after."""
    min_test_subjects: Annotated[int, Field(ge=1)] = 3
    """DAT-7: the gate refuses a cohort with fewer labeled subjects in its test split."""


class Parameters(Params):
    """The sections that the stage takes."""

    project: Project
    task: Task
    dataset: DatasetParams = DatasetParams()
