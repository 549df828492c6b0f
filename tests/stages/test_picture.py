"""Pictures: one instance of no place, as gray frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers_dicom import encode, uid
from helpers_picture import picture, shade, write_pictures

from audit.errors import Unreadable
from stages.picture import FRAMES, has_picture, picture_of, read_picture

GRAY = np.arange(48, dtype=np.uint8).reshape(6, 8)


def pixels_of(pixels: Any, **changes: Any) -> Any:
    return picture_of(encode(picture("one/0", pixels, **changes))).pixels


@pytest.mark.rule("PIC-1")
def test_gray_pixels_are_as_they_were_stored() -> None:
    found = pixels_of(GRAY)
    assert found.shape == (1, 6, 8)
    assert found.dtype == np.float32
    assert (found[0] == GRAY).all()


@pytest.mark.rule("PIC-1")
@pytest.mark.parametrize(
    ("color", "luminance"),
    [
        ((255, 255, 255), 255.0),
        ((255, 0, 0), 76.245),
        ((0, 255, 0), 149.685),
        ((0, 0, 255), 29.07),
        ((10, 200, 30), 123.81),
    ],
)
def test_color_becomes_luminance(color: tuple[int, int, int], luminance: float) -> None:
    found = pixels_of(np.full((4, 4, 3), color, np.uint8))
    assert found.shape == (1, 4, 4)
    assert np.unique(found) == pytest.approx(luminance, abs=1e-4)


@pytest.mark.rule("PIC-1")
def test_inverted_grayscale_is_turned_before_it_is_rescaled() -> None:
    turned = pixels_of(GRAY, PhotometricInterpretation="MONOCHROME1")
    assert (turned[0] == 255.0 - GRAY).all()
    scaled = pixels_of(GRAY, RescaleSlope="2", RescaleIntercept="-10")
    assert (scaled[0] == 2.0 * GRAY - 10).all()


@pytest.mark.rule("PIC-2")
def test_frames_are_spread_from_the_first_to_the_last() -> None:
    frames = np.arange(100, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    found = pixels_of(frames)
    assert found.shape == (FRAMES, 4, 4)
    shown = found[:, 0, 0]
    assert (shown[0], shown[-1]) == (0, 99)
    assert set(np.diff(shown)) <= {3, 4}
    assert pixels_of(frames[:5]).shape == (5, 4, 4)


@pytest.mark.rule("PIC-3")
def test_pixels_without_a_size_have_sides_of_one_millimeter() -> None:
    assert picture_of(encode(picture("a/0", GRAY))).spacing_mm == (1, 1, 1)
    sized = picture("a/0", GRAY, PixelSpacing=["0.2", "0.3"])
    assert picture_of(encode(sized)).spacing_mm == (1, 0.2, 0.3)


@pytest.mark.rule("PIC-4")
@pytest.mark.parametrize(
    "changes",
    [
        {"PixelData": b"\0" * 7},
        {"PixelData": None},
        {"Rows": None},
        {"Rows": 60_000, "Columns": 60_000},
        {"NumberOfFrames": 2_000_000_000},
        {"NumberOfFrames": -1},
        {"PhotometricInterpretation": "PALETTE COLOR"},
        {"StudyInstanceUID": None},
    ],
)
def test_what_is_no_picture_is_refused_without_its_values(changes: dict[str, Any]) -> None:
    with pytest.raises(Unreadable) as caught:
        pixels_of(GRAY, **changes)
    assert str(uid("one/0")) not in caught.value.diagnostics()


@pytest.mark.rule("PIC-4")
def test_one_of_several_is_read_by_its_uid(tmp_path: Path) -> None:
    two = [picture(f"s/{n}", shade(n, label)) for n, label in enumerate(("dark", "bright"))]
    archive = write_pictures(tmp_path, *two)
    dark, bright = (read_picture(archive, str(one.SOPInstanceUID)) for one in two)
    assert bright.pixels.mean() > dark.pixels.mean() + 5
    assert bright.uid == two[1].SOPInstanceUID
    with pytest.raises(Unreadable, match="not in the archive"):
        read_picture(archive, "1.2.3")


@pytest.mark.rule("PIC-4")
def test_a_series_has_a_picture_if_one_of_its_instances_can_be_read(tmp_path: Path) -> None:
    good, bad = picture("s/0", GRAY), picture("s/1", GRAY, PixelData=b"")
    assert has_picture(write_pictures(tmp_path / "a", good, bad))
    assert not has_picture(write_pictures(tmp_path / "b", bad))
    (tmp_path / "c.zip").write_bytes(b"no archive")
    assert not has_picture(tmp_path / "c.zip")
