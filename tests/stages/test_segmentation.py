from __future__ import annotations

import zipfile
from collections.abc import Callable
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from helpers_dicom import (
    AXIAL,
    EPOCH,
    OBLIQUE,
    TASK,
    box,
    encode,
    make_seg,
    make_series,
    seg_bytes,
)
from pydicom.dataset import Dataset

from audit.errors import Unreadable
from stages.segmentation import LabelMap, read_labels, referenced_series, write_labels
from stages.series import Series

SHAPE = (8, 16, 16)
ORGAN = box(SHAPE, (1, 7), (3, 12), (4, 9))
LESION = box(SHAPE, (2, 4), (5, 8), (5, 7)) | box(SHAPE, (6, 7), (9, 10), (5, 7))


def label_map() -> LabelMap:
    labels = np.zeros(SHAPE, np.uint8)
    labels[ORGAN], labels[LESION] = 2, 5
    return labels


@pytest.fixture
def series(tmp_path: Path) -> Series:
    return make_series(tmp_path)


def read_edited(folder: Path, series: Series, edit: Callable[[Dataset], None]) -> LabelMap:
    name = make_seg(folder, series, {"Organ": ORGAN}, "reader-a", edit=edit)
    return read_labels(folder / f"{name}.zip", series, TASK).map


@pytest.mark.rule("SEG-1")
@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE, (-1, 0, 0, 0, -1, 0)])
def test_labels_align_with_the_grid_of_the_series(tmp_path: Path, orientation: Any) -> None:
    series = make_series(tmp_path, orientation=orientation, spacing_mm=(2.5, 0.7, 0.9))
    name = make_seg(
        tmp_path,
        series,
        {"ORGAN ": ORGAN & ~LESION, "lesion": LESION, "Vessel": ORGAN},
        "reader-a",
        classes={"lesion": "Malignant", "ORGAN ": "benign"},
    )
    labels = read_labels(tmp_path / f"{name}.zip", series, TASK)
    assert np.array_equal(labels.map, label_map())
    assert labels.map.dtype == np.uint8
    assert labels.classes == {"lesion": "malignant"}
    assert labels.reader == "reader-a"
    assert referenced_series(tmp_path / f"{name}.zip") == series.uid


@pytest.mark.rule("SEG-1")
def test_frames_are_placed_by_position_not_by_order(tmp_path: Path, series: Series) -> None:
    def reverse(seg: Dataset) -> None:
        frames = seg.pixel_array[::-1].astype(np.uint8)
        seg.PixelData = pydicom.pixels.pack_bits(frames)
        seg.PerFrameFunctionalGroupsSequence = seg.PerFrameFunctionalGroupsSequence[::-1]

    assert np.array_equal(read_edited(tmp_path, series, reverse) == 2, ORGAN)


@pytest.mark.rule("SEG-1")
def test_a_single_drawn_slice_lies_where_it_was_drawn(tmp_path: Path, series: Series) -> None:
    mask = box(SHAPE, (5, 6), (2, 4), (3, 9))
    name = make_seg(tmp_path, series, {"Lesion": mask}, "reader-a")
    assert np.array_equal(read_labels(tmp_path / f"{name}.zip", series, TASK).map, mask * 5)


def test_bytes_a_file_and_an_archive_read_the_same(tmp_path: Path, series: Series) -> None:
    name = make_seg(tmp_path, series, {"Organ": ORGAN}, "reader-a")
    data = seg_bytes(tmp_path, name)
    (tmp_path / "seg.dcm").write_bytes(data)
    for source in (data, tmp_path / "seg.dcm", tmp_path / f"{name}.zip"):
        assert np.array_equal(read_labels(source, series, TASK).map == 2, ORGAN)


@pytest.mark.rule("SEG-3")
def test_the_later_structure_wins_where_segments_overlap(tmp_path: Path, series: Series) -> None:
    name = make_seg(tmp_path, series, {"Lesion": LESION, "Organ": ORGAN}, "reader-a")
    assert np.array_equal(read_labels(tmp_path / f"{name}.zip", series, TASK).map, label_map())


