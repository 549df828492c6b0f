from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers_annotate import Subject, parameters, queue, redraw, subject
from helpers_dicom import TASK, box
from pydantic import ValidationError
from pydicom.dataset import Dataset

from stages.annotate.params import AnnotateParams
from stages.annotate.stage import STAGE
from stages.artifact import Manifest
from stages.segmentation import read_labels
from stages.series import Series
from stages.stage import PlanContext, Upstream
from stages.table import read_table

SHAPE = (8, 16, 16)
ORGAN = box(SHAPE, (1, 7), (3, 12), (3, 12))
LESION = box(SHAPE, (3, 5), (5, 9), (5, 9))


def drawing(seed: int) -> dict[str, Any]:
    lesion = redraw(LESION, seed, 0.5)
    return {"Organ": redraw(ORGAN, seed + 50, 0.5) & ~lesion, "Lesion": lesion}


def three(folder: Path, readers: tuple[str, ...] = ("a", "b", "c")) -> tuple[Subject, Series]:
    one = subject(folder)
    series = one.series()
    for reader in readers:
        grade = "benign" if reader == "a" else "malignant"
        one.draw(series, reader, drawing(ord(reader)), classes={"Lesion": grade})
    return one, series


def consensus_map(out: Path, series: Series) -> Any:
    return read_labels(out / "consensus" / f"{series.uid}.dcm", series, TASK)


def test_a_unit_for_each_subject_that_reads_its_tree(tmp_path: Path) -> None:
    upstream = Upstream(
        units={"s-2": ("2" * 64, tmp_path), "s-1": ("1" * 64, tmp_path)},
        merged=("0" * 64, tmp_path),
    )
    plan = STAGE.plan(PlanContext(params=parameters(), upstream={"ingest": upstream}))
    assert [unit.name for unit in plan.units] == ["s-1", "s-2"]
    assert plan.units[0].inputs == {"ingest/s-1": "1" * 64}


@pytest.mark.rule("ANN-1")
def test_each_pair_is_compared_on_each_structure(tmp_path: Path) -> None:
    one, series = three(tmp_path)
    one.run(tmp_path / "out")
    rows = read_table(tmp_path / "out" / "agreement.parquet")
    pairs = [(row["structure"], row["reader_a"], row["reader_b"]) for row in rows]
    assert pairs == [(s, *p) for s in ("lesion", "organ") for p in ("ab", "ac", "bc")]
    assert {row["series"] for row in rows} == {series.uid}
    for row in rows[3:]:
        assert 0.9 < row["dice"] < 1
        assert 0 < row["hd95_mm"] <= 4
        assert 0.9 < row["nsd"] <= 1


@pytest.mark.rule("ANN-1")
def test_a_structure_that_one_reader_left_out_has_dice_zero_and_no_distance(
    tmp_path: Path,
) -> None:
    one = subject(tmp_path)
    series = one.series()
    one.draw(series, "a", {"Organ": ORGAN & ~LESION, "Lesion": LESION})
    one.draw(series, "b", {"Organ": ORGAN})
    one.run(tmp_path / "out")
    lesion = read_table(tmp_path / "out" / "agreement.parquet")[0]
    assert (lesion["structure"], lesion["dice"]) == ("lesion", 0)
    assert lesion["hd95_mm"] is lesion["nsd"] is None


@pytest.mark.rule("ANN-2")
@pytest.mark.parametrize("method", ["staple", "majority"])
def test_three_readers_give_a_consensus_near_the_truth(tmp_path: Path, method: str) -> None:
    one, series = three(tmp_path)
    outcome = one.run(tmp_path / "out", consensus=method)
    labels = consensus_map(tmp_path / "out", series)
    assert (labels.map[LESION] == 5).mean() > 0.8
    assert labels.classes == {"lesion": "malignant"}
    assert labels.reader == "Consensus"
    assert outcome.findings["methods"] == {method: 1}
    rows = read_table(tmp_path / "out" / "labels.parquet")
    assert [(r["structure"], r["class"], r["votes"], r["readers"]) for r in rows] == [
        ("lesion", "malignant", 2, 3),
        ("organ", "", 0, 3),
    ]


@pytest.mark.rule("ANN-2")
def test_the_same_subject_gives_the_same_bytes_whatever_the_order(tmp_path: Path) -> None:
    one, _ = three(tmp_path / "one")
    one.run(tmp_path / "first")
    one.rows.reverse()
    one.run(tmp_path / "second")
    assert Manifest.of(tmp_path / "first") == Manifest.of(tmp_path / "second")


