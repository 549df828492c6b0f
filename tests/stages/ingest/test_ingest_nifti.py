"""NII-1 … NII-7: NIfTI images with their sidecars, converted as they come in."""

import gzip
import hashlib
import json
import time
import zlib
from datetime import date
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pytest
import SimpleITK
from helpers_ingest import PATIENT, TASK, Result, ct, ingest, new_vault, parameters, save
from helpers_nifti import PLAIN, SECRET, SIDECAR, image, nifti, oblique, put
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from audit.errors import Fault, Unreadable
from stages.ingest.nifti import Role, roles
from stages.ingest.nifti_box import Volume, read_nifti
from stages.ingest.nifti_dicom import Converted
from stages.ingest.nifti_sidecar import Sidecar
from stages.ingest.nifti_stored import stored_of
from stages.ingest.params import Limits
from stages.ingest.quarantine import Reason
from stages.ingest.stage import STAGE
from stages.segmentation import read_labels
from stages.series import Series, read_series
from stages.stage import PlanContext, RunContext

LABELS = {"File": "a-seg.nii.gz", "Reader": "Reader^A", "Segments": {"1": "Lesion"}}


def taken(tmp_path: Path, source: Path | None = None, **ingested: Any) -> Result:
    params = parameters(**{"max_quarantined_fraction": 1, **ingested})
    vault = new_vault(tmp_path / "vault")
    return ingest(tmp_path / "out", source or tmp_path / "in", vault_folder=vault, params=params)


def series_of(result: Result) -> Series:
    (row,) = (row for row in result.table("series") if row["kind"] == "image")
    return read_series(result.units[row["subject"]] / f"{row['series']}.zip")


def opened(data: bytes, limits: Limits) -> Volume:
    with TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        return read_nifti(file, limits)


def values_at_points(series: Series) -> dict[tuple[float, ...], float]:
    """Where each voxel lies (LPS, mm, to 0.001), and its value."""
    grid = series.geometry
    axes = np.array(grid.axes) * np.array(grid.spacing_mm)[:, None]
    points = np.array(grid.origin_mm) + np.indices(grid.shape).reshape(3, -1).T @ axes
    assert series.voxels is not None
    found = np.round(points, 2) + 0.0
    return dict(zip(map(tuple, found.tolist()), series.voxels.ravel().tolist(), strict=True))


def of_sitk(path: Path) -> dict[tuple[float, ...], float]:
    """The same by SimpleITK."""
    read = SimpleITK.ReadImage(str(path))
    array = SimpleITK.GetArrayFromImage(read)
    found = {}
    for index in np.ndindex(*array.shape[::-1]):
        point = read.TransformIndexToPhysicalPoint([int(at) for at in index])
        found[tuple((np.round(point, 2) + 0.0).tolist())] = float(array[index[::-1]])
    return found


GRIDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "oblique": {"affine": oblique()},
    "flipped": {"affine": [[-2.0, 0, 0, 5], [0, -2, 0, 6], [0, 0, -3, 7]]},
    "sagittal": {"affine": [[0, 0, 2.0, 1], [1, 0, 0, 2], [0, 1, 0, 3]]},
    "quaternion": {
        "affine": None,
        "quaternion": (0.1, -0.2, 0.3, 5.0, -6.0, 7.0, 1.0, 0.9, 1.1, 2.5),
    },
    "left-handed quaternion": {
        "affine": None,
        "quaternion": (0.0, 1.0, 0.0, 5.0, -6.0, 7.0, -1.0, 0.9, 1.1, 2.5),
    },
    "big endian": {"order": ">", "affine": oblique()},
    "with an extension": {"extension": SECRET * 3},
}


@pytest.mark.rule("NII-3")
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("grid", GRIDS)
def test_voxels_lie_where_simpleitk_says(tmp_path: Path, grid: str, ending: str) -> None:
    folder = put(tmp_path / "in", f"a{ending}", nifti(image(), **GRIDS[grid]), SIDECAR)
    result = taken(tmp_path)
    assert result.reasons == []
    assert values_at_points(series_of(result)) == of_sitk(folder / f"a{ending}")


