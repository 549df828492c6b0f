"""The ten actions of MIDI-B on the phantom cohort, and a scorer that sees every kind of damage."""

import copy
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from helpers_cohort_planted import pairs
from helpers_ingest import NAME, PATIENT, ROOT, TASK, ct, encoded
from helpers_midi import ACTIONS, Pair, score
from helpers_text import draw, picture, speckle
from pydicom.dataset import Dataset

from stages.ingest.codes import codes_of
from stages.ingest.header import quiet
from stages.ingest.pseudonymize import pseudonymize
from stages.ingest.rules import Rules

BOX = (slice(0, 1), slice(0, 2))


def pair(index: int, damage: Callable[[Dataset], object] = lambda out: None, boxes=()) -> Pair:
    rules = Rules(
        subject="s-aaaaaaaaaa",
        uid_key=b"u" * 32,
        reader_key=b"r" * 32,
        days=-1000,
        readers={},
        labels={},
        codes=codes_of(TASK),
        depth=16,
    )
    source = pydicom.dcmread(BytesIO(encoded(ct(index))))
    with quiet():
        out = pseudonymize(copy.deepcopy(source), rules)[0]
    damage(out)
    data = encoded(out)
    return Pair(source, pydicom.dcmread(BytesIO(data)), data, boxes)


def put(keyword: str, value: object) -> Callable[[Dataset], object]:
    return lambda out: setattr(out, keyword, value)


@pytest.mark.rule("ING-3")
@pytest.mark.rule("ING-5")
@pytest.mark.parametrize("subjects", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_the_planted_phantom_cohort_scores_at_least_9995(tmp_path: Path, subjects: int) -> None:
    with quiet():
        found, planted = pairs(tmp_path, subjects)
        result = score(found, planted)
    assert result.fraction >= 0.9995, result.failed
    assert result.over_removed == 0
    assert all(result.checks[name] for name in ACTIONS)


def test_undamaged_outputs_pass_every_action() -> None:
    blank = [pair(index) for index in range(3)]
    result = score(blank, [*NAME.split("^"), PATIENT])
    assert result.fraction == 1
    assert {name for name in ACTIONS if result.checks[name]} == set(ACTIONS) - {"pixels_hidden"}


@pytest.mark.parametrize(
    ("action", "damage"),
    [
        ("tag_retained", lambda out: delattr(out, "RescaleSlope")),
        ("text_notnull", put("Manufacturer", "")),
        ("text_retained", put("SliceThickness", "4")),
        ("text_removed", put("SeriesDescription", NAME)),
        ("date_shifted", put("ContentDate", "20210606")),
        ("date_shifted", put("StudyDate", "20240229")),
        ("uid_changed", put("StudyInstanceUID", f"{ROOT}.77")),
        ("uid_consistent", put("FrameOfReferenceUID", "2.25.4711")),
        ("patid_consistent", put("PatientID", "s-bbbbbbbbbb")),
        ("pixels_retained", put("PixelData", bytes(32))),
    ],
)
def test_damage_to_one_instance_fails_its_action(action: str, damage) -> None:
    damaged = [pair(0), pair(1, damage), pair(2)]
    result = score(damaged, [*NAME.split("^"), PATIENT])
    assert result.passed[action] < result.checks[action]


def test_text_in_pixels_is_hidden_only_by_one_value_and_nothing_else_may_change() -> None:
    def blanked(out: Dataset) -> None:
        out.PixelData = bytes(4) + out.PixelData[4:]

    def spilled(out: Dataset) -> None:
        out.PixelData = bytes(12) + out.PixelData[12:]

    kept = score([pair(0, boxes=(BOX,))], [])
    hidden = score([pair(0, blanked, (BOX,))], [])
    both = score([pair(0, spilled, (BOX,))], [])
    assert (kept.passed["pixels_hidden"], kept.passed["pixels_retained"]) == (0, 1)
    assert (hidden.passed["pixels_hidden"], hidden.passed["pixels_retained"]) == (1, 1)
    assert (both.passed["pixels_hidden"], both.passed["pixels_retained"]) == (1, 0)


def test_text_that_is_left_elsewhere_in_a_picture_is_read() -> None:
    empty = speckle() * 0
    drawn, box = draw(speckle())
    place = (slice(box.top, box.bottom), slice(box.left, box.right))
    hidden = []
    for pixels in (empty, draw(empty, "MILLER 1943", at=(120, 10))[0]):
        source, output = (
            pydicom.dcmread(BytesIO(encoded(picture(one)))) for one in (drawn, pixels)
        )
        hidden.append(score([Pair(source, output, boxes=(place,))], []).passed["pixels_hidden"])
    assert hidden == [1, 0]


def test_a_missing_instance_fails_all_its_checks() -> None:
    whole = [pair(index) for index in range(3)]
    lost = [*whole[:2], Pair(whole[2].source, None)]
    before, after = score(whole, [PATIENT]), score(lost, [PATIENT])
    assert before.checks == after.checks
    assert sum(after.passed.values()) < sum(before.passed.values())
    assert score([Pair(whole[0].source, None)], [PATIENT]).fraction == 0
