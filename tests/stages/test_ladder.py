"""Two ladders compared: first difference, causes, level, tolerances, flips. Tables, no files."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from audit.canonical import digest_json
from stages.ladder import RESULTS, RUNGS, Comparison, Facts, Ladder, Rung, compare
from stages.rungs import flat

IMAGE, LABEL, CONSENSUS = "s-a/2.25.1.zip", "s-a/2.25.2.zip", "s-a/consensus/2.25.1.dcm"
INPUTS = {
    IMAGE: "1" * 64,
    LABEL: "2" * 64,
    CONSENSUS: "3" * 64,
    "s-b/2.25.9.zip": "4" * 64,
    "series.parquet": "5" * 64,
}
PARAMETERS = {"numerics.seed": 1, "train.learning_rate": 0.004, "assess.min_dice": 0.8}
ENVIRONMENT = {"library numpy": "2.1", "threads": "1", "processor": "A"}
CODE = {
    "train": {"train/loop.py": "a" * 64, "volume.py": "b" * 64},
    "assess": {"assess/stage.py": "c" * 64, "volume.py": "b" * 64},
}
SCORES = [
    {"subject": s, "series": "1", "vendor": "v", "structure": "organ", "dice": d, "hd95_mm": 2.0,
     "nsd": 0.9}
    for s, d in (("s-a", 0.9), ("s-b", 0.7))
]  # fmt: skip
TOLERANCES = {"dice": 0.01, "hd95_mm": 1.0, "nsd": 0.02}


def ladder(
    *,
    results: dict[str, str] | None = None,
    scores: list[dict[str, Any]] | None = None,
    inputs: dict[str, str] | None = None,
    parameters: dict[str, Any] | None = None,
    environment: dict[str, str] | None = None,
    code: dict[str, dict[str, str]] | None = None,
    **facts: Any,
) -> Ladder:
    """A ladder like the others, but for what is given."""
    inputs = INPUTS if inputs is None else inputs
    parameters = PARAMETERS | (parameters or {})
    environment = ENVIRONMENT | (environment or {})
    code = CODE | (code or {})
    parts = {
        "inputs": inputs,
        "parameters": {key: digest_json(value) for key, value in parameters.items()},
        "code": {f"{s}/{file}": d for s, files in code.items() for file, d in files.items()},
        "environment": {key: digest_json(value) for key, value in environment.items()},
        **{name: {"all": digest_json((results or {}).get(name, name))} for name in RESULTS},
    }
    return Ladder(
        rungs=tuple(Rung.of(name, parts[name]) for name in RUNGS),
        facts=Facts(
            parameters=parameters, environment=environment, code=code, annotations=(LABEL,), **facts
        ),
        scores=tuple(SCORES if scores is None else scores),
    )


def against(**changes: Any) -> Comparison:
    """The comparison with a rebuild that differs in this."""
    return compare(ladder(), ladder(**changes), TOLERANCES)


def test_a_ladder_equals_itself_after_it_was_written_and_read() -> None:
    again = Ladder.model_validate_json(ladder().model_dump_json())
    assert again == ladder()
    found = compare(ladder(), again, TOLERANCES)
    assert (found.level, found.first_difference, found.causes) == ("R1", None, ())
    assert [rung.name for rung in found.rungs] == list(RUNGS)
    assert all(rung.equal for rung in found.rungs)
    assert found.tolerances == found.flips == ()


@pytest.mark.rule("LAD-1")
def test_a_digest_that_is_not_of_its_parts_is_refused() -> None:
    rung = Rung.of("onnx", {"model.onnx": "1" * 64}).model_dump()
    rung["parts"] = {"model.onnx": "2" * 64}
    with pytest.raises(ValidationError, match="not that of its parts"):
        Rung.model_validate(rung)


def test_a_ladder_of_a_newer_format_is_refused() -> None:
    with pytest.raises(ValidationError):
        Ladder.model_validate(ladder().model_dump() | {"schema_version": 2})


ANOTHER = "f" * 64
PLANTED: dict[str, tuple[dict[str, Any], str, list[str]]] = {
    "pixel": (
        {"inputs": INPUTS | {IMAGE: ANOTHER, "series.parquet": ANOTHER}},
        "inputs",
        [f"pixels or header of series 2.25.1 of s-a ({IMAGE})"],
    ),
    "label": (
        {"inputs": INPUTS | {LABEL: ANOTHER}},
        "inputs",
        [f"label 2.25.2 of s-a (a reader's annotation) ({LABEL})"],
    ),
    "consensus": (
        {"inputs": INPUTS | {CONSENSUS: ANOTHER}},
        "inputs",
        [f"consensus label of series 2.25.1 of s-a ({CONSENSUS})"],
    ),
    "table": (
        {"inputs": INPUTS | {"series.parquet": ANOTHER}},
        "inputs",
        ["table series.parquet"],
    ),
    "missing": (
        {"inputs": {path: d for path, d in INPUTS.items() if path != IMAGE}},
        "inputs",
        [f"missing: pixels or header of series 2.25.1 of s-a ({IMAGE})"],
    ),
    "added": (
        {"inputs": INPUTS | {"s-a/2.25.7.zip": ANOTHER}},
        "inputs",
        ["added: pixels or header of series 2.25.7 of s-a (s-a/2.25.7.zip)"],
    ),
    "erased": (
        {"inputs": {path: d for path, d in INPUTS.items() if not path.startswith("s-a/")}},
        "inputs",
        ["subject s-a is missing (3 files)"],
    ),
    "new subject": (
        {"inputs": INPUTS | {"s-c/2.25.8.zip": ANOTHER}},
        "inputs",
        ["subject s-c was added (1 files)"],
    ),
    "parameter": (
        {"parameters": {"train.learning_rate": 0.005}},
        "parameters",
        ["parameter train.learning_rate: 0.004 → 0.005"],
    ),
    "new parameter": (
        {"parameters": {"train.extra": None}},
        "parameters",
        ["parameter train.extra: absent → None"],
    ),
    "code": (
        {"code": {"train": CODE["train"] | {"train/loop.py": ANOTHER}}},
        "code",
        ["code train/loop.py (of train)"],
    ),
    "shared code": (
        {"code": {stage: files | {"volume.py": ANOTHER} for stage, files in CODE.items()}},
        "code",
        ["code volume.py (of assess, train)"],
    ),
    "library": (
        {"environment": {"library numpy": "2.2"}},
        "environment",
        ["library numpy: 2.1 → 2.2"],
    ),
    "threads": ({"environment": {"threads": "2"}}, "environment", ["threads: 1 → 2"]),
    "processor": ({"environment": {"processor": "B"}}, "environment", ["processor: A → B"]),
}


@pytest.mark.rule("LAD-4")
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_cause_is_named_at_its_rung(name: str) -> None:
    changes, rung, causes = PLANTED[name]
    found = against(**changes, results={"weights": "others", "archive": "another"})
    assert found.first_difference == rung
    assert list(found.causes) == causes
    # and the other way round: the same rung, old and new exchanged
    back = compare(ladder(**changes, results={"weights": "others"}), ladder(), TOLERANCES)
    assert back.first_difference == rung
    assert len(back.causes) == len(causes)


@pytest.mark.rule("LAD-4")
def test_all_that_may_have_caused_it_is_named_in_the_order_of_the_rungs() -> None:
    found = against(
        parameters={"numerics.seed": 2},
        environment={"threads": "2"},
        code={"train": {}},
        results={"weights": "others"},
    )
    assert found.first_difference == "parameters"
    assert [cause.split()[0] for cause in found.causes] == ["parameter", "code", "code", "threads:"]


@pytest.mark.rule("LAD-4")
def test_a_difference_without_a_recorded_cause_is_told_as_that() -> None:
    released, rebuilt = (
        ladder(settings={"loader_workers": 0}),
        ladder(results={"batches": "others"}, settings={"loader_workers": 2}),
    )
    found = compare(released, rebuilt, TOLERANCES)
    assert found.first_difference == "batches"
    assert "nothing that is recorded above `batches` differs" in found.causes[0]
    assert found.causes[1] == "setting loader_workers: 0 → 2"


@pytest.mark.rule("LAD-3")
def test_a_machine_setting_is_no_difference() -> None:
    found = compare(ladder(), ladder(settings={"loader_workers": 2}), TOLERANCES)
    assert (found.level, found.first_difference) == ("R1", None)


@pytest.mark.rule("LAD-2")
def test_another_processor_with_the_same_bits_is_r1_and_told() -> None:
    found = against(environment={"processor": "B"})
    assert (found.level, found.first_difference) == ("R1", "environment")
    assert found.causes == ("processor: A → B",)


@pytest.mark.rule("LAD-2")
@pytest.mark.parametrize("rung", RESULTS)
def test_one_result_that_differs_is_not_r1(rung: str) -> None:
    found = against(results={rung: "other"})
    assert found.first_difference == rung
    assert found.level == "R2"  # its scores are the same


def test_a_rung_that_one_of_them_lacks_differs() -> None:
    whole = ladder()
    short = whole.model_copy(update={"rungs": whole.rungs[:-1]})
    for pair in ((whole, short), (short, whole)):
        found = compare(*pair, TOLERANCES)
        assert (found.level, found.first_difference) == ("R2", "archive")


def _scores(first: float | None, second: float | None = 0.7) -> list[dict[str, Any]]:
    return [row | {"dice": d} for row, d in zip(SCORES, (first, second), strict=True)]


@pytest.mark.rule("LAD-2")
@pytest.mark.parametrize(
    ("dice", "level", "difference"),
    [(0.88, "R2", 0.01), (0.92, "R2", 0.01), (0.8799, None, 0.01005), (None, None, 0.1)],
)
def test_r2_holds_means_against_their_tolerances(
    dice: float | None, level: str | None, difference: float
) -> None:
    found = against(results={"weights": "x"}, scores=_scores(dice))
    row = next(row for row in found.tolerances if row.what == "mean dice of organ")
    assert row.difference == pytest.approx(difference)
    assert (found.level, row.within) == (level, level == "R2")
    assert {row.what for row in found.tolerances} == {
        "mean dice of organ", "mean hd95_mm of organ", "mean nsd of organ",
    }  # fmt: skip


def test_single_subjects_are_held_against_a_tolerance_where_one_is_given() -> None:
    rebuilt = ladder(results={"weights": "x"}, scores=_scores(0.8, 0.8))  # the mean is the same
    assert compare(ladder(), rebuilt, TOLERANCES).level == "R2"
    found = compare(ladder(), rebuilt, TOLERANCES | {"subject_dice": 0.05})
    assert found.level is None
    assert [row.what for row in found.tolerances if not row.within] == [
        "dice of organ of s-a", "dice of organ of s-b",
    ]  # fmt: skip


@pytest.mark.rule("TOL-1")
def test_only_subjects_that_both_have_are_compared() -> None:
    found = against(results={"metrics": "x"}, scores=SCORES[:1], missing=("s-b",))
    assert found.level == "R2"
    assert {row.released for row in found.tolerances if "dice" in row.what} == {0.9}
    assert against(results={"metrics": "x"}, scores=[]).level is None


@pytest.mark.rule("TOL-1")
def test_a_structure_that_could_not_be_scored_is_not_within() -> None:
    found = against(results={"metrics": "x"}, scores=_scores(None, None))
    row = found.tolerances[0]
    assert (found.level, row.rebuilt, row.within) == (None, None, False)


@pytest.mark.rule("TOL-2")
@pytest.mark.parametrize("limit", [{"assess.min_dice": 0.8}, {"assess.min_dice.organ": 0.8}])
def test_subjects_whose_verdict_changed_are_flips(limit: dict[str, float]) -> None:
    released = ladder()
    facts = released.facts.model_copy(update={"parameters": limit})
    released = released.model_copy(update={"facts": facts})
    rebuilt = ladder(results={"weights": "x"}, scores=_scores(0.79, 0.81))
    flips = compare(released, rebuilt, TOLERANCES).flips
    assert [(flip.subject, flip.released, flip.rebuilt, flip.limit) for flip in flips] == [
        ("s-a", 0.9, 0.79, 0.8), ("s-b", 0.7, 0.81, 0.8),
    ]  # fmt: skip
    assert against(results={"weights": "x"}, scores=_scores(0.85, 0.75)).flips == ()


def test_parameters_are_named_by_dotted_keys() -> None:
    value = {"a": {"b": 1, "c": {}}, "list": [1, 2], "rows": [{"x": 1}, {"x": 2}]}
    assert dict(flat(value)) == {
        "a.b": 1, "a.c": {}, "list": [1, 2], "rows.0.x": 1, "rows.1.x": 2,
    }  # fmt: skip
