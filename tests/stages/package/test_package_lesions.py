"""The report's section on lesions as instances."""

from __future__ import annotations

import re
from pathlib import Path

from helpers_package import run_stage, write_trees

from stages.assess.lesions import CURVE, FROC
from stages.detection import RATES
from stages.package.report_lesions import curve
from stages.table import write_table

POINTS = [
    {"false_positives": rate, "sensitivity": 0.1 * place, "ci_low": 0.0, "ci_high": 0.9}
    for place, rate in enumerate(RATES, start=1)
]
MEAN = {"false_positives": None, "sensitivity": 0.4, "ci_low": None, "ci_high": None}
LINE = [{"false_positives": n / 4, "sensitivity": n / 20} for n in range(20)]


def test_a_release_with_counted_lesions_shows_curve_and_table(tmp_path: Path) -> None:
    trees = write_trees(tmp_path / "trees")
    write_table(trees["assess"] / "froc.parquet", [*POINTS, MEAN], FROC)
    write_table(trees["assess"] / "froc_curve.parquet", LINE, CURVE)
    folder, _, _ = run_stage(trees, tmp_path / "out")
    report = (folder / "report.html").read_text("utf-8")
    (text,) = re.findall(r'<section id="lesion-test".*?</section>', report, re.DOTALL)
    for words in ("False positives a scan", "0.125", "mean of these (CPM)", "0.400", "FROC"):
        assert words in text
    assert '<section id="class-test"' not in report


def test_a_curve_without_candidates_or_lesions_is_drawn_too() -> None:
    nothing = [row | {"sensitivity": None, "ci_low": None, "ci_high": None} for row in POINTS]
    assert curve([*nothing, MEAN | {"sensitivity": None}], []).startswith(b"<?xml")
    assert curve([*POINTS, MEAN], LINE) == curve([*POINTS, MEAN], LINE)
