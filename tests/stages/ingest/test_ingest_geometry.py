"""GEO-1 … GEO-5: what is found about a series' geometry, and what its policy makes of it."""

import random
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from helpers_enhanced import enhanced
from helpers_ingest import ROOT, Result, change, ct, ingest, new_vault, parameters, save, seg
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from audit.errors import Unreadable
from stages.ingest.geometry import KEYWORDS, Place, place_of
from stages.ingest.geometry_policy import REASONS, Finding, judge, localizers
from stages.ingest.params import GeometryParams
from stages.ingest.quarantine import Reason
from stages.series import read_series

ACROSS = [0, 1, 0, 0, 0, -1]


def slices(changes: dict[int, dict[str, Any] | None], count: int = 6) -> list[Dataset]:
    """`count` slices 3 mm apart, some changed, some (None) left out."""
    kept = [index for index in range(count) if changes.get(index, {}) is not None]
    return [change(ct(index), **(changes.get(index) or {})) for index in kept]


def place(dataset: Dataset) -> Place:
    return place_of({keyword: dataset.get(keyword) for keyword in KEYWORDS})


def at(z: float, y: float = 0) -> dict[str, Any]:
    return {"ImagePositionPatient": [0, y, z]}


SCOUT = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "ImageOrientationPatient": ACROSS}
LYING = {"ImageOrientationPatient": ACROSS}
FOUND: dict[str, tuple[list[Finding], list[Dataset], dict[str, Any]]] = {
    "even": ([], slices({}), {"spacing_mm": 3, "slices": 6, "orientations": 1}),
    "few": ([Finding.FEW], slices({}, 2), {"slices": 2, "spacing_mm": None}),
    "no position": (
        [Finding.NO_GEOMETRY], slices({2: {"ImagePositionPatient": None}}), {"slices": 5},
    ),
    "color": ([Finding.NO_GEOMETRY], slices({2: {"SamplesPerPixel": 3}}), {}),
    "mixed": (
        [Finding.MIXED], slices({1: {"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]}}),
        {"orientations": 2, "spacing_mm": None, "slices": 6},
    ),
    "double": (
        [Finding.DOUBLE], slices({3: at(6)} | {4: at(9), 5: at(12)}),
        {"double_slices": 1, "slices": 5, "spacing_mm": 3},
    ),
    "missing": (
        [Finding.MISSING], slices({2: None}),
        {"missing_slices": 1, "missing_after": "2:1", "slices": 5, "spacing_max_mm": 6},
    ),
    "uneven": (
        [Finding.UNEVEN], slices({4: at(13), 5: at(17)}),
        {"spacing_min_mm": 3, "spacing_max_mm": 4, "missing_slices": 0},
    ),
    "tilted": (
        [Finding.TILTED], slices({i: at(3 * i, 3 * i) for i in range(6)}),
        {"tilt_deg": pytest.approx(45)},
    ),
    "tilted, with a gap": (
        [Finding.MISSING, Finding.TILTED],
        slices({i: at(3 * i, i) for i in range(6)} | {3: None}),
        {"missing_after": "3:1", "missing_slices": 1},
    ),
    "all localizers": (
        [Finding.LOCALIZER], slices(dict.fromkeys(range(6), SCOUT)), {"localizers": 6},
    ),
}  # fmt: skip


@pytest.mark.rule("GEO-1")
@pytest.mark.parametrize("name", FOUND)
def test_findings_and_facts(name: str) -> None:
    findings, datasets, facts = FOUND[name]
    judged = judge([place(dataset) for dataset in datasets], GeometryParams())
    assert judged.row["geometry_findings"] == " ".join(findings)
    assert judged.reason == (REASONS[findings[0]] if findings else None)
    assert {column: judged.row[column] for column in facts} == facts


POLICIES = [
    ({}, {Finding.UNEVEN, Finding.TILTED}, "quarantine"),
    ({"uneven": "resample"}, {Finding.UNEVEN}, "resample"),
    ({"uneven": "flag"}, {Finding.UNEVEN}, "flagged"),
    ({"uneven": "resample"}, {Finding.UNEVEN, Finding.TILTED}, "quarantine"),
    ({"uneven": "resample", "tilted": "flag"}, {Finding.UNEVEN, Finding.TILTED}, "flagged"),
    ({"uneven": "resample", "tilted": "resample"}, {Finding.UNEVEN, Finding.TILTED}, "resample"),
    ({"tilted": "resample"}, {Finding.UNEVEN, Finding.TILTED}, "quarantine"),
]


@pytest.mark.rule("GEO-2")
@pytest.mark.parametrize(("policy", "findings", "expected"), POLICIES)
def test_the_strictest_policy_wins(policy, findings, expected) -> None:
    tilt = 1 if Finding.TILTED in findings else 0
    depths = [0, 3, 6, 9, 13, 17]
    datasets = [change(ct(i), **at(z, tilt * z)) for i, z in enumerate(depths)]
    judged = judge([place(dataset) for dataset in datasets], GeometryParams(**policy))
    assert set(judged.row["geometry_findings"].split()) == findings
    assert ("quarantine" if judged.reason else judged.row["geometry"]) == expected


@pytest.mark.rule("GEO-2")
def test_every_finding_has_a_policy_and_a_reason() -> None:
    assert set(GeometryParams.model_fields) == {finding.value for finding in Finding}
    assert set(REASONS) == set(Finding)
    assert set(GeometryParams().model_dump().values()) == {"quarantine"}


SAID: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"PixelRepresentation": 1}, {"signed": "signed"}),
    ({"PixelRepresentation": 0}, {"signed": "unsigned"}),
    ({"PixelPaddingValue": 63536}, {"padding": "63536"}),
    ({"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 24}, {"padding": "0..24"}),
    ({"RescaleSlope": "1.5"}, {"rescale": "1.5 -1024"}),
    ({"RescaleSlope": None, "RescaleIntercept": None}, {"rescale": "1 0"}),
    ({"RescaleSlope": "broken"}, {"rescale": "", "tilt_stated_deg": None}),
    ({"GantryDetectorTilt": "-12.5"}, {"tilt_stated_deg": -12.5, "tilt_deg": 0}),
]


@pytest.mark.rule("GEO-1")
@pytest.mark.parametrize(("changes", "facts"), SAID)
def test_what_headers_say_of_pixels_is_a_fact(changes, facts) -> None:
    said = [{keyword: ct(i).get(keyword) for keyword in KEYWORDS} | changes for i in range(4)]
    row = judge([place_of(facts_) for facts_ in said], GeometryParams()).row
    assert {column: row[column] for column in facts} == facts


@pytest.mark.rule("GEO-1")
def test_a_rescale_that_differs_is_a_fact() -> None:
    datasets = [ct(index, RescaleSlope=str(index + 1)) for index in range(4)]
    assert judge([place(d) for d in datasets], GeometryParams()).row["rescale"] == "varies"


@pytest.mark.rule("GEO-1")
@pytest.mark.parametrize(
    ("numbers", "order"),
    [
        ([1, 2, 3, 4], "ascending"),
        ([9, 7, 5, 1], "descending"),
        ([1, 3, 2, 4], "other"),
        ([1, 1, 1, 1], "other"),
        ([1, 2, None, 4], ""),
    ],
)
def test_how_instance_numbers_run_is_a_fact(numbers, order) -> None:
    datasets = [ct(i, InstanceNumber=number) for i, number in enumerate(numbers)]
    assert judge([place(d) for d in datasets], GeometryParams()).row["instance_order"] == order


@pytest.mark.rule("GEO-3")
def test_a_localizer_is_told_by_type_or_by_how_it_stands() -> None:
    def found(changes: dict[int, dict[str, Any] | None], count: int = 6) -> frozenset[int]:
        return localizers([place(d) for d in slices(changes, count)])

    assert found({0: SCOUT}) == {0}
    assert found({0: {"ImageType": ["ORIGINAL", "PRIMARY", "SCOUT"]}}) == {0}
    assert found({0: LYING, 5: LYING}) == {0, 5}
    assert found({0: LYING, 4: LYING, 5: LYING}) == frozenset()  # two stacks of three
    assert found({1: LYING}, 3) == frozenset()  # no stack of three
    slight = {"ImageOrientationPatient": [1, 0, 0, 0, 0.9, 0.43589]}
    assert found({0: slight}) == frozenset()  # tilted, not steep


@pytest.mark.rule("GEO-1")
@given(st.sampled_from([name for name in FOUND if name != "color"]), st.integers(0, 2**32))
def test_the_order_of_instances_decides_nothing(name: str, seed: int) -> None:
    _, datasets, _ = FOUND[name]
    places = [place(dataset) for dataset in datasets]
    mixed = random.Random(seed).sample(places, len(places))
    one, other = (judge(some, GeometryParams()) for some in (places, mixed))
    assert (one.reason, one.row) == (other.reason, other.row)
    assert {places[i] for i in one.apart} == {mixed[i] for i in other.apart}


def taken(tmp_path: Path, *datasets: Dataset, **geometry: str) -> Result:
    return ingest(
        tmp_path / "out",
        save(tmp_path / "in", *datasets),
        vault_folder=new_vault(tmp_path / "vault"),
        params=parameters(geometry=geometry, max_quarantined_fraction=1),
    )


def archive(result: Result) -> Path:
    (row,) = (row for row in result.table("series") if row["kind"] == "image")
    return result.units[row["subject"]] / f"{row['series']}.zip"


@pytest.mark.rule("GEO-3")
@pytest.mark.parametrize("scout", [SCOUT, LYING])
def test_a_localizer_among_slices_is_set_apart_and_the_rest_is_a_volume(tmp_path, scout) -> None:
    result = taken(tmp_path, *slices({0: scout}), seg(number=2))
    assert result.reasons == [Reason.LOCALIZER.value]
    row = next(row for row in result.table("series") if row["kind"] == "image")
    assert (row["geometry"], row["instances"], row["localizers"]) == ("volume", 5, 1)
    assert read_series(archive(result)).geometry.shape == (5, 4, 4)
    image = [r for r in result.table("instances") if r["series"] == row["series"]]
    assert {r["sop"] for r in image} == set(read_series(archive(result)).sop_uids)


@pytest.mark.rule("GEO-3")
def test_what_is_left_without_a_localizer_is_judged_too(tmp_path: Path) -> None:
    result = taken(tmp_path, *slices({0: SCOUT, 3: None}))
    assert result.reasons == sorted([Reason.LOCALIZER.value] + [Reason.UNEVEN.value] * 4)
    assert result.members == {}


@pytest.mark.rule("ING-8")
@pytest.mark.rule("GEO-2")
def test_a_flagged_series_passes_with_its_facts_and_is_no_volume(tmp_path: Path) -> None:
    result = taken(tmp_path, *slices({0: SCOUT, 3: None}), localizer="flag", missing_slice="flag")
    assert result.reasons == []
    (row,) = result.table("series")
    assert (row["geometry"], row["geometry_findings"]) == ("flagged", "localizer missing_slice")
    assert (row["instances"], row["localizers"], row["missing_after"]) == (5, 1, "2:1")
    with pytest.raises(Unreadable):
        read_series(archive(result), resample=True)


@pytest.mark.rule("GEO-5")
def test_a_double_slice_is_resampled_if_it_is_one_image_and_else_quarantined(
    tmp_path: Path,
) -> None:
    def twin(index: int, **changes: Any) -> Dataset:
        return ct(index, SOPInstanceUID=f"{ROOT}.1.99", InstanceNumber="99", **changes)

    pixels = ct(2).PixelData
    same = taken(tmp_path / "a", *slices({}), twin(2, PixelData=pixels), double_slice="resample")
    assert same.reasons == []
    assert same.table("series")[0]["geometry"] == "resample"
    assert len(same.members) == 7
    series = read_series(archive(same), resample=True)
    assert series.geometry.shape == (6, 4, 4)
    other = taken(
        tmp_path / "b", *slices({}), twin(2, PixelData=b"\0" * 32), double_slice="resample"
    )
    assert other.reasons == [Reason.DOUBLE_SLICE.value] * 7


@pytest.mark.rule("GEO-5")
def test_what_cannot_be_resampled_is_quarantined(tmp_path: Path) -> None:
    depths = [0, 0.05, 100, 200, 300]
    wild = [change(ct(index), **at(z)) for index, z in enumerate(depths)]
    result = taken(tmp_path, *wild, uneven="resample")
    assert result.reasons == [Reason.UNEVEN.value] * 5
    assert result.members == {}


@pytest.mark.rule("GEO-2")
def test_a_series_to_be_resampled_passes_as_it_is(tmp_path: Path) -> None:
    tilted = slices({i: at(3 * i, i) for i in range(6)})
    result = taken(tmp_path, *tilted, seg(number=2), tilted="resample")
    assert result.reasons == []
    row = next(row for row in result.table("series") if row["kind"] == "image")
    assert (row["geometry"], row["tilt_deg"]) == ("resample", pytest.approx(18.434949))
    series = read_series(archive(result), resample=True)
    assert series.geometry.shape == (6, 9, 4)
    kept = [list(header.ImagePositionPatient) for header in series.headers]
    assert kept == [[0, i, 3 * i] for i in range(6)]


@pytest.mark.rule("FCS-4")
def test_no_face_is_taken_from_what_is_no_volume(tmp_path: Path) -> None:
    large = {"PixelSpacing": [60, 60], "BodyPartExamined": "HEAD"}
    head = [change(ct(i), **large, **at(60 * i, 20 * i)) for i in range(4)]
    result = ingest(
        tmp_path / "out",
        save(tmp_path / "in", *head),
        vault_folder=new_vault(tmp_path / "vault"),
        params=parameters(
            geometry={"tilted": "resample"}, pixels={"face": "remove"}, max_quarantined_fraction=1
        ),
    )
    assert result.reasons == [Reason.FACE.value] * 4


@pytest.mark.rule("GEO-4")
@pytest.mark.parametrize(
    "others", [[enhanced(series="1", SOPInstanceUID=f"{ROOT}.5.5")], [ct(7), ct(8)]]
)
def test_an_enhanced_instance_is_a_series_of_its_own(tmp_path: Path, others) -> None:
    result = taken(tmp_path, enhanced(SOPInstanceUID=f"{ROOT}.5.4"), *others)
    assert result.reasons == [Reason.MIXED.value] * (1 + len(others))


def test_the_shared_mr_study_is_five_even_volumes(tmp_path: Path, shared_data: Path) -> None:
    source = shared_data / "brain-mr-study3.zip"
    if not source.is_file():
        pytest.skip("the shared MR study (../shared/data/brain-mr-study3.zip) is not here")
    with zipfile.ZipFile(source) as members:
        tilts = {
            pydicom.dcmread(BytesIO(members.read(name)), stop_before_pixels=True).SeriesInstanceUID
            for name in members.namelist()
            if not name.endswith("/")
        }
    result = ingest(tmp_path / "out", source, vault_folder=new_vault(tmp_path / "vault"))
    rows = result.table("series")
    assert len(rows) == len(tilts) == 5
    for row in rows:
        assert (row["geometry"], row["orientations"], row["missing_slices"]) == ("volume", 1, 0)
        series = read_series(result.units[row["subject"]] / f"{row['series']}.zip")
        assert series.geometry.shape[0] == row["slices"]
        assert series.geometry.spacing_mm[0] == pytest.approx(row["spacing_mm"])
