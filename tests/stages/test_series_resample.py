"""SER-4, SEG-1, SEG-5: series that are no even volume, and segmentations of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from helpers_dicom import EPOCH, OBLIQUE, TASK, encode, make_seg, seg_bytes, uid, write_series
from pydicom.dataset import Dataset

from audit.errors import Unreadable
from stages.archive import write_zip
from stages.segmentation import read_labels, write_labels
from stages.series import Series, read_series

Edit = Callable[[list[Dataset]], list[Dataset]]


def moved(step: Callable[[int], tuple[float, float]]) -> Edit:
    """Move slice n in its columns' direction, and along the normal (mm)."""

    def edit(slices: list[Dataset]) -> list[Dataset]:
        for index, ds in enumerate(slices):
            column = np.array(ds.ImageOrientationPatient[3:], float)
            normal = np.cross(np.array(ds.ImageOrientationPatient[:3], float), column)
            aside, deep = step(index)
            position = np.array(ds.ImagePositionPatient, float) + aside * column + deep * normal
            ds.ImagePositionPatient = [f"{value:.6f}" for value in position]
        return slices

    return edit


TILTED = moved(lambda index: (0.37 * index, 0))
UNEVEN = moved(lambda index: (0, 1.3 * max(0, index - 4)))
BOTH = moved(lambda index: (-0.6 * index, 0.7 * max(0, index - 4)))
EDITS = {"tilted": TILTED, "uneven": UNEVEN, "both": BOTH}


def twin(change: Callable[[Dataset], None] = lambda ds: None) -> Edit:
    def edit(slices: list[Dataset]) -> list[Dataset]:
        again = pydicom.dcmread(_file(slices[3]))
        again.SOPInstanceUID = uid("twin")
        change(again)
        return [*slices, again]

    return edit


def _file(ds: Dataset):
    from io import BytesIO

    return BytesIO(encode(ds))


@pytest.mark.rule("SER-4")
@pytest.mark.parametrize("name", EDITS)
def test_what_is_no_even_volume_is_resampled_on_demand_alone(tmp_path: Path, name: str) -> None:
    path = write_series(tmp_path, "scan", orientation=OBLIQUE, edit=EDITS[name])
    with pytest.raises(Unreadable):
        read_series(path)
    series = read_series(path, resample=True)
    assert series.voxels is not None
    assert series.voxels.shape == series.geometry.shape
    assert series.frame_shape == (8, 16, 16)
    assert len(series.sop_uids) == len(series.headers) == 8
    # Slice n holds the value n: what is read grows from the first to the last.
    middle = series.voxels[:, 8, 8]
    assert middle[0] == 0
    assert middle[-1] == 7
    assert (np.diff(middle) > 0).all()
    assert read_series(path, pixels=False, resample=True).geometry == series.geometry


@pytest.mark.rule("SER-4")
def test_an_even_volume_is_the_same_with_leave_to_resample(tmp_path: Path) -> None:
    path = write_series(tmp_path, "scan")
    one, other = read_series(path), read_series(path, resample=True)
    assert one.geometry == other.geometry
    assert other.regrid is None
    assert np.array_equal(one.voxels, other.voxels)  # type: ignore[arg-type]


@pytest.mark.rule("SER-4")
@pytest.mark.parametrize("missing", [[4], [2, 5]])
def test_missing_slices_are_never_filled(tmp_path: Path, missing: list[int]) -> None:
    path = write_series(
        tmp_path, "scan", shape=(12, 8, 8),
        edit=lambda slices: [s for index, s in enumerate(slices) if index not in missing],
    )  # fmt: skip
    with pytest.raises(Unreadable, match="missing"):
        read_series(path, resample=True)


@pytest.mark.rule("SER-4")
def test_of_slices_that_are_one_image_one_is_taken(tmp_path: Path) -> None:
    path = write_series(tmp_path, "scan", edit=twin())
    with pytest.raises(Unreadable, match="two slices"):
        read_series(path)
    series = read_series(path, resample=True)
    assert series.geometry.shape == (8, 16, 16)
    assert series.voxels is not None
    assert series.voxels[:, 0, 0].tolist() == list(range(8))


def _brighter(ds: Dataset) -> None:
    ds.PixelData = b"\1\0" * 256


def _steeper(ds: Dataset) -> None:
    ds.RescaleSlope = 2