@pytest.mark.rule("NII-2")
@pytest.mark.parametrize(
    ("voxels", "scale", "tolerance"),
    [
        (image(kind="i1") // 4, {}, 0),
        (image(kind="u1"), {}, 0),
        (image(kind="i4") + 1_000_000, {}, 0),
        (image(kind="u2"), {}, 0),
        (image(kind="u4").clip(0, 4000), {}, 0),
        (image(kind="f4"), {}, 0),
        (image(kind="f8") * 30_000.0, {}, 30_000 * 700 / 65535 / 2 + 1),
        (image(kind="f4") / 7, {}, 700 / 7 / 65535),
        (image(), {"slope": 2.0, "inter": -1000.0}, 0),
        (image(), {"slope": 0.1, "inter": 0.25}, 1e-4),
        (image(), {"slope": float("nan")}, 0),
        (np.full((5, 6, 7), 0.25, "f4"), {}, 0),
    ],
)
def test_values_come_back(tmp_path: Path, voxels, scale, tolerance) -> None:
    put(tmp_path / "in", "a.nii", nifti(voxels, **scale), SIDECAR)
    result = taken(tmp_path)
    assert result.reasons == []
    series = series_of(result)
    assert series.voxels is not None
    slope = scale.get("slope", 1.0)
    slope = 1.0 if np.isnan(slope) else np.float32(slope)
    expected = voxels.astype(float) * slope + np.float32(scale.get("inter", 0))
    # Rows run to the front in the file and stay as they are: positions say where they lie.
    order = np.argsort([header.InstanceNumber for header in series.headers])
    assert np.abs(series.voxels[order] - expected).max() <= tolerance
    assert {header.PixelRepresentation for header in series.headers} == {1}


@pytest.mark.rule("NII-2")
@settings(max_examples=150)
@given(
    st.one_of(
        arrays(np.int32, (2, 3, 3), elements=st.integers(-(2**31), 2**31 - 1)),
        arrays(np.int16, (2, 3, 3)),
        arrays(np.float64, (2, 3, 3), elements=st.floats(-1e6, 1e6)),
    )
)
def test_the_error_is_half_a_step_and_none_for_integers_of_a_small_range(voxels) -> None:
    stored = stored_of(Volume(voxels, np.eye(3, 4), 1.0, 0.0))
    slope, intercept = float(stored.slope), float(stored.intercept)
    assert max(len(stored.slope), len(stored.intercept)) <= 16
    back = np.stack([stored.plane(k).astype(float) for k in range(2)]) * slope + intercept
    span = float(voxels.max()) - float(voxels.min())
    whole = voxels.dtype.kind == "i" or bool((voxels == np.rint(voxels)).all())
    if whole and span <= 65535:
        assert np.array_equal(back, voxels)
    else:
        largest = np.abs(voxels.astype(float)).max()
        assert np.abs(back - voxels).max() <= slope / 2 + 1e-9 * (1 + largest)


@pytest.mark.rule("NII-2")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_refuses_the_image(tmp_path: Path, bad: float) -> None:
    voxels = image(kind="f4")
    voxels[2, 3, 4] = bad
    put(tmp_path / "in", "a.nii", nifti(voxels), SIDECAR)
    assert taken(tmp_path).reasons == [Reason.NIFTI.value]


@pytest.mark.rule("NII-4")
def test_names_compression_and_texts_of_the_header_change_no_byte(tmp_path: Path) -> None:
    vault = new_vault(tmp_path / "vault")
    for name, data in (
        ("a", nifti(image(), oblique())),
        ("b", nifti(image(), oblique(), extension=SECRET, note=("80s", 148, b"other text"))),
    ):
        put(tmp_path / name, f"{name}.nii" + (".gz" if name == "b" else ""), data, SIDECAR)
    one, other = (
        ingest(tmp_path / f"{name}-out", tmp_path / name, vault_folder=vault).files
        for name in ("a", "b")
    )
    assert one == other


@pytest.mark.rule("ING-14")
@pytest.mark.rule("NII-4")
@pytest.mark.rule("ING-3")
def test_no_text_of_the_header_and_no_identifier_of_the_sidecar_is_left(tmp_path: Path) -> None:
    said = SIDECAR | {
        "InstitutionName": "Klinikum Kraehwinkel",
        "SeriesDescription": "thorax Leonore Kraehwinkler",
        "Labels": [LABELS],
    }
    folder = put(tmp_path / "in", "Kraehwinkler.nii", nifti(image(), extension=SECRET), said)
    put(folder, LABELS["File"], nifti((image() > 250).astype("u1"), extension=SECRET))
    result = taken(tmp_path)
    assert result.reasons == []
    shown = f"{result.plan}{result.outcomes}{result.outcome}".encode()
    everything = b"".join([*result.files.values(), *result.members.values(), shown])
    for needle in ("raehwink", "Leonore", PATIENT, "19431207", "Klinikum", str(tmp_path)):
        assert needle.encode() not in everything
    assert {
        dataset.SeriesDescription for dataset in result.datasets if dataset.Modality == "CT"
    } == {"thorax"}


@pytest.mark.rule("NII-5")
def test_no_date_is_made_up(tmp_path: Path) -> None:
    folder = put(tmp_path / "in", "a.nii", nifti(image()), SIDECAR | {"Labels": [LABELS]})
    put(folder, LABELS["File"], nifti((image() > 250).astype("u1")))
    dates = {
        str(element.value)
        for dataset in taken(tmp_path).datasets
        for element in dataset.iterall()
        if element.VR in ("DA", "DT", "TM") and element.value
    }
    assert dates == set()


def test_a_study_date_of_the_sidecar_moves_as_all_dates_do(tmp_path: Path) -> None:
    for number, day in enumerate(("20200115", "20200419")):
        said = SIDECAR | {"StudyID": f"visit {number}", "StudyDate": day}
        put(tmp_path / "in", f"{number}.nii", nifti(image() + number), said)
    days = {dataset.StudyDate for dataset in taken(tmp_path).datasets}
    ordinals = sorted(date.fromisoformat(day).toordinal() for day in days)
    assert not days & {"20200115", "20200419"}
    assert ordinals[1] - ordinals[0] == 95


@pytest.mark.rule("ING-14")
@pytest.mark.rule("NII-6")
def test_labels_become_a_readers_segmentation(tmp_path: Path) -> None:
    drawn = np.zeros((5, 6, 7), "u1")
    drawn[1:3, 2:5, 3:6] = 1
    said = SIDECAR | {"Labels": [LABELS]}
    folder = put(tmp_path / "in", "a.nii.gz", nifti(image(), oblique()), said)
    put(folder, "a-seg.nii.gz", nifti(drawn, oblique()))
    result = taken(tmp_path, readers={"Reader^A": "reader-a"})
    assert result.reasons == []
    assert result.outcome.findings["ignored"] == 2
    series = series_of(result)
    (row,) = (row for row in result.table("series") if row["kind"] == "annotation")
    assert (row["reader"], row["annotates"]) == ("reader-a", series.uid)
    labels = read_labels(result.units[row["subject"]] / f"{row['series']}.zip", series, TASK)
    order = np.argsort([header.InstanceNumber for header in series.headers])
    assert np.array_equal(labels.map[order], drawn)


def test_a_sheared_grid_is_a_tilted_series(tmp_path: Path) -> None:
    sheared = [[1.0, 0, 0, 0], [0, 1, 0.5, 0], [0, 0, 3, 0]]
    put(tmp_path / "in", "a.nii", nifti(image(), sheared), SIDECAR)
    assert taken(tmp_path / "a", tmp_path / "in").reasons == [Reason.TILTED.value] * 5
    found = taken(tmp_path / "b", tmp_path / "in", geometry={"tilted": "resample"})
    assert found.reasons == []


BAD_SIDECARS: list[dict[str, Any] | str] = [
    "no JSON",
    "[" * 5000,
    {},
    SIDECAR | {"Modality": "PT"},
    SIDECAR | {"PatientID": ""},
    SIDECAR | {"PatientID": "a\\b"},
    SIDECAR | {"PatientID": 7},
    SIDECAR | {"Labels": [LABELS | {"File": "../a-seg.nii.gz"}]},
    SIDECAR | {"Labels": [LABELS | {"File": "/etc/a.nii"}]},
    SIDECAR | {"Labels": [LABELS | {"File": "gone.nii"}]},
    SIDECAR | {"Labels": [LABELS | {"Segments": {}}]},
    SIDECAR | {"Labels": [LABELS | {"Segments": {"0": "air"}}]},
    SIDECAR | {"Labels": [LABELS | {"File": "link.nii"}]},
]


@pytest.mark.rule("NII-7")
@pytest.mark.parametrize("sidecar", BAD_SIDECARS)
def test_an_image_without_a_sidecar_that_says_enough_is_quarantined(tmp_path, sidecar) -> None:
    folder = put(tmp_path / "in", "a.nii", nifti(image()))
    put(tmp_path / "elsewhere", "b.nii", nifti(image(kind="u1")))
    (folder / "link.nii").symlink_to(tmp_path / "elsewhere" / "b.nii")
    text = sidecar if isinstance(sidecar, str) else json.dumps(sidecar)
    (folder / "a.json").write_text(text)
    save(folder, *(ct(i) for i in range(3)))
    result = taken(tmp_path)
    assert result.reasons == [Reason.NIFTI.value]
    assert len(result.members) == 3


@pytest.mark.rule("NII-6")
def test_an_image_alone_is_quarantined_by_its_own_digest(tmp_path: Path) -> None:
    folder = put(tmp_path / "in", "a.nii.gz", nifti(image()))
    result = taken(tmp_path)
    assert result.table("quarantine") == [
        {
            "input_sha256": hashlib.sha256((folder / "a.nii.gz").read_bytes()).hexdigest(),
            "reason": Reason.NIFTI.value,
        }
    ]


@pytest.mark.rule("NII-7")
@pytest.mark.parametrize(
    "labels",
    [
        nifti(np.zeros((5, 6, 8), "u1")),
        nifti(np.zeros((5, 6, 7), "u1"), oblique()),
        nifti(np.full((5, 6, 7), 2, "u1")),
        nifti(np.full((5, 6, 7), 0.5, "f4")),
        b"none at all",
    ],
)
def test_labels_that_do_not_fit_quarantine_the_whole(tmp_path: Path, labels: bytes) -> None:
    folder = put(tmp_path / "in", "a.nii", nifti(image()), SIDECAR | {"Labels": [LABELS]})
    put(folder, LABELS["File"], labels)
    result = taken(tmp_path)
    assert result.reasons == [Reason.NIFTI.value]
    assert result.members == {}


def test_a_folder_tells_images_from_what_belongs_to_them(tmp_path: Path) -> None:
    folder = put(tmp_path, "a.nii.gz", b"", SIDECAR | {"Labels": [LABELS]})
    put(folder, "a-seg.nii.gz", b"", {})
    put(folder, "b.nii", b"")
    (folder / "notes.json").write_text("{}")
    assert roles(folder, sorted(path.name for path in folder.iterdir())) == {
        "a.nii.gz": Role.IMAGE,
        "a.json": Role.PART,
        "a-seg.nii.gz": Role.PART,
        "a-seg.json": Role.PART,
        "b.nii": Role.IMAGE,
    }


def bomb() -> bytes:
    """A gzip file of 1 MiB that unpacks to a thousand times as much."""
    return gzip.compress(nifti(image()) + bytes(2**30 // 8), mtime=0)


HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "a short header": nifti(image())[:200],
    "cut off": nifti(image())[:-1],
    "no magic": nifti(image(), magic=("4s", 344, b"ni1\0")),
    "NIfTI-2": nifti(image(), size=("i", 0, 540)),
    "no type": nifti(image(), kind=("h", 70, 32)),
    "another width": nifti(image(), bits=("h", 72, 64)),
    "a negative size": nifti(image(), dim=("h", 42, -7)),
    "no size": nifti(image(), dim=("h", 46, 0)),
    "four dimensions": nifti(image(), dims=("8h", 40, (4, 7, 6, 1, 5, 1, 1, 1))),
    "nine dimensions": nifti(image(), dims=("8h", 40, (9, 7, 6, 5, 1, 1, 1, 1))),
    "more voxels than there are": nifti(image(), dims=("8h", 40, (3, 700, 600, 500, 1, 1, 1, 1))),
    "beyond rows": nifti(image(), dims=("8h", 40, (3, 30000, 1, 1, 1, 1, 1, 1))),
    "an offset into the header": nifti(image(), start=("f", 108, 100.0)),
    "an offset beyond the file": nifti(image(), start=("f", 108, 1e30)),
    "an offset that is no number": nifti(image(), start=("f", 108, float("nan"))),
    "no transform": nifti(image(), None),
    "an infinite transform": nifti(image(), [[np.inf, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]),
    "an axis of no length": nifti(image(), [[0.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]),
    "skewed slices": nifti(image(), [[1.0, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]),
    "two transforms that differ": nifti(
        image(), quaternion=(0.0, 0.0, 0.0, 5.0, 5.0, 5.0, 1.0, 1.0, 1.0, 1.0)
    ),
    "voxels of another size than the transform's": nifti(image(), step=("f", 80, 2.0)),
    "an infinite slope": nifti(image(), slope=float("inf")),
    "odd units": nifti(image(), units=("B", 123, 7)),
    "a cut gzip": gzip.compress(nifti(image()), mtime=0)[:-20],
    "a gzip whose sum is wrong": gzip.compress(nifti(image()), mtime=0)[:-8] + b"\0" * 8,
    "two gzips": gzip.compress(nifti(image()), mtime=0) * 2,
    "no gzip": b"\x1f\x8b" + zlib.compress(nifti(image())),
}


@pytest.mark.rule("NII-1")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused(name: str) -> None:
    with pytest.raises(Unreadable) as caught:
        _converted(HOSTILE[name])
    assert "Leonore" not in caught.value.diagnostics()


def _converted(data: bytes) -> Converted:
    return Converted(opened(data, Limits()), Sidecar.model_validate(SIDECAR))


@pytest.mark.rule("NII-1")
def test_a_bomb_is_left_packed(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(Unreadable):
        opened(bomb(), Limits())
    assert time.monotonic() - started < 20
    large = nifti(image(), dims=("8h", 40, (3, 8000, 8000, 20000, 1, 1, 1, 1)))
    with pytest.raises(Unreadable):
        opened(large, Limits())


@pytest.mark.rule("NII-1")
def test_no_flipped_byte_of_a_header_gives_anything_but_a_volume_or_a_refusal() -> None:
    whole, chance = nifti(image()), np.random.default_rng(20261129)
    for _ in range(30):
        data = bytearray(whole)
        for at in chance.integers(0, 352, 3):
            data[at] = int(chance.integers(256))
        try:
            volume = opened(bytes(data), Limits())
        except Unreadable:
            continue
        assert volume.voxels.size <= len(whole)
        assert np.isfinite(volume.affine).all()


def test_an_image_that_changes_during_the_run_is_a_fault(tmp_path: Path) -> None:
    folder = put(tmp_path / "in", "a.nii", nifti(image()), SIDECAR)
    plan = STAGE.plan(
        PlanContext(
            params=parameters(), upstream={}, sources=(folder,), vault=new_vault(tmp_path / "v")
        )
    )
    (folder / "a.nii").write_bytes(nifti(image() + 1))
    (tmp_path / "out").mkdir()
    with pytest.raises(Fault, match="changed"):
        STAGE.run(plan.units[0], RunContext(params=parameters(), trees={}, out=tmp_path / "out"))


def test_an_image_named_alone_is_read_too(tmp_path: Path) -> None:
    folder = put(tmp_path / "in", "a.nii.gz", nifti(image(), PLAIN), SIDECAR | {"Modality": "MR"})
    result = taken(tmp_path, folder / "a.nii.gz")
    assert result.reasons == []
    assert {dataset.Modality for dataset in result.datasets} == {"MR"}
