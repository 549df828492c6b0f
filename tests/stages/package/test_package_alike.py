"""How many subjects of a cohort are alike: counts of the quasi-identifiers, and nothing else."""

from typing import Any

import pytest

from stages.package.report_cohort import cohort
from stages.package.results import Results

CAPTION = "Subjects who can be told apart by what the dataset says of them"


def row(subject: str, sex: str, age_band: str, model: str, kind: str = "image") -> dict[str, Any]:
    return {
        "subject": subject,
        "series": f"2.25.{subject}",
        "kind": kind,
        "sex": sex,
        "age_band": age_band,
        "manufacturer": "NORTH",
        "model": model,
    }


def told(series: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    results = Results(
        series=series,
        splits=[],
        quarantine=[],
        agreement=[],
        queue=[],
        candidate={},
        comparison=[],
        histories={},
        metrics=[],
        scores=[],
        equivalence=[],
    )
    return [
        line for table in cohort(results).tables if table.caption == CAPTION for line in table.rows
    ]


ROWS = [
    row("s-1", "F", "60-64", "A"),
    row("s-1", "F", "60-64", "A"),
    row("s-2", "F", "60-64", "A"),
    row("s-3", "F", "60-64", "B"),
    row("s-4", "M", "60-64", "A"),
    row("s-5", "M", "65-69", "A"),
    row("s-6", "O", "0-4", "C", kind="annotation"),
]


@pytest.mark.rule("QID-1")
def test_groups_of_subjects_are_counted_as_more_is_known_of_them() -> None:
    assert told(ROWS) == [
        ("sex", "2", "2", "0", "5"),
        ("sex, age band", "3", "1", "2", "5"),
        ("sex, age band, vendor", "3", "1", "2", "5"),
        ("sex, age band, vendor, device model", "4", "1", "3", "5"),
    ]


@pytest.mark.rule("QID-1")
def test_a_subject_on_two_devices_is_another_than_one_on_each() -> None:
    both = [*ROWS, row("s-2", "F", "60-64", "B")]
    assert told(both)[-1] == ("sex, age band, vendor, device model", "5", "1", "5", "5")


@pytest.mark.rule("QID-1")
def test_neither_a_subject_nor_a_value_stands_in_the_table() -> None:
    shown = " ".join(text for line in told(ROWS) for text in line)
    values = {"s-1", "s-5", "60-64", "65-69", "NORTH"}
    assert not any(value in shown for value in values)


@pytest.mark.rule("QID-1")
def test_tables_without_such_columns_tell_nothing() -> None:
    assert told([{"subject": "s-1", "series": "2.25.1", "kind": "image"}]) == []
    assert told([]) == []
