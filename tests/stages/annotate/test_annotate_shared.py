"""Annotate on a real subject of the shared cohort, with its two readers."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from helpers_annotate import parameters
from helpers_dicom import annotation_row, image_row, write_series_table

from stages.annotate.params import AnnotateParams, Parameters
from stages.annotate.stage import STAGE
from stages.archive import write_zip
from stages.params import Code, Structure, Task
from stages.segmentation import read_labels
from stages.series import Series, read_series
from stages.stage import RunContext, Unit
from stages.table import read_table

TASK = Task(
    modality="MR",
    structures=tuple(
        Structure(
            name=name,
            label=label,
            segment_label=f"{name} hippocampus",
            code=Code(value=value, scheme="SCT", meaning=meaning),
        )
        for label, name, value, meaning in (
            (1, "anterior", "279403005", "Head of hippocampus"),
            (2, "posterior", "279404004", "Body and tail of hippocampus"),
        )
    ),
)


def make_tree(shared_data: Path, tree: Path) -> Series:
    tree.mkdir()
    with zipfile.ZipFile(shared_data / "hippocampus" / "hippocampus_001.zip") as archive:
        members = {name: archive.read(name) for name in archive.namelist() if name.endswith("dcm")}
    slices = [(Path(name).name, data) for name, data in members.items() if name.startswith("MR/")]
    uid = pydicom.dcmread(BytesIO(slices[0][1])).SeriesInstanceUID
    write_zip(tree / f"{uid}.zip", slices)
    series = read_series(tree / f"{uid}.zip", pixels=False)
    rows = [image_row("s-1", series)]
    for reader in ("reader-a", "reader-b"):
        data = members[f"SEG/{reader}.dcm"]
        name = str(pydicom.dcmread(BytesIO(data)).SeriesInstanceUID)
        write_zip(tree / f"{name}.zip", [("seg.dcm", data)])
        rows.append(annotation_row("s-1", series, name, reader))
    write_series_table(tree, rows)
    return series


@pytest.mark.rule("ANN-1")
@pytest.mark.rule("ANN-2")
def test_the_expert_stands_and_the_second_reader_agrees_as_published(
    shared_data: Path, tmp_path: Path
) -> None:
    series = make_tree(shared_data, tmp_path / "tree")
    out = tmp_path / "out"
    out.mkdir()
    params = Parameters(
        project=parameters().project,
        task=TASK,
        annotate=AnnotateParams(consensus="expert", expert="reader-a"),
    )
    trees = {"ingest/s-1": tmp_path / "tree"}
    STAGE.run(Unit(name="s-1", inputs={}), RunContext(params=params, trees=trees, out=out))
    found = read_labels(out / "consensus" / f"{series.uid}.dcm", series, TASK).map
    with zipfile.ZipFile(shared_data / "hippocampus" / "hippocampus_001.zip") as archive:
        expert = read_labels(archive.read("SEG/reader-a.dcm"), series, TASK).map
    assert np.array_equal(found, expert)
    rows = read_table(out / "agreement.parquet")
    assert [row["structure"] for row in rows] == ["anterior", "posterior"]
    assert all(0.75 < row["dice"] < 0.95 for row in rows)
    assert read_table(out / "queue.parquet") == []