def _move(millimeters: float) -> Callable[[Dataset], None]:
    def edit(seg: Dataset) -> None:
        for group in seg.PerFrameFunctionalGroupsSequence:
            plane = group.PlanePositionSequence[0]
            x, y, z = plane.ImagePositionPatient
            plane.ImagePositionPatient = [x, y, z + millimeters]

    return edit


def _set(keyword: str, value: Any) -> Callable[[Dataset], None]:
    return lambda seg: setattr(seg, keyword, value)


def _turn(seg: Dataset) -> None:
    shared = seg.SharedFunctionalGroupsSequence[0]
    groups = [shared, *seg.PerFrameFunctionalGroupsSequence]
    for group in groups:
        if "PlaneOrientationSequence" in group:
            group.PlaneOrientationSequence[0].ImageOrientationPatient = [0, 1, 0, 1, 0, 0]


def _other_series(seg: Dataset) -> None:
    seg.ReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.3"


def _no_series(seg: Dataset) -> None:
    del seg.ReferencedSeriesSequence


BAD: list[tuple[str, str, Callable[[Dataset], None]]] = [
    ("SEG-1", "no slice", _move(1.0)),
    ("SEG-1", "no slice", _move(40.0)),
    ("SEG-1", "another orientation", _turn),
    ("SEG-1", "another shape", _set("Rows", 8)),
    ("SEG-1", "cannot be read", _set("PixelData", b"")),
    ("SEG-2", "another series", _other_series),
    ("SEG-2", "refers to 0 series", _no_series),
    ("SEG-2", "frame of reference", _set("FrameOfReferenceUID", "1.2.3")),
    ("SEG-2", "neither binary", _set("SegmentationType", "OTHER")),
    ("SEG-2", "none of the task", lambda seg: setattr(seg.SegmentSequence[0], "SegmentLabel", "x")),
]


@pytest.mark.parametrize(("reason", "edit"), [bad[1:] for bad in BAD])
@pytest.mark.rule("SEG-1")
@pytest.mark.rule("SEG-2")
def test_what_does_not_fit_the_series_is_refused(
    tmp_path: Path, series: Series, reason: str, edit: Callable[[Dataset], None]
) -> None:
    with pytest.raises(Unreadable, match=reason):
        read_edited(tmp_path, series, edit)


@pytest.mark.parametrize("data", [b"", b"no DICOM at all" * 40])
def test_damaged_bytes_are_refused(series: Series, data: bytes) -> None:
    with pytest.raises(Unreadable, match="cannot be read"):
        read_labels(data, series, TASK)


def written(path: Path, series: Series, labels: LabelMap, **changes: Any) -> Path:
    options: dict[str, Any] = {
        "seed": "one",
        "epoch": EPOCH,
        "description": "Consensus (staple)",
        "classes": {"lesion": "benign"},
        "algorithm": "Kette-staple 1",
        "creator": "Consensus",
    }
    write_labels(path, labels, series, TASK, **options | changes)
    return path


@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE])
def test_highdicom_reads_what_is_written(tmp_path: Path, orientation: Any) -> None:
    series = make_series(tmp_path, orientation=orientation)
    seg = hd.seg.segread(written(tmp_path / "c.dcm", series, label_map()))
    assert seg.FrameOfReferenceUID == series.frame_of_reference_uid
    frames = seg.get_pixels_by_source_instance(
        list(series.sop_uids), combine_segments=True, assert_missing_frames_are_empty=True
    )
    numbers = np.array([0, 2, 5])  # segments are numbered in the order of the task
    assert np.array_equal(numbers[frames], label_map())
    lesion = seg.get_segment_description(2)
    assert (lesion.segment_label, lesion.SegmentDescription) == ("Lesion", "benign")
    assert lesion.segmented_property_category.value == "49755003"
    assert seg.SeriesDescription == "Consensus (staple)"


