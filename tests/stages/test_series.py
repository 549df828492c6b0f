from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers_dicom import AXIAL, OBLIQUE, make_series, uid, write_series
from pydicom.dataset import Dataset

from audit.errors import Unreadable
from stages.archive import read_zip
from stages.series import read_series

Edit = Callable[[list[Dataset]], list[Dataset]]


@pytest.mark.rule("SER-1")
@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE, (-1, 0, 0, 0, -1, 0), (0, 1, 0, 0, 0, -1)])
def test_slices_lie_in_the_order_of_their_position(tmp_path: Path, orientation: Any) -> None:
    # UIDs name the files, so their order in the archive is none; instance numbers run backwards.
    series = make_series(tmp_path, orientation=orientation, spacing_mm=(2.5, 0.7, 0.9))
    assert series.voxels is not None
    assert series.voxels[:, 0, 0].tolist() == list(range(8))
    assert series.sop_uids == tuple(uid(f"scan/{index}") for index in range(8))
    grid = series.geometry
    assert grid.shape == (8, 16, 16)
    assert grid.spacing_mm == pytest.approx((2.5, 0.7, 0.9))
    assert grid.origin_mm == pytest.approx((-20, 10, 5))
    assert np.allclose(grid.axes[1], orientation[3:])
    assert np.allclose(grid.axes[2], orientation[:3])
    assert np.allclose(grid.axes[0], np.cross(orientation[:3], orientation[3:]))


def test_geometry_says_where_each_voxel_lies(tmp_path: Path) -> None:
    import highdicom as hd

    series = make_series(tmp_path, orientation=OBLIQUE, spacing_mm=(2.5, 0.7, 0.9))
    header, grid = series.headers[3], series.geometry
    transform = hd.spatial.PixelToReferenceTransformer.for_image(header)
    theirs = transform(np.array([[4, 6]]))[0]  # column, row
    steps = np.array([3, 6, 4]) * grid.spacing_mm
    assert np.allclose(np.array(grid.origin_mm) + steps @ np.array(grid.axes), theirs, atol=1e-5)


def test_voxels_are_in_rescaled_units(tmp_path: Path) -> None:
    series = make_series(tmp_path, slope=2.5, intercept=-1000)
    assert series.voxels is not None
    assert series.voxels.dtype == np.float32
    assert series.voxels[:, 5, 5].tolist() == [-1000 + 2.5 * index for index in range(8)]


def test_a_folder_reads_as_its_archive(tmp_path: Path) -> None:
    path = write_series(tmp_path, "scan")
    folder = tmp_path / "folder"
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    one, other = read_series(path), read_series(folder)
    assert one.geometry == other.geometry
    assert np.array_equal(one.voxels, other.voxels)  # type: ignore[arg-type]


def test_without_pixels_the_rest_is_the_same(tmp_path: Path) -> None:
    path = write_series(tmp_path, "scan", vendor="South")
    series = read_series(path, pixels=False)
    assert series.voxels is None
    assert series.geometry == read_series(path).geometry
    assert (series.manufacturer, series.modality) == ("South", "CT")
    assert not any("PixelData" in header for header in series.headers)


def _each(keyword: str, value: Any) -> Edit:
    """Set an attribute of the fifth slice."""

    def edit(slices: list[Dataset]) -> list[Dataset]:
        setattr(slices[4], keyword, value)
        return slices

    return edit


def _tilt(slices: list[Dataset]) -> list[Dataset]:
    for index, ds in enumerate(slices):
        x, y, z = ds.ImagePositionPatient
        ds.ImagePositionPatient = [x, y + 0.5 * index, z]
    return slices


def _double(slices: list[Dataset]) -> list[Dataset]:
    slices[4].ImagePositionPatient = slices[3].ImagePositionPatient
    return slices


BAD: dict[str, Edit] = {
    "2 slices": lambda slices: slices[:2],
    "slice is missing": lambda slices: slices[:3] + slices[4:],
    "two slices at one position": _double,
    "tilted": _tilt,
    "mixes orientations": _each("ImageOrientationPatient", list(OBLIQUE)),
    "or pixel spacings": _each("PixelSpacing", [2, 2]),
    "differing shapes": _each("Rows", 8),
    "several series": _each("SeriesInstanceUID", "1.2.3"),
    "several frames of reference": _each("FrameOfReferenceUID", "1.2.3"),
    "several modalities": _each("Modality", "MR"),
    "where each frame lies": _each("NumberOfFrames", 2),
    "color": _each("SamplesPerPixel", 3),
    "cannot be read": _each("PixelData", b"short"),
}


@pytest.mark.rule("SER-2")
@pytest.mark.parametrize("reason", BAD)
def test_what_is_no_even_volume_is_refused(tmp_path: Path, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        make_series(tmp_path, edit=BAD[reason])


@pytest.mark.rule("SER-2")
def test_a_spacing_within_rounding_is_even(tmp_path: Path) -> None:
    def jitter(slices: list[Dataset]) -> list[Dataset]:
        x, y, z = slices[4].ImagePositionPatient
        slices[4].ImagePositionPatient = [x, y, z + 0.008]
        return slices

    assert make_series(tmp_path, edit=jitter).geometry.spacing_mm[0] == pytest.approx(2, abs=0.01)


@pytest.mark.rule("SER-3")
def test_a_refusal_quotes_no_value(tmp_path: Path) -> None:
    with pytest.raises(Unreadable) as caught:
        make_series(tmp_path, edit=_each("ImagePositionPatient", None))
    assert "2.25." not in caught.value.diagnostics()
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.rule("SER-3")
def test_damaged_bytes_are_refused(tmp_path: Path) -> None:
    path = write_series(tmp_path, "scan")
    members = list(read_zip(path, limit_bytes=2**30, limit_entries=99))
    folder = tmp_path / "folder"
    folder.mkdir()
    for index, (name, data) in enumerate(members):
        (folder / name).write_bytes(data[: 200 if index == 2 else None])
    with pytest.raises(Unreadable):
        read_series(folder)


def test_the_shared_mr_is_a_volume(shared_data: Path, tmp_path: Path) -> None:
    archive = shared_data / "hippocampus" / "hippocampus_001.zip"
    with zipfile.ZipFile(archive) as members:
        members.extractall(tmp_path, [n for n in members.namelist() if n.startswith("MR/")])
    series = read_series(tmp_path / "MR")
    assert series.geometry.shape == (35, 51, 35)
    assert series.geometry.axes == ((0, 0, 1), (0, -1, 0), (-1, 0, 0))


@pytest.mark.rule("SER-1")
def test_functional_groups_of_a_classic_instance_place_nothing(tmp_path: Path) -> None:
    def stray(slices: list[Dataset]) -> list[Dataset]:
        for ds in slices:
            ds.PerFrameFunctionalGroupsSequence = [Dataset()]
        return slices

    assert make_series(tmp_path, edit=stray).geometry.shape == (8, 16, 16)
