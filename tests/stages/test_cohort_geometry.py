"""COH-1: what ingestion flagged is no case; what it left to resampling is resampled."""

from pathlib import Path

import numpy as np
import pytest
from helpers_dicom import EPOCH, TASK, image_row, write_series
from test_series_resample import TILTED, UNEVEN

from stages.cohort import load_case, read_cases
from stages.params import Volume
from stages.segmentation import write_labels
from stages.series import read_series
from stages.table import write_table

COLUMNS = ("subject", "study", "series", "modality", "kind", "reader", "annotates", "manufacturer",
           "geometry", "geometry_findings")  # fmt: skip


def cohort(folder: Path, fits: dict[str, str]) -> Path:
    """A subject with a tilted series, an uneven one and an even one, standing as told."""
    edits = {"tilted": TILTED, "uneven": UNEVEN, "even": lambda slices: slices}
    rows = []
    for name, fit in fits.items():
        path = write_series(folder / "s", name, edit=edits[name])
        series = read_series(path, resample=True)
        rows.append(image_row("s", series) | {"geometry": fit, "geometry_findings": name})
        labels = np.zeros(series.geometry.shape, np.uint8)
        labels[2:5, 3:9, 3:9] = 2
        write_labels(
            folder / "s" / "consensus" / f"{series.uid}.dcm",
            labels, series, TASK, seed=name, epoch=EPOCH, description="x", creator="c",
        )  # fmt: skip
    write_table(folder / "series.parquet", rows, dict.fromkeys(COLUMNS, "string"))
    split = {"subject": "s", "split": "train", "reason": "", "vendor": "North"}
    write_table(folder / "splits.parquet", [split], dict.fromkeys(split, "string"))
    return folder


@pytest.mark.rule("COH-1")
def test_flagged_series_are_no_cases_and_others_are_resampled(tmp_path: Path) -> None:
    fits = {"tilted": "resample", "uneven": "flagged", "even": "volume"}
    cases = read_cases(cohort(tmp_path, fits), TASK)
    assert sorted(case.resample for case in cases) == [False, True]
    for case in cases:
        series, sample = load_case(case, TASK, Volume(patch=(8, 8, 8)))
        assert series.geometry.shape == ((8, 19, 16) if case.resample else (8, 16, 16))
        assert sample.labels is not None
        assert sample.labels.shape == sample.prepared.grid == series.geometry.shape
        assert sample.labels.any()
