"""The report on the training: it says what was declared, what was chosen, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from helpers_package import COMPARED, EMPTY, GATES, HOSTILE, MEASURED, RESOLVED, compared, trial

from stages.package import charts_training
from stages.package.document import Section, Table
from stages.package.measured import Facts
from stages.package.report_training import chosen_text, variants

CHECKS = [
    {"stage": stage, **check.model_dump(mode="json")}
    for stage, gate in GATES.items()
    for check in gate.checks
]
FACTS = Facts(MEASURED, CHECKS, RESOLVED)
RESULTS = replace(
    EMPTY,
    comparison=[compared(*row) for row in COMPARED],
    histories={
        "scratch": [{"epoch": 1, "loss": 0.5, "score": 0.8}],
        "frozen": [],
    },
)


def told(section: Section) -> str:
    return "\n".join(section.texts)


def tables(section: Section) -> dict[str, Table]:
    return {table.caption: table for table in section.tables}


def chosen(selected: str, *rows: tuple[str, float], **train: Any) -> str:
    best = max(score for _, score in rows)
    found = [compared(*row, best) | {"selected": row[0] == selected} for row in rows]
    return chosen_text(replace(EMPTY, comparison=found), {"margin": 0.01, **train})


@pytest.mark.rule("RPT-1")
def test_the_rule_stands_before_the_figures() -> None:
    text = told(variants(RESULTS, FACTS))
    assert text.startswith("Declared before training: ")
    assert "not more than 0.01 below the best one's, the simplest" in text
    assert "in the order scratch, frozen, finetuned" in text
    assert "3 seeds" in text
    assert "after screening (epochs: 2), from which 50 % go on" in text
    worst = {**RESOLVED["train"], "comparison": {**RESOLVED["train"]["comparison"]}}
    worst["comparison"]["rule"] = "interval"
    text = told(variants(RESULTS, Facts(MEASURED, CHECKS, {"train": worst})))
    assert "best one's at the lower end of the interval of the difference" in text


@pytest.mark.rule("RPT-1")
@pytest.mark.parametrize(
    ("selected", "rows", "train", "expected"),
    [
        ("a", (("a", 0.9),), {}, "Chosen: a, the only finalist."),
        ("a", (("a", 0.9), ("b", 0.8)), {}, "Chosen: a; its score of 0.900 is the best."),
        (
            "b",
            (("a", 0.8), ("b", 0.9)),
            {},
            (
                "Chosen: b; its score of 0.900 is the best, and no simpler one lies within "
                "the margin of 0.01 of it."
            ),
        ),
        (
            "a",
            (("a", 0.895), ("b", 0.9)),
            {},
            (
                "Chosen: a, the simplest within the margin of 0.01: its score lies 0.005 below "
                "that of b, the best."
            ),
        ),
        (
            "a",
            (("a", 0.895), ("b", 0.9)),
            {"margin": 0.05, "comparison": {"rule": "interval"}},
            (
                "Chosen: a, the simplest within the margin of 0.05: its score lies 0.025 below "
                "that of b, the best, at the lower end of the interval."
            ),
        ),
    ],
)
def test_the_choice_is_explained_by_its_rule(
    selected: str, rows: Any, train: dict[str, Any], expected: str
) -> None:
    assert chosen(selected, *rows, **train) == expected


@pytest.mark.rule("RPT-2")
def test_that_pretraining_brings_no_benefit_is_said() -> None:
    text = told(variants(RESULTS, FACTS))
    assert (
        "Pre-training brings no benefit: pre-training changes the best validation score by +0.005 "
        "(90% interval -0.010 to +0.020); declared as a benefit was more than 0.01 (train.margin)."
    ) in text
    helps = [c | {"verdict": "passed"} for c in CHECKS]
    assert "brings a benefit" in told(variants(RESULTS, Facts(MEASURED, helps, RESOLVED)))
    assert "benefit" not in told(variants(RESULTS, Facts(MEASURED, CHECKS[:1], RESOLVED)))


def test_the_finalists_stand_with_their_intervals_and_tests() -> None:
    made = tables(variants(RESULTS, FACTS))["Comparison on the validation split"]
    rows = {row[0]: dict(zip(made.columns, row, strict=True)) for row in made.rows}
    assert rows["scratch"] == {
        "Variant": "scratch",
        "Score": "0.810",
        "90 % CI": "0.760 to 0.860",
        "Less the best": "-0.090",
        "90 % CI of the difference": "-0.110 to -0.070",
        "p, corrected": "0.020",
        "Dice, lesion": "0.760",
        "Parameters trained": "12,345",
        "of all": "54,321",
        "Epoch kept": "4 of 4",
    }
    assert rows["finetuned"]["p, corrected"] == rows["finetuned"]["Less the best"] == "–"
    assert made.marked == 2


def test_what_adaptation_costs_the_other_vendors_is_shown() -> None:
    trained = {
        name: {"start": "random", "new_tensors": [], "unused_tensors": [], "aside": {"score": 0.7}}
        for name, _ in COMPARED
    }
    made = tables(variants(replace(RESULTS, trained=trained), FACTS))
    columns = made["Comparison on the validation split"].columns
    row = made["Comparison on the validation split"].rows[0]
    assert dict(zip(columns, row, strict=True))["Score, other vendors"] == "0.700"


def test_screening_says_who_went_on() -> None:
    trials = [
        *(trial(name, "screening", f"screening/1/{name}") for name in ("a", "b", "c")),
        *(trial(name, "screening", f"screening/2/{name}") for name in ("a", "b")),
        trial("b", "final", "b"),
    ]
    made = tables(variants(replace(RESULTS, trials=trials), FACTS))["Screening"]
    assert [(row[0], row[1], row[4]) for row in made.rows] == [
        ("a", "1", "yes"),
        ("b", "1", "yes"),
        ("c", "1", "no"),
        ("a", "2", "no"),
        ("b", "2", "yes"),
    ]
    assert "Screening" not in tables(variants(RESULTS, FACTS))


def test_costs_are_those_that_were_measured() -> None:
    section = variants(RESULTS, FACTS)
    assert ("scratch", "12.500", "24.500") in tables(section)[
        "Cost of the comparison, as measured"
    ].rows
    assert "1,234 MiB" in told(section)
    assert "MiB" not in told(variants(RESULTS, Facts({}, [], RESOLVED)))


def test_learning_curves_are_drawn_where_labels_were_counted() -> None:
    curve = {"seeds": 1, "score": 0.5, "lowest": 0.4, "highest": 0.6}
    two = [{"variant": HOSTILE, "labels": labels, **curve} for labels in (5, 10)]
    alone, both = (
        variants(replace(RESULTS, curves=rows), FACTS).figures for rows in (two[:1], two)
    )
    assert len(alone) == 1
    assert len(both) == 2
    assert f"{HOSTILE}, 10 subjects: 0.500" in both[1].alt


def test_rounded_means_and_many_variants_are_drawn() -> None:
    curves = [
        {"variant": f"v{n}", "labels": labels, "score": 0.3, "lowest": 0.3000001, "highest": 0.3}
        for n in range(9)
        for labels in (5, 160)
    ]
    assert charts_training.over_labels(curves) == charts_training.over_labels(curves)
    marks = [charts_training._mark(n) for n in range(28)]
    assert len({(m["color"], m["marker"], m["linestyle"]) for m in marks}) == 28


def test_what_a_source_gave_and_what_is_new_is_shown() -> None:
    source = {
        "import": {"kind": "torch zip"},
        "match": {
            "taken": [
                {"target": "body.0.weight", "source": "x", "changes": ["channels summed"]},
                {"target": "body.1.weight", "source": "y", "changes": []},
            ],
            "skipped": [f"fc.{n}" for n in range(7)],
            "mismatched": [{"target": "neck.weight"}],
            "missing": ["neck.weight", "head.weight"],
        },
    }
    trained = {
        "scratch": {"start": "random", "new_tensors": [], "unused_tensors": []},
        "frozen": {"start": "net", "new_tensors": ["head.weight"], "unused_tensors": ["fc.0"]},
    }
    made = tables(variants(replace(RESULTS, sources={"net": source}, trained=trained), FACTS))
    assert made["Where variants start"].rows == (
        ("scratch", "random", "all", "–"),
        ("frozen", "net", "head.weight", "fc.0"),
    )
    assert made["Pre-trained weights: what was taken"].rows == (
        ("net", "torch zip", "2", "1", "2", "neck.weight", "7 tensors"),
    )
    assert made["Pre-trained weights: tensors by part of the network"].rows == (
        ("net", "body", "2", "0"),
        ("net", "head", "0", "1"),
        ("net", "neck", "0", "1"),
    )


def test_privacy_is_shown_with_what_its_bound_assumes() -> None:
    privacy = {
        "epsilon": 8.0,
        "delta": 0.001,
        "clip_norm": 1.0,
        "noise_multiplier": 0.75,
        "steps": 120,
        "unit": "training series",
        "accountant": "RDP, Poisson sampling",
        "noise_from": "numerics.seed",
    }
    start = {"start": "random", "new_tensors": [], "unused_tensors": []}
    section = variants(replace(RESULTS, trained={"private": start | {"privacy": privacy}}), FACTS)
    (row,) = tables(section)["Private training"].rows
    assert row[:2] == ("private", "8.000")
    assert "The noise comes from numerics.seed" in told(section)
    plain = variants(replace(RESULTS, trained={"scratch": start}), FACTS)
    assert "Private training" not in tables(plain)
    assert "Where variants start" not in tables(plain)