@pytest.mark.rule("ANN-2")
def test_the_named_expert_is_the_consensus(tmp_path: Path) -> None:
    one, series = three(tmp_path)
    one.run(tmp_path / "out", consensus="expert", expert="a")
    labels = consensus_map(tmp_path / "out", series)
    wanted = drawing(ord("a"))
    assert np.array_equal(labels.map == 5, wanted["Lesion"])
    assert np.array_equal(labels.map == 2, wanted["Organ"])
    assert labels.classes == {"lesion": "benign"}
    assert len(read_table(tmp_path / "out" / "agreement.parquet")) == 6


@pytest.mark.rule("ANN-4")
def test_without_the_expert_there_is_no_consensus(tmp_path: Path) -> None:
    one, _ = three(tmp_path)
    one.run(tmp_path / "out", consensus="expert", expert="z")
    assert not (tmp_path / "out" / "consensus").exists()
    assert queue(tmp_path / "out") == [("ANN-4", "the expert's annotation is missing")]


@pytest.mark.rule("ANN-3")
def test_two_readers_who_agree_meet_halfway_and_not_at_their_intersection(tmp_path: Path) -> None:
    one = subject(tmp_path)
    series = one.series()
    inner, outer = box(SHAPE, (2, 6), (5, 11), (5, 11)), box(SHAPE, (2, 6), (3, 13), (3, 13))
    one.draw(series, "a", {"Organ": inner})
    one.draw(series, "b", {"Organ": outer})
    one.run(tmp_path / "out", min_dice=0.3)
    found = consensus_map(tmp_path / "out", series).map == 2
    assert inner.sum() < found.sum() < outer.sum()
    assert queue(tmp_path / "out") == []
    assert read_table(tmp_path / "out" / "labels.parquet")[0]["method"] == "midway"


@pytest.mark.rule("ANN-3")
@pytest.mark.parametrize(
    ("first", "second", "params", "reasons"),
    [
        (
            {"Lesion": LESION},
            {"Lesion": LESION | box(SHAPE, (6, 8), (13, 15), (13, 15))},
            {},
            {"two readers disagree, no third decides: lesion"},
        ),
        (
            {"Lesion": LESION},
            {"Lesion": np.roll(LESION, 2, 1)},
            {"min_dice": 0.7},
            {
                "agreement below annotate.min_dice: lesion",
                "two readers disagree, no third decides: lesion",
            },
        ),
        (
            {"Lesion": LESION},
            {"Lesion": LESION},
            {"two_readers": "withhold"},
            {"two readers have no majority"},
        ),
    ],
)
def test_two_readers_who_disagree_get_no_consensus(
    tmp_path: Path,
    first: dict[str, Any],
    second: dict[str, Any],
    params: dict[str, Any],
    reasons: set[str],
) -> None:
    one = subject(tmp_path)
    series = one.series()
    one.draw(series, "a", first)
    one.draw(series, "b", second)
    outcome = one.run(tmp_path / "out", **params)
    assert not (tmp_path / "out" / "consensus").exists()
    assert {reason for _, reason in queue(tmp_path / "out")} == reasons
    assert outcome.findings["methods"] == {"none": 1}
    assert outcome.findings["queued"] == 1


@pytest.mark.rule("ANN-4")
def test_one_reader_stands_unless_more_are_asked_for(tmp_path: Path) -> None:
    one = subject(tmp_path)
    series = one.series()
    one.draw(series, "a", {"Organ": ORGAN})
    one.run(tmp_path / "out")
    assert np.array_equal(consensus_map(tmp_path / "out", series).map == 2, ORGAN)
    assert read_table(tmp_path / "out" / "labels.parquet")[0]["method"] == "single"
    one.run(tmp_path / "strict", min_readers=2)
    assert not (tmp_path / "strict" / "consensus").exists()
    assert queue(tmp_path / "strict") == [("ANN-4", "1 readers; annotate.min_readers is 2")]


@pytest.mark.rule("ANN-5")
def test_a_tie_on_the_class_is_queued_and_the_outline_stands(tmp_path: Path) -> None:
    one = subject(tmp_path)
    series = one.series()
    for reader, grade in (("a", "benign"), ("b", "malignant")):
        one.draw(series, reader, {"Lesion": LESION}, classes={"Lesion": grade})
    one.run(tmp_path / "out")
    assert consensus_map(tmp_path / "out", series).classes == {}
    assert queue(tmp_path / "out") == [("ANN-5", "readers tie on the class: lesion")]
    assert read_table(tmp_path / "out" / "labels.parquet")[0]["class"] == ""


