"""Faces that are taken away: gone at the surface, and not a bit changed anywhere else."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from helpers_ingest import Result, ct, ingest, item, new_vault, parameters, save, seg
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import JPEGLSLossless, RLELossless
from scipy import ndimage

from stages.ingest.quarantine import Reason
from stages.ingest.stated import band

MM = 4.0
SHAPE = (56, 64, 52)
"""Slices from the feet up, rows from front to back, columns from right to left."""
AIR = -1000
"""HU, as noise around it."""


def head() -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """A sphere of 90 mm with a nose, and the nose's surface."""
    z, y, x = np.meshgrid(*((np.arange(n) - n / 2) * MM for n in SHAPE), indexing="ij")
    skull = x**2 + (y - 12) ** 2 + z**2 < 90**2
    nose = (x**2 + (y + 82) ** 2 + (z + 25) ** 2 < 18**2) & ~skull
    whole = skull | nose
    noise = np.random.default_rng(5).integers(-20, 20, SHAPE)
    values = np.where(whole, 40, AIR) + noise
    surface = nose & ~ndimage.binary_erosion(whole)
    return values.astype(np.int16), surface


def slices(values: NDArray[np.int16], **changes: Any) -> list[Dataset]:
    """A CT series of a head; the first voxel lies at the right, in front, at the feet."""
    found = []
    for index, plane in enumerate(values):
        said = {
            "BodyPartExamined": "HEAD",
            "PatientAge": "063Y",
            "Rows": plane.shape[0],
            "Columns": plane.shape[1],
            "PixelSpacing": [MM, MM],
            "SliceThickness": str(MM),
            "ImagePositionPatient": [-104, -128, MM * index],
            "PixelRepresentation": 1,
            "RescaleIntercept": "0",
            "PixelData": plane.tobytes(),
        }
        found.append(ct(index, **{**said, **changes}))
    return found


def label(mask: NDArray[np.bool_], series: str = "1", **changes: Any) -> Dataset:
    """A reader's segmentation of a whole head."""
    frames = [index for index in range(len(mask)) if mask[index].any()]
    groups = [
        item(
            PlanePositionSequence=Sequence([item(ImagePositionPatient=[-104, -128, MM * index])]),
        )
        for index in frames
    ]
    shared = item(
        PlaneOrientationSequence=Sequence([item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]),
        PixelMeasuresSequence=Sequence([item(PixelSpacing=[MM, MM], SliceThickness="4")]),
    )
    said = {
        "Rows": mask.shape[1],
        "Columns": mask.shape[2],
        "NumberOfFrames": str(len(frames)),
        "PixelRepresentation": 0,
        "PixelData": np.packbits(mask[frames].ravel(), bitorder="little").tobytes(),
        "SharedFunctionalGroupsSequence": Sequence([shared]),
        "PerFrameFunctionalGroupsSequence": Sequence(groups),
    }
    return seg(series=series, **{**said, **changes})


def taken(
    tmp_path: Path, *datasets: Dataset, face: str = "remove", folder: Path | None = None
) -> Result:
    return ingest(
        tmp_path / "out",
        folder or save(tmp_path / "in", *datasets),
        vault_folder=new_vault(tmp_path / "vault"),
        params=parameters(pixels={"face": face, "sampled": 0}),
    )


def images(result: Result) -> list[Dataset]:
    """Image instances from the feet up."""
    found = [one for one in result.datasets if one.Modality in ("CT", "MR")]
    return sorted(found, key=lambda one: float(one.ImagePositionPatient[2]))


def volume(result: Result) -> NDArray[Any]:
    return np.stack([one.pixel_array for one in images(result)])


def code_values(dataset: Dataset) -> list[str]:
    return [one.CodeValue for one in dataset.DeidentificationMethodCodeSequence]


def image_row(result: Result) -> dict[str, Any]:
    (row,) = [row for row in result.table("series") if row["kind"] == "image"]
    return row


