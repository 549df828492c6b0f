"""DAT-5: a series that ingestion flagged is no volume; one that is to be resampled is."""

from pathlib import Path

import pytest
from helpers_dicom import TASK, image_row, write_series
from test_series_resample import TILTED

from stages.dataset.standing import standings
from stages.series import read_series


@pytest.mark.rule("DAT-5")
@pytest.mark.parametrize(
    ("geometry", "findings", "reason"),
    [
        ("resample", "tilted", ""),
        ("flagged", "tilted", "has no series that is a volume (tilted)"),
        ("volume", "", "has no series that is a volume"),
    ],
)
def test_a_subject_stands_as_its_series_do(tmp_path: Path, geometry, findings, reason) -> None:
    path = write_series(tmp_path, "scan", edit=TILTED)
    series = read_series(path, resample=True)
    row = image_row("s", series) | {"geometry": geometry, "geometry_findings": findings}
    found = standings({"s": [path]}, consensus=(), rows=[row], queue=(), classes=(), task=TASK)
    assert found["s"].reason == reason