@pytest.mark.rule("ANN-6")
def test_an_expected_reader_who_is_missing_is_queued(tmp_path: Path) -> None:
    one, series = three(tmp_path)
    one.run(tmp_path / "out", readers=("a", "b", "c", "d"))
    assert queue(tmp_path / "out") == [("ANN-6", "reader missing: d")]
    assert consensus_map(tmp_path / "out", series).map.any()


@pytest.mark.rule("ANN-6")
def test_an_annotation_off_the_grid_is_queued_and_the_others_go_on(tmp_path: Path) -> None:
    def move(seg: Dataset) -> None:
        for group in seg.PerFrameFunctionalGroupsSequence:
            plane = group.PlanePositionSequence[0]
            plane.ImagePositionPatient = [0, *list(plane.ImagePositionPatient)[1:]]

    one, series = three(tmp_path)
    one.draw(series, "d", {"Organ": ORGAN}, edit=move)
    one.run(tmp_path / "out")
    ((rule, reason),) = queue(tmp_path / "out")
    assert rule == "ANN-6"
    assert reason.startswith("annotation of d left out: The segmentation has a frame that lies on")
    assert read_table(tmp_path / "out" / "labels.parquet")[0]["readers"] == 3
    assert consensus_map(tmp_path / "out", series).map.any()


@pytest.mark.rule("ANN-6")
def test_a_reader_who_annotated_twice_is_left_out(tmp_path: Path) -> None:
    one, series = three(tmp_path)
    one.draw(series, "a", {"Organ": ORGAN})
    one.run(tmp_path / "out")
    reasons = [reason for _, reason in queue(tmp_path / "out")]
    assert "annotations of a left out: 2 on one series" in reasons
    assert {r["readers"] for r in read_table(tmp_path / "out" / "labels.parquet")} <= {2}


@pytest.mark.rule("ANN-6")
def test_low_agreement_of_three_is_queued_and_the_consensus_stands(tmp_path: Path) -> None:
    one, series = three(tmp_path)
    one.run(tmp_path / "out", min_dice=0.999)
    assert queue(tmp_path / "out") == [
        ("ANN-6", f"agreement below annotate.min_dice: {name}") for name in ("lesion", "organ")
    ]
    assert consensus_map(tmp_path / "out", series).map.any()


@pytest.mark.rule("ANN-6")
def test_a_series_that_is_no_volume_or_not_there_is_queued(tmp_path: Path) -> None:
    from helpers_dicom import write_series

    one, series = three(tmp_path)
    write_series(one.tree, "s-1/scan", edit=lambda slices: slices[:3] + slices[4:])
    other = one.series("mr", modality="MR")
    one.draw(other, "a", {"Organ": ORGAN})
    gone = one.series("gone")
    one.draw(gone, "a", {"Organ": ORGAN})
    one.rows = [row for row in one.rows if row["series"] != gone.uid]
    outcome = one.run(tmp_path / "out")
    found = {row["series"]: row["reason"] for row in read_table(tmp_path / "out" / "queue.parquet")}
    assert found == {
        series.uid: "The series is unevenly spaced: a slice is missing or misplaced.",
        other.uid: "The annotated series is not CT.",
        gone.uid: "The annotated series is not among the subject's images.",
    }
    assert outcome.findings == {
        "annotated": 3,
        "annotations": 5,
        "labeled": 0,
        "methods": {"none": 3},
        "queued": 3,
    }


def test_a_subject_without_annotations_has_empty_tables(tmp_path: Path) -> None:
    one = subject(tmp_path)
    one.series()
    outcome = one.run(tmp_path / "out")
    for name in ("agreement", "labels", "queue"):
        assert read_table(tmp_path / "out" / f"{name}.parquet") == []
    assert not (tmp_path / "out" / "consensus").exists()
    assert outcome.findings["annotated"] == 0
    json.dumps(outcome.findings)


@pytest.mark.parametrize(
    "changes",
    [{"consensus": "expert"}, {"expert": "a"}, {"consensus": "majority", "expert": "a"}],
)
def test_an_expert_is_named_if_and_only_if_one_is_asked_for(changes: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="expert"):
        AnnotateParams(**changes)  # type: ignore[arg-type]


@pytest.mark.rule("ANN-6")
def test_annotations_of_a_series_that_ingestion_flagged_are_queued(tmp_path: Path) -> None:
    one, _ = three(tmp_path)
    one.rows = [row | {"geometry": "flagged", "geometry_findings": "tilted"} for row in one.rows]
    one.run(tmp_path / "out")
    ((rule, reason),) = queue(tmp_path / "out")
    assert rule == "ANN-6"
    assert "tilted" in reason
    assert not (tmp_path / "out" / "consensus").exists()