def held_by_digest(result: Result) -> bool:
    """Whether each instance has the digest that its row says."""
    import hashlib

    said = {row["sop"]: row["output_sha256"] for row in result.table("instances")}
    found = {
        name.rsplit("/")[-1].removesuffix(".dcm"): hashlib.sha256(data).hexdigest()
        for name, data in result.members.items()
    }
    return said == found


def by_input(result: Result) -> dict[str, Dataset]:
    """Digest of the file that came in → what went out."""
    inputs = {row["sop"]: row["input_sha256"] for row in result.table("instances")}
    return {inputs[one.SOPInstanceUID]: one for one in result.datasets}


@pytest.mark.rule("FCS-2")
def test_the_nose_is_gone_and_the_rest_keeps_its_bits(tmp_path: Path) -> None:
    before, nose = head()
    inner = np.zeros(SHAPE, bool)
    inner[20:24, 12:30, 36:44] = True  # reaches the front of the skull, below the brow
    result = taken(tmp_path, *slices(before), label(inner))
    after, row = volume(result), image_row(result)
    changed = before != after
    assert nose.sum() > 40
    assert changed[nose].mean() >= 0.95
    assert not changed[inner].any()
    assert not changed[:, SHAPE[1] // 2 :].any()
    assert not changed[42:].any()
    filled = after == before.min(axis=(1, 2))[:, None, None]
    assert filled[changed].all()
    assert changed.sum() <= row["face_voxels"] <= (filled | changed).sum()
    assert len(row["face_mask_sha256"]) == 64
    assert {one.RecognizableVisualFeatures for one in images(result)} == {"NO"}
    assert all("113102" in code_values(one) for one in images(result))
    assert all(code_values(one) == sorted(code_values(one)) for one in images(result))
    assert held_by_digest(result)


@pytest.mark.rule("FCM-3")
def test_the_edge_of_the_noise_does_not_draw_the_face(tmp_path: Path) -> None:
    before, nose = head()
    after = volume(taken(tmp_path, *slices(before)))
    levels = np.unique(np.nonzero(nose)[0])
    assert all(np.unique(after[level, :4, 16:36]).size == 1 for level in levels)


@pytest.mark.rule("FCS-3")
def test_a_label_at_the_nose_keeps_it_with_a_margin(tmp_path: Path) -> None:
    before, nose = head()
    after = volume(taken(tmp_path, *slices(before), label(nose)))
    near = ndimage.binary_dilation(nose)
    assert (before == after)[near].all()


@pytest.mark.rule("FCS-2")
@pytest.mark.slow
@pytest.mark.parametrize("syntax", [JPEGLSLossless, RLELossless])
def test_what_was_compressed_is_compressed_again(tmp_path: Path, syntax: str) -> None:
    before, nose = head()
    folder = tmp_path / "in"
    folder.mkdir()
    for number, one in enumerate(slices(before)):
        save(tmp_path / "one" / str(number), one)
        source = pydicom.dcmread(tmp_path / "one" / str(number) / "IM0000")
        source.compress(syntax)
        source.save_as(folder / f"{number}")
    result = taken(tmp_path, folder=folder)
    after = volume(result)
    assert (before != after)[nose].mean() >= 0.95
    syntaxes = {
        one.file_meta.TransferSyntaxUID: (first == last).all()
        for one, first, last in zip(images(result), before, after, strict=True)
    }
    assert syntaxes.keys() <= {JPEGLSLossless, syntax}
    assert JPEGLSLossless in syntaxes
    assert held_by_digest(result)


@pytest.mark.rule("FCS-2")
def test_the_padding_value_fills_where_there_is_one(tmp_path: Path) -> None:
    before, _ = head()
    after = volume(taken(tmp_path, *slices(before, PixelPaddingValue=-2000)))
    assert set(np.unique(after[before != after])) == {-2000}


@pytest.mark.rule("FCS-1")
def test_a_face_that_is_left_is_said_to_be_there(tmp_path: Path) -> None:
    before, _ = head()
    result = taken(tmp_path, *slices(before), face="keep")
    assert (volume(result) == before).all()
    assert {one.RecognizableVisualFeatures for one in images(result)} == {"YES"}
    assert not any("113102" in code_values(one) for one in images(result))
    assert (image_row(result)["face_voxels"], image_row(result)["face_mask_sha256"]) == (0, "")
    assert held_by_digest(result)


@pytest.mark.rule("FCS-2")
def test_where_nothing_can_be_taken_away_the_face_is_said_to_be_there(tmp_path: Path) -> None:
    result = taken(tmp_path, *slices(np.full(SHAPE, AIR, np.int16)))
    assert {one.RecognizableVisualFeatures for one in images(result)} == {"YES"}
    assert not any("113102" in code_values(one) for one in images(result))


@pytest.mark.rule("FCS-1")
def test_a_series_without_a_face_says_nothing_of_it(tmp_path: Path) -> None:
    result = taken(tmp_path, *(ct(index) for index in range(4)))
    assert not any("RecognizableVisualFeatures" in one for one in images(result))


@pytest.mark.rule("FCS-4")
def test_a_segmentation_that_cannot_be_placed_quarantines_its_series(tmp_path: Path) -> None:
    before, _ = head()
    result = taken(tmp_path, *slices(before), seg(), *(ct(index, "7") for index in range(3)))
    assert result.reasons == sorted([Reason.FACE] * SHAPE[0] + [Reason.NO_REFERENCE])
    assert len(result.members) == 3


@pytest.mark.slow
@pytest.mark.rule("ING-6")
def test_the_same_head_gives_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    before, nose = head()
    datasets = [*slices(before), label(nose)]
    one = taken(tmp_path, folder=save(tmp_path / "a", *datasets))
    (tmp_path / "out").rename(tmp_path / "first")
    first = {path.name: path.read_bytes() for path in (tmp_path / "first").rglob("*.zip")}
    taken(tmp_path, folder=save(tmp_path / "b", *datasets[::-1]))
    assert len(one.units) == 1
    assert first == {path.name: path.read_bytes() for path in (tmp_path / "out").rglob("*.zip")}


@pytest.mark.rule("FCM-1")
def test_the_series_row_says_sex_and_age_band_as_the_instances_do(tmp_path: Path) -> None:
    before, _ = head()
    row = image_row(taken(tmp_path, *slices(before), face="keep"))
    assert (row["sex"], row["age_band"]) == ("F", "60-64")
    assert [band(age) for age in ("", "?", "011M", "004Y", "090Y")] == ["", "", "0-4", "0-4", "90+"]


@pytest.mark.slow
@pytest.mark.rule("FCS-2")
def test_the_front_of_a_real_head_is_taken_away(tmp_path: Path, shared_data: Path) -> None:
    source = shared_data / "brain-mr-study3.zip"
    if not source.is_file():
        pytest.skip("the shared brain study (../shared/data) is not here")
    kept = by_input(taken(tmp_path / "keep", folder=source, face="keep"))
    result = taken(tmp_path / "remove", folder=source)
    removed = by_input(result)
    rows = {row["series"]: row for row in result.table("series") if row["face_risk"] != "none"}
    assert kept.keys() == removed.keys()
    assert len(rows) == 4
    changed = dict.fromkeys(rows, 0)
    for name, after in removed.items():
        before = kept[name]
        if after.SeriesInstanceUID in rows:
            voxels = before.pixel_array != after.pixel_array
            changed[after.SeriesInstanceUID] += voxels.sum()
            assert not voxels[200:].any()  # the back of the head
            assert (before.RecognizableVisualFeatures, after.RecognizableVisualFeatures) == (
                "YES",
                "NO",
            )
        else:
            assert before.PixelData == after.PixelData
    assert all(50_000 < changed[name] <= row["face_voxels"] for name, row in rows.items())
