"""Text in the pixels: found, blanked or quarantined; every other sample keeps its bits."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from helpers_ingest import Result, ct, encoded, ingest, new_vault, parameters
from helpers_text import TEXT, US, compressed, draw, picture, speckle
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

from stages.ingest.ocr import Box
from stages.ingest.pixels import is_sampled
from stages.ingest.pixels_frames import blank, views, with_margin
from stages.ingest.quarantine import Quarantined, Reason
from stages.ingest.raw_codec import Shape
from stages.ingest.raw_pixels import Pixels
from stages.ingest.sandbox import Decoder


def taken(tmp_path: Path, *datasets: Dataset, **pixels: object) -> Result:
    folder = tmp_path / "in"
    folder.mkdir()
    for number, dataset in enumerate(datasets):
        syntax = getattr(dataset, "file_meta", None) and dataset.file_meta.TransferSyntaxUID
        if syntax:
            buffer = BytesIO()
            pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
            (folder / f"{number}").write_bytes(buffer.getvalue())
        else:
            (folder / f"{number}").write_bytes(encoded(dataset))
    return ingest(
        tmp_path / "out",
        folder,
        vault_folder=new_vault(tmp_path / "vault"),
        params=parameters(pixels=pixels),
    )


def code_values(dataset: Dataset) -> set[str]:
    return {item.CodeValue for item in dataset.DeidentificationMethodCodeSequence}


def held(before: np.ndarray, after: np.ndarray, text: Box) -> None:
    """The text is gone, and nothing farther from it than a margin has changed."""
    changed = np.argwhere((before != after).reshape(*before.shape[:2], -1).any(axis=-1))
    top, left = changed.min(axis=0)
    bottom, right = changed.max(axis=0) + 1
    assert top <= text.top <= top + 9
    assert left <= text.left <= left + 30
    assert bottom - 9 <= text.bottom <= bottom
    assert right - 30 <= text.right <= right
    assert np.unique(after[text.top : text.bottom, text.left : text.right]).size == 1


@pytest.mark.rule("TXT-3")
@pytest.mark.parametrize(
    ("color", "syntax"),
    [
        (False, ""),
        (True, JPEGLSLossless),
        pytest.param(True, "", marks=pytest.mark.slow),
        pytest.param(False, RLELossless, marks=pytest.mark.slow),
        pytest.param(True, RLELossless, marks=pytest.mark.slow),
    ],
)
def test_text_in_a_picture_is_blanked_and_the_rest_keeps_its_bits(
    tmp_path: Path, color: bool, syntax: str
) -> None:
    drawn, text = draw(speckle(color=color))
    source = picture(drawn, BurnedInAnnotation="NO", LargestImagePixelValue=255)
    result = taken(tmp_path, compressed(source, syntax) if syntax else source)
    (row,) = result.table("instances")
    assert (row["pixels"], row["text_boxes"]) == ("blanked", 1)
    (output,) = result.datasets
    held(drawn, output.pixel_array, text)
    assert (output.BurnedInAnnotation, "113101" in code_values(output)) == ("NO", True)
    assert "LargestImagePixelValue" not in output
    assert output.file_meta.TransferSyntaxUID == (
        JPEGLSLossless if syntax else "1.2.840.10008.1.2.1"
    )
    assert TEXT not in str(result)


@pytest.mark.rule("FRA-4")
@pytest.mark.parametrize("syntax", [RLELossless, pytest.param("", marks=pytest.mark.slow)])
def test_text_of_one_frame_is_blanked_in_all(tmp_path: Path, syntax: str) -> None:
    frames = np.stack([speckle(seed=seed) for seed in range(3)])
    drawn, text = draw(frames[1])
    frames[1] = drawn
    source = picture(frames)
    result = taken(tmp_path, compressed(source, syntax) if syntax else source)
    (output,) = result.datasets
    for before, after in zip(frames, output.pixel_array, strict=True):
        held(before, after, text)


@pytest.mark.rule("TXT-6")
def test_what_was_lossy_stays_said_so_and_is_written_lossless(tmp_path: Path) -> None:
    drawn, text = draw(speckle())
    buffer = BytesIO()
    Image.fromarray(drawn).save(buffer, "JPEG", quality=90)
    source = picture(drawn)
    source.file_meta = FileMetaDataset()
    source.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    source.PixelData = encapsulate([buffer.getvalue()])
    source["PixelData"].VR = "OB"
    source["PixelData"].is_undefined_length = True
    decoded = source.pixel_array
    (output,) = taken(tmp_path, source).datasets
    held(decoded, output.pixel_array, text)
    assert output.file_meta.TransferSyntaxUID == JPEGLSLossless
    assert output.LossyImageCompression == "01"


@pytest.mark.rule("TXT-5")
def test_a_picture_without_text_is_stated_as_checked_and_untouched(tmp_path: Path) -> None:
    source = picture(speckle())
    result = taken(tmp_path, source)
    (row,), (output,) = result.table("instances"), result.datasets
    assert (row["pixels"], row["text_boxes"]) == ("checked", 0)
    assert output.PixelData == source.PixelData
    assert (output.BurnedInAnnotation, "113101" in code_values(output)) == ("NO", True)


@pytest.mark.rule("TXT-4")
def test_what_says_that_text_is_burned_in_where_none_is_found_is_quarantined(
    tmp_path: Path,
) -> None:
    result = taken(tmp_path, picture(speckle(), BurnedInAnnotation="YES"))
    assert result.reasons == [Reason.BURNED_IN]


@pytest.mark.rule("TXT-3")
def test_by_parameter_a_picture_with_text_is_quarantined(tmp_path: Path) -> None:
    drawn, _ = draw(speckle())
    result = taken(tmp_path, picture(drawn), picture(speckle(), 2), text="quarantine")
    assert result.reasons == [Reason.TEXT]
    assert [row["pixels"] for row in result.table("instances")] == ["checked"]


@pytest.mark.rule("TXT-1")
def test_pixels_that_cannot_be_looked_at_are_quarantined(tmp_path: Path) -> None:
    source = picture(speckle(), PhotometricInterpretation="PALETTE COLOR")
    assert taken(tmp_path, source).reasons == [Reason.UNSEEN]


def slices(text_at: int | None) -> list[Dataset]:
    found = []
    for index in range(3):
        pixels = (speckle(128, index).astype(np.uint16) * 12).astype(np.uint16)
        if index == text_at:
            pixels, _ = draw(pixels, "DOE JANE")
        found.append(ct(index, Rows=128, Columns=128, PixelData=pixels.tobytes()))
    return found


@pytest.mark.rule("TXT-3")
def test_text_in_a_slice_quarantines_its_series(tmp_path: Path) -> None:
    result = taken(tmp_path, *slices(2), sampled=1)
    assert result.reasons == [Reason.TEXT] * 3


@pytest.mark.rule("TXT-2")
def test_slices_that_are_not_looked_at_state_nothing_of_their_pixels(tmp_path: Path) -> None:
    result = taken(tmp_path, *slices(None), sampled=0)
    assert {row["pixels"] for row in result.table("instances")} == {"untouched"}
    for output in result.datasets:
        assert "BurnedInAnnotation" not in output
        assert "113101" not in code_values(output)


@pytest.mark.rule("TXT-2")
def test_the_sample_is_the_declared_fraction_and_depends_on_the_key_and_the_instance_alone() -> (
    None
):
    sops = [f"2.25.{number}" for number in range(2000)]
    drawn = {sop for sop in sops if is_sampled(b"k" * 32, sop, 0.1)}
    assert 150 < len(drawn) < 250
    assert drawn == {sop for sop in reversed(sops) if is_sampled(b"k" * 32, sop, 0.1)}
    assert drawn != {sop for sop in sops if is_sampled(b"j" * 32, sop, 0.1)}
    assert not any(is_sampled(b"k" * 32, sop, 0) for sop in sops)
    assert all(is_sampled(b"k" * 32, sop, 1) for sop in sops)


@pytest.mark.slow
@pytest.mark.rule("OCR-1")
def test_the_same_pictures_give_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    drawn, _ = draw(speckle())
    pictures = [picture(drawn), picture(speckle(seed=3), 2)]
    vault = new_vault(tmp_path / "vault")
    found = []
    for name, order in (("one", pictures), ("two", pictures[::-1])):
        folder = tmp_path / name
        folder.mkdir()
        for number, dataset in enumerate(order):
            (folder / f"{number}").write_bytes(encoded(dataset))
        found.append(ingest(tmp_path / f"{name}-out", folder, vault_folder=vault).files)
    assert found[0] == found[1]


@pytest.mark.rule("FRA-1")
@pytest.mark.parametrize(
    ("photometric", "color", "value"),
    [
        ("MONOCHROME1", False, [69]),
        ("MONOCHROME2", False, [5]),
        ("RGB", True, [0, 0, 0]),
        ("YBR_FULL", True, [0, 128, 128]),
    ],
)
def test_a_box_is_filled_with_black(photometric: str, color: bool, value: list[int]) -> None:
    frames = speckle(color=color)[None]
    box = Box(10, 20, 30, 60)
    filled = blank(frames, [box], photometric)
    top, left, bottom, right = with_margin(box)
    assert filled[0, top, left].ravel().tolist() == value
    outside = np.ones(frames.shape[:3], bool)
    outside[0, top:bottom, left:right] = False
    assert (filled[outside] == frames[outside]).all()
    assert (filled[~outside] == value).all()


@pytest.mark.rule("FRA-4")
def test_of_many_frames_few_are_looked_at_with_first_and_last_and_the_brightest() -> None:
    frames = np.zeros((100, 8, 8), np.uint8)
    frames[[0, 99], 0, 0] = 1, 2
    frames[57, 3, 3] = 255
    seen = list(views(frames, "MONOCHROME2"))
    assert len(seen) == 5
    assert (seen[0][0, 0], seen[3][0, 0], seen[4][3, 3]) == (1, 2, 255)


def test_the_pictures_class_is_taken_in(tmp_path: Path) -> None:
    result = taken(tmp_path, picture(speckle()))
    (series,) = result.table("series")
    assert (series["kind"], series["modality"]) == ("picture", "US")
    assert result.datasets[0].SOPClassUID == US


@pytest.mark.rule("BOX-1")
@pytest.mark.parametrize(
    ("kind", "syntax"), [("JPEG", JPEGBaseline8Bit), ("JPEG2000", JPEG2000Lossless)]
)
def test_the_guarded_decoder_takes_what_pillow_decodes(kind: str, syntax: str) -> None:
    buffer = BytesIO()
    options = {"no_jp2": True} if kind == "JPEG2000" else {}
    Image.fromarray(speckle()).save(buffer, kind, **options)
    shape = Shape(160, 160, 1, 1, 8, 8, signed=False, photometric="MONOCHROME2")
    decoder = Decoder()
    try:
        good = Pixels(encapsulate([buffer.getvalue()]), shape)
        decoder.check(syntax, good)
        with pytest.raises(Quarantined):
            decoder.check(syntax, Pixels(encapsulate([buffer.getvalue()[:200]]), shape))
    finally:
        decoder.close()
