"""CSV: read back whole, and no cell a formula."""

from __future__ import annotations

import csv
import io

import pytest
from helpers_audit import ORIGIN, new_signer
from helpers_export import everything

from audit.export.table import _safe, export
from audit.show import COLUMNS, row


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return everything(tmp_path_factory.mktemp("table") / "ledger", new_signer())


def test_every_record_is_a_row_with_the_columns_of_show(whole):
    origin, found = whole
    header, *lines = csv.reader(io.StringIO(export(found, origin).decode(), newline=""))
    assert header == ["ledger", *COLUMNS]
    for line, entry in zip(lines, found, strict=True):
        assert line[0] == ORIGIN
        shown = dict(zip(header, line, strict=True))
        for name, value in row(entry).items():
            assert shown[name].removeprefix("'") == ("" if value is None else str(value))


def test_no_cell_begins_a_formula(whole):
    origin, found = whole
    cells = [
        cell
        for line in csv.reader(io.StringIO(export(found, origin).decode(), newline=""))
        for cell in line
    ]
    assert "'=1+1" in cells
    assert not [cell for cell in cells if cell[:1] in set("=+-@\t\r")]


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\tx", "\rx", " =1", "＝1", "  -1"])
def test_what_a_spreadsheet_takes_for_a_formula_gets_an_apostrophe(text):
    assert _safe(text) == f"'{text}"


@pytest.mark.parametrize(("value", "cell"), [(None, ""), (0, "0"), ("a=b", "a=b"), ("", "")])
def test_anything_else_stays_as_it_is(value, cell):
    assert _safe(value) == cell