def test_what_is_written_reads_back_the_same(tmp_path: Path, series: Series) -> None:
    labels = read_labels(written(tmp_path / "c.dcm", series, label_map()), series, TASK)
    assert np.array_equal(labels.map, label_map())
    assert labels.classes == {"lesion": "benign"}
    assert labels.reader == "Consensus"


def test_an_empty_label_map_is_written_and_read(tmp_path: Path, series: Series) -> None:
    path = written(tmp_path / "c.dcm", series, np.zeros(SHAPE, np.uint8))
    assert not read_labels(path, series, TASK).map.any()


@pytest.mark.rule("SEG-4")
def test_the_same_arguments_give_the_same_bytes(
    tmp_path: Path, series: Series, monkeypatch: pytest.MonkeyPatch
) -> None:
    import highdicom.base

    one = written(tmp_path / "a.dcm", series, label_map()).read_bytes()

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return super().now(tz) + timedelta(days=400)

    monkeypatch.setattr(highdicom.base.datetime, "datetime", Later)
    assert written(tmp_path / "b.dcm", series, label_map()).read_bytes() == one


@pytest.mark.rule("SEG-4")
def test_another_seed_gives_other_uids_and_the_epoch_is_the_only_time(
    tmp_path: Path, series: Series
) -> None:
    one, other = (
        pydicom.dcmread(written(tmp_path / f"{seed}.dcm", series, label_map(), seed=seed))
        for seed in ("one", "two")
    )
    assert one.SOPInstanceUID != other.SOPInstanceUID
    assert one.SeriesInstanceUID != other.SeriesInstanceUID
    assert one.StudyInstanceUID == other.StudyInstanceUID == series.study_uid
    times = {
        str(element.value)[:8]
        for element in one.iterall()
        if element.VR in {"DA", "DT"} and element.value
    }
    assert times == {EPOCH.strftime("%Y%m%d")}


def test_a_label_map_of_another_grid_is_not_written(tmp_path: Path, series: Series) -> None:
    with pytest.raises(ValueError, match="grid"):
        written(tmp_path / "c.dcm", series, label_map()[1:])


@pytest.mark.peer("dciodvfy")
def test_dciodvfy_finds_no_error(tmp_path: Path, series: Series) -> None:
    import subprocess

    path = written(tmp_path / "c.dcm", series, label_map())
    report = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
    errors = [line for line in report.stderr.splitlines() if line.startswith("Error")]
    # The tiny series leaves out what a scanner writes; the object itself must be sound.
    assert errors == []


def test_the_shared_readers_align_with_their_mr(shared_data: Path, tmp_path: Path) -> None:
    from stages.params import Code, Structure, Task
    from stages.series import read_series

    with zipfile.ZipFile(shared_data / "hippocampus" / "hippocampus_001.zip") as archive:
        archive.extractall(tmp_path)
    mr = read_series(tmp_path / "MR")
    code = Code(value="1", scheme="99X", meaning="x")
    names = ("anterior", "posterior")
    task = Task(
        modality="MR",
        structures=tuple(
            Structure(name=name, label=label, segment_label=f"{name} Hippocampus", code=code)
            for label, name in enumerate(names, start=1)
        ),
    )
    labels = read_labels(tmp_path / "SEG" / "reader-a.dcm", mr, task)
    seg = hd.seg.segread(BytesIO((tmp_path / "SEG" / "reader-a.dcm").read_bytes()))
    theirs = seg.get_pixels_by_source_instance(
        list(mr.sop_uids), combine_segments=True, assert_missing_frames_are_empty=True
    )
    assert np.array_equal(labels.map, theirs)
    assert set(np.unique(labels.map)) == {0, 1, 2}


def test_an_archive_of_two_objects_is_refused(tmp_path: Path, series: Series) -> None:
    from stages.archive import write_zip

    data = encode(pydicom.dcmread(written(tmp_path / "c.dcm", series, label_map())))
    write_zip(tmp_path / "two.zip", [("1.dcm", data), ("2.dcm", data)])
    with pytest.raises(Unreadable, match="one of 2"):
        referenced_series(tmp_path / "two.zip")
