"""Runs the stage annotate on subjects of synthetic series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from helpers_dicom import (
    EPOCH,
    TASK,
    annotation_row,
    image_row,
    make_seg,
    make_series,
    write_series_table,
)
from numpy.typing import NDArray
from scipy import ndimage

from stages.annotate.params import AnnotateParams, Parameters
from stages.annotate.stage import STAGE
from stages.params import Project
from stages.series import Series
from stages.stage import MergeContext, Outcome, RunContext, Unit
from stages.table import read_table

Drawing = Mapping[str, NDArray[np.bool_]]
"""Segment label → mask."""


@dataclass
class Subject:
    """One subject's tree of ingest, built drawing by drawing."""

    tree: Path
    name: str
    rows: list[dict[str, str]] = field(default_factory=list)

    def series(self, name: str = "scan", **options: Any) -> Series:
        series = make_series(self.tree, f"{self.name}/{name}", **options)
        self.rows.append(image_row(self.name, series))
        return series

    def draw(self, series: Series, reader: str, drawing: Drawing, **options: Any) -> str:
        uid = make_seg(self.tree, series, drawing, reader, **options)
        self.rows.append(annotation_row(self.name, series, uid, reader))
        return uid

    def run(self, out: Path, **params: Any) -> Outcome:
        write_series_table(self.tree, self.rows)
        out.mkdir(parents=True)
        unit = Unit(name=self.name, inputs={f"ingest/{self.name}": "0" * 64})
        trees = {f"ingest/{self.name}": self.tree}
        return STAGE.run(unit, RunContext(params=parameters(**params), trees=trees, out=out))


def subject(folder: Path, name: str = "s-1") -> Subject:
    tree = folder / "ingest" / name
    tree.mkdir(parents=True)
    return Subject(tree, name)


def parameters(**changes: Any) -> Parameters:
    return Parameters(
        project=Project(name="test", epoch=EPOCH),
        task=TASK,
        annotate=AnnotateParams(**changes),
    )


def merge(folder: Path, subjects: Sequence[Subject], **params: Any) -> tuple[Outcome, Path]:
    """Run every subject's unit and merge them; the merged folder."""
    units = {}
    for one in subjects:
        units[one.name] = folder / "annotate" / one.name
        one.run(units[one.name], **params)
    out = folder / "merged"
    out.mkdir()
    trees = {f"ingest/{one.name}": one.tree for one in subjects}
    context = MergeContext(params=parameters(**params), units=units, trees=trees, notes={}, out=out)
    return STAGE.merge(context), out


def queue(out: Path) -> list[tuple[str, str]]:
    return [(row["rule"], row["reason"]) for row in read_table(out / "queue.parquet")]


def redraw(mask: NDArray[np.bool_], seed: int, sway: float) -> NDArray[np.bool_]:
    """A reader's drawing of a truth: its edge moved smoothly at random, by about `sway` voxels."""
    depth = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    noise = np.random.default_rng(seed).normal(size=mask.shape)
    smooth = ndimage.gaussian_filter(noise, 1.5)
    moved: NDArray[np.bool_] = depth + sway * smooth / smooth.std() > 0
    return moved
