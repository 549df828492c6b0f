"""The risk of a recognizable face, judged by words and by extent."""

from pathlib import Path

import pytest
from helpers_ingest import ct, ingest, new_vault, parameters, save

from stages.ingest.face import Risk, extent_mm, risk
from stages.ingest.geometry import Slice

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def slices(
    count: int, size: int, step: float, orientation: tuple[float, ...] = AXIAL
) -> list[Slice]:
    """Slices of size × size pixels of 1 mm, `step` mm apart along the normal."""
    normal = (0, 0, step) if orientation == AXIAL else (step, 0, 0)
    grid = (str(size), str(size), "1.2", "MR", "MONOCHROME2")
    return [
        Slice(tuple(number * one for one in normal), orientation, (1.0, 1.0), grid)
        for number in range(count)
    ]


@pytest.mark.rule("FAC-2")
@pytest.mark.parametrize(
    ("modality", "words", "places", "expected"),
    [
        ("MR", "BRAIN t1 axial", slices(30, 240, 5), Risk.LIKELY),
        ("MR", "brain", slices(160, 240, 1, SAGITTAL), Risk.LIKELY),
        ("CT", "HEAD", slices(60, 250, 2.5), Risk.LIKELY),
        ("CT", "CHEST HEAD", slices(60, 250, 2.5), Risk.LIKELY),
        ("MR", "", slices(30, 240, 5), Risk.POSSIBLE),
        ("CT", "", slices(60, 400, 5), Risk.NONE),
        ("CT", "CHEST", slices(60, 250, 5), Risk.NONE),
        ("MR", "HEADLIGHT knee", slices(30, 160, 5), Risk.NONE),
        ("MR", "BRAIN hippocampus", slices(35, 45, 1), Risk.NONE),
        ("MR", "BRAIN", slices(5, 240, 5), Risk.NONE),
        ("US", "HEAD", slices(60, 250, 2.5), Risk.NONE),
        ("CT", "HEAD", [], Risk.NONE),
    ],
)
def test_a_face_is_likely_in_a_head_as_large_as_one(modality, words, places, expected) -> None:
    assert risk(modality, words, places) is expected


@pytest.mark.rule("FAC-3")
def test_the_extent_is_told_by_the_patient_not_by_the_slices() -> None:
    assert extent_mm(slices(11, 101, 2)) == pytest.approx((100, 100, 20))
    assert extent_mm(slices(11, 101, 2, SAGITTAL)) == pytest.approx((20, 100, 100))


@pytest.mark.rule("FAC-2")
def test_the_risk_is_recorded_for_each_series(tmp_path: Path) -> None:
    large = {"PixelSpacing": [60, 60], "SliceThickness": "30"}
    heads = [
        ct(index, "2", BodyPartExamined="HEAD", ImagePositionPatient=[0, 0, 30 * index], **large)
        for index in range(4)
    ]
    small = [ct(index, "3", BodyPartExamined="HEAD") for index in range(4)]
    folder = save(tmp_path / "in", *heads, *small)
    params = parameters(pixels={"sampled": 0})
    vault = new_vault(tmp_path / "vault")
    result = ingest(tmp_path / "out", folder, vault_folder=vault, params=params)
    assert sorted(row["face_risk"] for row in result.table("series")) == ["likely", "none"]


@pytest.mark.slow
@pytest.mark.rule("FAC-2")
def test_in_a_real_brain_study_a_face_is_likely(tmp_path: Path, shared_data: Path) -> None:
    source = shared_data / "brain-mr-study3.zip"
    if not source.is_file():
        pytest.skip("the shared brain study (../shared/data) is not here")
    params = parameters(pixels={"sampled": 0})
    result = ingest(
        tmp_path / "out", source, vault_folder=new_vault(tmp_path / "vault"), params=params
    )
    found = [row["face_risk"] for row in result.table("series")]
    assert found.count("likely") >= 3
    assert found.count("none") <= 1  # one is cropped
