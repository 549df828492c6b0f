"""The cohort's tables held against a Great Expectations suite.

Great Expectations' own results differ between runs (times, identifiers) and quote the values that
fail. What is kept is what was expected, whether it held, and counts: deterministic, without values.
Rows are read in memory; the context is ephemeral and writes nothing.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from stages.annotate.params import AnnotateParams
from stages.annotate.tables import COLUMNS
from stages.params import Task

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation

Json = dict[str, Any]
Tables = Mapping[str, Sequence[Mapping[str, Any]]]

METHODS = ("staple", "majority", "midway", "expert", "single")
CLASS_METHODS = ("majority", "expert", "single")


class Expected(BaseModel):
    """One expectation and how it ended."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str
    expectation: str
    columns: tuple[str, ...]
    success: bool
    evaluated: int
    unexpected: int


def validate(tables: Tables, task: Task, params: AnnotateParams) -> tuple[Expected, ...]:
    """Hold agreement, labels and queue against the suite, in the suite's order (ANN-7)."""
    import pandas as pd

    found = []
    with _quiet():
        import great_expectations as gx
        from great_expectations.data_context.types.base import ProgressBarsConfig

        context = gx.get_context(mode="ephemeral")
        context.enable_analytics(enable=False)
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        source = context.data_sources.add_pandas("annotate")
        for table, expectations in _suite(task, params).items():
            frame = pd.DataFrame(list(tables[table]), columns=list(COLUMNS[table]))
            numbers = [name for name, kind in COLUMNS[table].items() if kind == "double"]
            frame = frame.astype(dict.fromkeys(numbers, "float64"))
            asset = source.add_dataframe_asset(table)
            batch = asset.add_batch_definition_whole_dataframe(table)
            suite = gx.ExpectationSuite(table, expectations=expectations)
            results = batch.get_batch({"dataframe": frame}).validate(suite, result_format="BASIC")
            found += [_aggregate(table, result.to_json_dict()) for result in results.results]
    order = {name: place for place, name in enumerate(COLUMNS)}
    return tuple(sorted(found, key=lambda e: (order[e.table], e.expectation, e.columns)))


def _suite(task: Task, params: AnnotateParams) -> dict[str, list[Expectation]]:
    from great_expectations import expectations

    gxe: Any = expectations  # it re-exports its classes without declaring so to type checkers

    structures = [structure.name for structure in task.structures]
    classes = sorted({label for structure in task.structures for label in structure.classes})
    key = ["subject", "series", "structure"]
    suite: dict[str, list[Expectation]] = {
        "agreement": [
            gxe.ExpectCompoundColumnsToBeUnique(column_list=[*key, "reader_a", "reader_b"]),
            gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A="reader_b", column_B="reader_a"),
            gxe.ExpectColumnValuesToBeInSet(column="structure", value_set=structures),
            gxe.ExpectColumnValuesToBeBetween(column="dice", min_value=0, max_value=1),
            gxe.ExpectColumnValuesToBeBetween(column="hd95_mm", min_value=0),
            gxe.ExpectColumnValuesToBeBetween(column="nsd", min_value=0, max_value=1),
        ],
        "labels": [
            gxe.ExpectCompoundColumnsToBeUnique(column_list=key),
            gxe.ExpectColumnValuesToBeInSet(column="structure", value_set=structures),
            gxe.ExpectColumnValuesToBeInSet(column="class", value_set=["", *classes]),
            gxe.ExpectColumnValuesToBeInSet(column="method", value_set=list(METHODS)),
            gxe.ExpectColumnValuesToBeBetween(column="readers", min_value=_readers(params)),
            gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A="readers", column_B="votes", or_equal=True
            ),
            gxe.ExpectColumnValuesToBeBetween(column="voxels", min_value=1),
        ],
        "queue": [],
    }
    if task.classes:
        suite |= _of_classes(gxe, sorted(label.name for label in task.classes))
    optional = {"hd95_mm", "nsd"}
    for table, expected in suite.items():
        expected += [
            gxe.ExpectColumnValuesToNotBeNull(column=column)
            for column in COLUMNS[table]
            if column not in optional
        ]
    return suite


def _of_classes(gxe: Any, names: Sequence[str]) -> dict[str, list[Expectation]]:
    key = ["subject", "series", "sop"]
    return {
        "classes": [
            gxe.ExpectCompoundColumnsToBeUnique(column_list=key),
            gxe.ExpectColumnValuesToBeInSet(column="class", value_set=["", *names]),
            gxe.ExpectColumnValuesToBeInSet(column="method", value_set=["", *CLASS_METHODS]),
            gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A="readers", column_B="votes", or_equal=True
            ),
        ],
        "class_agreement": [
            gxe.ExpectCompoundColumnsToBeUnique(column_list=[*key, "reader_a", "reader_b"]),
            gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A="reader_b", column_B="reader_a"),
            gxe.ExpectColumnValuesToBeInSet(column="label_a", value_set=list(names)),
            gxe.ExpectColumnValuesToBeInSet(column="label_b", value_set=list(names)),
        ],
    }


def _readers(params: AnnotateParams) -> int:
    """Fewest readers behind a label: an expert's stands alone, however many others measure it."""
    return 1 if params.consensus == "expert" else params.min_readers


def _aggregate(table: str, result: Json) -> Expected:
    kwargs, counts = result["expectation_config"]["kwargs"], result["result"]
    named = [kwargs[name] for name in ("column", "column_A", "column_B") if name in kwargs]
    return Expected(
        table=table,
        expectation=result["expectation_config"]["type"],
        columns=tuple(kwargs.get("column_list", named)),
        success=bool(result["success"]),
        evaluated=counts.get("element_count", 0),
        unexpected=counts.get("unexpected_count", 0),
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Great Expectations' log and warnings, which may quote values, out of ours."""
    log = logging.getLogger("great_expectations")
    before, handler = log.propagate, logging.NullHandler()
    log.propagate = False
    log.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.removeHandler(handler)
        log.propagate = before
