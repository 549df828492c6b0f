"""Enhanced multi-frame CT and MR: cleaned in every functional group, read frame by frame."""

import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from helpers_dicom import EPOCH
from helpers_dicom import TASK as STRUCTURES
from helpers_enhanced import enhanced
from helpers_ingest import ROOT, Result, ingest, item, new_vault, parameters, save
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from stages.ingest.quarantine import Reason
from stages.segmentation import read_labels, write_labels
from stages.series import Series, read_series

DEPTHS = (6, 0, 3, 9, 12)


def taken(tmp_path: Path, *datasets: Dataset, **ingested: object) -> Result:
    return ingest(
        tmp_path / "out",
        save(tmp_path / "in", *datasets),
        vault_folder=new_vault(tmp_path / "vault"),
        params=parameters(max_quarantined_fraction=1, **ingested),
    )


def series_of(result: Result, *, resample: bool = False) -> Series:
    (row,) = result.table("series")
    archive = result.units[row["subject"]] / f"{row['series']}.zip"
    return read_series(archive, resample=resample)


@pytest.mark.rule("SER-1")
@pytest.mark.rule("SER-5")
@pytest.mark.parametrize(
    ("modality", "rescale", "expected"),
    [
        ("CT", "per frame", [-998, -994, -1000, -988, -980]),
        ("CT", "shared", [-998, -996, -1000, -994, -992]),
        ("MR", "none", [1, 2, 0, 3, 4]),
    ],
)
def test_frames_are_sorted_by_position_and_rescaled_each(
    tmp_path: Path, modality: str, rescale: str, expected: list[int]
) -> None:
    result = taken(tmp_path, enhanced(DEPTHS, modality=modality, rescale=rescale))
    assert result.reasons == []
    (row,) = result.table("series")
    assert (row["kind"], row["modality"], row["instances"]) == ("image", modality, 1)
    assert (row["geometry"], row["slices"], row["multi_frame"]) == ("volume", 5, True)
    assert row["instance_order"] == "other"
    series = series_of(result)
    assert series.geometry.spacing_mm == (3, 1, 1)
    assert series.voxels is not None
    assert series.voxels[:, 0, 0].tolist() == expected
    assert series.frames == (1, 2, 0, 3, 4)
    assert len(set(series.sop_uids)) == len(series.headers) == 1


@pytest.mark.rule("ING-5")
def test_dates_in_functional_groups_move_with_all_others(tmp_path: Path) -> None:
    (dataset,) = taken(tmp_path, enhanced()).datasets
    days = {
        str(value)[:8]
        for value in (
            dataset.StudyDate,
            dataset.AcquisitionDateTime,
            *(
                frame.FrameContentSequence[0][keyword].value
                for frame in dataset.PerFrameFunctionalGroupsSequence
                for keyword in ("FrameAcquisitionDateTime", "FrameReferenceDateTime")
            ),
        )
    }
    assert len(days) == 1
    assert days != {"20240229"}
    times = [
        str(frame.FrameContentSequence[0].FrameAcquisitionDateTime)[8:]
        for frame in dataset.PerFrameFunctionalGroupsSequence
    ]
    assert times == [f"10111{index}.250000" for index in range(4)]


@pytest.mark.rule("ING-3")
def test_no_identifier_is_left_in_functional_groups(tmp_path: Path) -> None:
    result = taken(tmp_path, enhanced())
    everything = b"".join(result.members.values())
    for needle in ("Leonore", "hwinkler", "KH-4711", ROOT, "20240229", "FrameComments"):
        assert needle.encode() not in everything
    (dataset,) = result.datasets
    content = dataset.PerFrameFunctionalGroupsSequence[2].FrameContentSequence[0]
    assert (content.StackID, content.InStackPositionNumber) == ("1", 3)
    assert dataset.PatientIdentityRemoved == "YES"


@pytest.mark.rule("ING-2")
def test_frames_that_say_no_place_or_are_too_many_are_quarantined(tmp_path: Path) -> None:
    lost = enhanced()
    del lost.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence
    short = enhanced(series="2")
    del short.PerFrameFunctionalGroupsSequence[3]
    result = taken(tmp_path / "a", lost, short)
    assert result.reasons == [Reason.NO_GEOMETRY.value] * 2
    many = taken(tmp_path / "b", enhanced(), limits={"frames": 3})
    assert many.reasons == [Reason.SIZE.value]


def _apart(dataset: Dataset) -> Dataset:
    """Orientation and pixel measures in each frame's own groups instead of the shared ones."""
    shared = dataset.SharedFunctionalGroupsSequence[0]
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        for group in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
            setattr(frame, group, Sequence([item(**_values(shared[group].value[0]))]))
    del shared.PlaneOrientationSequence, shared.PixelMeasuresSequence
    return dataset


def _values(dataset: Dataset) -> dict[str, object]:
    return {element.keyword: element.value for element in dataset}


@pytest.mark.rule("SEG-5")
@pytest.mark.parametrize("change", [lambda dataset: dataset, _apart])
@pytest.mark.parametrize("depths", [DEPTHS, (6, 0, 3, 10.2, 13.2)])
def test_a_segmentation_refers_to_frames(tmp_path: Path, depths, change) -> None:
    result = taken(tmp_path, change(enhanced(depths)), geometry={"uneven": "resample"})
    series = series_of(result, resample=True)
    labels = np.zeros(series.frame_shape, np.uint8)
    labels[1, 1:3, 1:3], labels[3, 0, 0] = 2, 5
    on_grid = series.regrid.labels(labels) if series.regrid else labels
    out = tmp_path / "seg.dcm"
    write_labels(
        out, on_grid, series, STRUCTURES, seed="1", epoch=EPOCH, description="x", creator="c"
    )
    (dataset,) = result.datasets
    seg = pydicom.dcmread(out)
    assert len(seg.PerFrameFunctionalGroupsSequence) == 2
    for group in seg.PerFrameFunctionalGroupsSequence:
        (source,) = group.DerivationImageSequence[0].SourceImageSequence
        assert source.ReferencedSOPInstanceUID == dataset.SOPInstanceUID
        number = int(source.ReferencedFrameNumber)
        plane = dataset.PerFrameFunctionalGroupsSequence[number - 1].PlanePositionSequence[0]
        own = group.PlanePositionSequence[0]
        assert own.ImagePositionPatient == plane.ImagePositionPatient
    assert np.array_equal(read_labels(out, series, STRUCTURES).map, on_grid)


@pytest.mark.rule("ING-6")
def test_the_same_instance_gives_the_same_bytes(tmp_path: Path) -> None:
    vault = new_vault(tmp_path / "vault")
    found = [
        ingest(tmp_path / name, save(tmp_path / f"{name}-in", enhanced()), vault_folder=vault).files
        for name in ("a", "b")
    ]
    assert found[0] == found[1]


@pytest.mark.peer("dciodvfy")
@pytest.mark.rule("ING-9")
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_dciodvfy_finds_no_error_that_the_input_did_not_have(tmp_path: Path, modality) -> None:
    result = taken(tmp_path, enhanced(modality=modality))
    (tmp_path / "one.dcm").write_bytes(next(iter(result.members.values())))

    def errors(path: Path) -> set[str]:
        done = subprocess.run(
            ["dciodvfy", path], capture_output=True, text=True, check=False, errors="replace"
        )
        return {line for line in done.stderr.splitlines() if line.startswith("Error")}

    (source,) = (tmp_path / "in").iterdir()
    assert errors(source)
    assert errors(tmp_path / "one.dcm") <= errors(source)
