from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.table import read_table, write_table

COLUMNS = {"name": "string", "count": "int64", "share": "double", "kept": "bool"}
ROW = {"name": "ä", "count": 3, "share": 0.1, "kept": True}


def write(folder: Path, rows: list[dict[str, Any]]) -> bytes:
    write_table(folder / "deep" / "t.parquet", rows, COLUMNS)
    return (folder / "deep" / "t.parquet").read_bytes()


@pytest.mark.rule("TAB-1")
def test_same_rows_give_same_bytes(tmp_path: Path) -> None:
    assert write(tmp_path / "a", [ROW, ROW]) == write(tmp_path / "b", [ROW, ROW])


@pytest.mark.rule("TAB-1")
@pytest.mark.parametrize(("one", "other"), [(0.1 + 0.2, 0.3), (0.0, -0.0), (2, 2.0)])
def test_a_last_bit_does_not_reach_the_bytes(tmp_path: Path, one: float, other: float) -> None:
    first = write(tmp_path / "a", [ROW | {"share": one}])
    assert first == write(tmp_path / "b", [ROW | {"share": other}])


@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                "name": st.none() | st.text(st.characters(exclude_categories=["Cs"])),
                "count": st.none() | st.integers(-(2**63), 2**63 - 1),
                "share": st.none() | st.integers(-(10**6), 10**6).map(lambda n: n / 1000),
                "kept": st.none() | st.booleans(),
            }
        ),
        max_size=4,
    )
)
def test_rows_read_back_as_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    path = tmp_path_factory.mktemp("t") / "t.parquet"
    write_table(path, rows, COLUMNS)
    assert read_table(path) == rows


def test_an_empty_table_keeps_its_columns(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    write_table(tmp_path / "t.parquet", [], COLUMNS)
    assert pq.read_schema(tmp_path / "t.parquet").names == list(COLUMNS)


@pytest.mark.rule("TAB-2")
@pytest.mark.parametrize(
    "change",
    [
        {"share": float("nan")},
        {"share": float("inf")},
        {"share": True},
        {"count": 1.0},
        {"count": True},
        {"name": 3},
        {"kept": 1},
        {"other": 1},
    ],
)
def test_what_does_not_fit_its_column_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="column"):
        write(tmp_path, [ROW | change])


@pytest.mark.rule("TAB-2")
def test_a_row_that_lacks_a_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="kept"):
        write(tmp_path, [{name: value for name, value in ROW.items() if name != "kept"}])