def _aside(ds: Dataset) -> None:
    ds.ImagePositionPatient = [-19, *ds.ImagePositionPatient[1:]]


@pytest.mark.rule("SER-4")
@pytest.mark.parametrize("change", [_brighter, _steeper, _aside])
def test_of_slices_that_differ_at_one_place_none_is_chosen(tmp_path: Path, change) -> None:
    path = write_series(tmp_path, "scan", edit=twin(change))
    with pytest.raises(Unreadable, match="two slices"):
        read_series(path, resample=True)


def labels_of(series: Series) -> np.ndarray:
    """On the acquired frames: a box in some, a voxel in one at the end."""
    labels = np.zeros(series.frame_shape, np.uint8)
    labels[2:6, 4:11, 3:8] = 2
    labels[7, 15, 15] = 5
    return labels


@pytest.mark.rule("SEG-5")
@pytest.mark.parametrize("name", EDITS)
def test_a_written_segmentation_refers_to_the_acquired_slices(tmp_path: Path, name: str) -> None:
    path = write_series(tmp_path, "scan", edit=EDITS[name])
    series = read_series(path, resample=True)
    assert series.regrid is not None
    labels = labels_of(series)
    on_grid = series.regrid.labels(labels)
    out = tmp_path / "seg.dcm"
    write_labels(out, on_grid, series, TASK, seed="1", epoch=EPOCH, description="x", creator="c")
    seg = pydicom.dcmread(out)
    frames = {header.SOPInstanceUID: header for header in series.headers}
    masks = {uid_: labels[index] for index, uid_ in enumerate(series.sop_uids)}
    for group, frame in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        (source,) = group.DerivationImageSequence[0].SourceImageSequence
        header = frames[source.ReferencedSOPInstanceUID]
        position = group.PlanePositionSequence[0].ImagePositionPatient
        assert np.allclose(position, header.ImagePositionPatient)
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        assert np.array_equal(
            frame, masks[source.ReferencedSOPInstanceUID] == TASK.structures[number - 1].label
        )
    assert np.array_equal(read_labels(out, series, TASK).map, on_grid)


@pytest.mark.rule("SEG-1")
@pytest.mark.parametrize("name", EDITS)
def test_a_readers_segmentation_is_carried_to_the_grid(tmp_path: Path, name: str) -> None:
    path = write_series(tmp_path, "scan", edit=EDITS[name])
    series = read_series(path, resample=True)
    assert series.regrid is not None
    mask = np.zeros(series.frame_shape, bool)
    mask[3:5, 2:9, 4:7] = True
    seg = make_seg(tmp_path, series, {"Organ": mask}, "a")
    found = read_labels(seg_bytes(tmp_path, seg), series, TASK).map
    assert np.array_equal(found, series.regrid.labels(mask.astype(np.uint8) * 2))
    assert np.array_equal(series.regrid.to_frames(found), mask * np.uint8(2))


@pytest.mark.rule("SEG-1")
def test_a_frame_between_the_acquired_ones_is_refused(tmp_path: Path) -> None:
    series = read_series(write_series(tmp_path, "scan", edit=UNEVEN), resample=True)
    mask = np.ones(series.frame_shape, bool)

    def move(seg: Dataset) -> None:
        plane = seg.PerFrameFunctionalGroupsSequence[6].PlanePositionSequence[0]
        x, y, z = plane.ImagePositionPatient
        plane.ImagePositionPatient = [x, y, float(z) + 1]

    seg = make_seg(tmp_path, series, {"Organ": mask}, "a", edit=move)
    with pytest.raises(Unreadable, match="no slice"):
        read_labels(seg_bytes(tmp_path, seg), series, TASK)


@pytest.mark.rule("SER-1")
def test_the_order_of_files_decides_nothing(tmp_path: Path) -> None:
    path = write_series(tmp_path / "a", "scan", edit=BOTH)
    members = []

    def collect(slices: list[Dataset]) -> list[Dataset]:
        members.extend((f"{9 - n}.dcm", encode(ds)) for n, ds in enumerate(BOTH(slices)))
        return slices

    write_series(tmp_path / "b", "scan", edit=collect)
    write_zip(tmp_path / "other.zip", members)
    one, other = (read_series(p, resample=True) for p in (path, tmp_path / "other.zip"))
    assert one.geometry == other.geometry
    assert one.sop_uids == other.sop_uids
    assert np.array_equal(one.voxels, other.voxels)  # type: ignore[arg-type]
