"""The parts of `package` alone: bill of materials, charts, documents, leaks, readings."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from helpers_package import EMPTY, HOSTILE, MEASURED, RESOLVED, parameters
from helpers_pretrained import source_of

from stages.package import charts, charts_training, measured, report, sbom
from stages.package.document import SVG, Document, Figure, Section, Tile, render, show, table
from stages.package.leaks import leaks
from stages.package.overlays import spread
from stages.pretrained_params import Weights

EPOCH = datetime(2026, 11, 1, tzinfo=UTC)
MODELS = {"models/model.safetensors": "a" * 64, "models/model.onnx": "b" * 64}
HISTORIES: dict[str, Any] = {
    HOSTILE: [{"epoch": e, "loss": 1 / e, "score": None if e % 2 else 0.1 * e} for e in range(1, 6)]
}
CURVES: list[dict[str, Any]] = [
    {"variant": HOSTILE, "labels": n, "score": 0.5, "lowest": 0.4, "highest": 0.5} for n in (5, 9)
]
HIDDEN: dict[str, Any] = {"masked": [{"epoch": e, "loss": 2 / e} for e in range(1, 6)]}


@pytest.fixture(scope="module")
def parts() -> sbom.Closure:
    return sbom.closure()


@pytest.fixture(scope="module")
def bill(parts: sbom.Closure) -> bytes:
    return sbom.bill("phantom", "1.2.3", EPOCH, MODELS, parts)


@pytest.mark.rule("PKG-5")
def test_the_bill_is_valid_cyclonedx(bill: bytes) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill.decode()) is None
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str('{"bomFormat": "x"}') is not None


@pytest.mark.rule("SBM-1")
def test_the_bill_is_the_same_each_time_and_its_serial_is_of_its_content(
    bill: bytes, parts: sbom.Closure
) -> None:
    assert sbom.bill("phantom", "1.2.3", EPOCH, dict(reversed(MODELS.items())), parts) == bill
    other = sbom.bill("phantom", "1.2.4", EPOCH, MODELS, parts)
    serials = {json.loads(document)["serialNumber"] for document in (bill, other)}
    assert len(serials) == 2
    assert json.loads(bill)["metadata"]["timestamp"] == "2026-11-01T00:00:00+00:00"


@pytest.mark.rule("SBM-2")
def test_the_bill_holds_what_the_lock_pins_and_the_program_needs(bill: bytes) -> None:
    from packaging.utils import canonicalize_name

    from stages.lock import read_lock

    pins = {
        canonicalize_name(name): version
        for name, version in read_lock(Path(__file__).parents[3] / "constraints.txt").items()
    }
    components = {
        c["bom-ref"]: c["version"].partition("+")[0]
        for c in json.loads(bill)["components"]
        if c["type"] == "library"
    }
    assert {"kette", "torch", "numpy", "pydicom", "openvino"} <= components.keys()
    assert {n: v for n, v in components.items() if n in pins and pins[n] != v} == {}
    assert len(components) > 150


@pytest.mark.rule("PKG-5")
def test_a_distribution_that_the_bill_lacks_is_named(bill: bytes) -> None:
    assert sbom.missing(bill)[0] == []
    document = json.loads(bill)
    document["components"] = [c for c in document["components"] if c["bom-ref"] != "torch"]
    version = distribution("torch").version
    assert sbom.missing(json.dumps(document).encode())[0] == [f"torch {version}"]
    assert len(sbom.missing(b"")[0]) > 150


@pytest.mark.rule("SBM-3")
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("License-Expression: MIT OR Apache-2.0", "MIT OR Apache-2.0"),
        ("License: BSD-3-Clause", "BSD-3-Clause"),
        ("License: a license of our own", "a license of our own"),
        ("Classifier: License :: OSI Approved :: MIT License", "MIT License"),
        ("Classifier: Programming Language :: Python", None),
    ],
)
def test_a_license_stands_as_declared(tmp_path: Path, fields: str, expected: str | None) -> None:
    folder = tmp_path / "one-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: one\nVersion: 1.0\n{fields}\n")
    found = sbom.licenses(Distribution.at(folder))
    names = [getattr(x, "value", None) or getattr(x, "id", None) or x.name for x in found]
    assert names == ([expected] if expected else [])


@pytest.mark.rule("CHA-1")
def test_charts_depend_on_their_rows_alone() -> None:
    rows = [
        {"structure": "organ", "reader_a": "a", "reader_b": "b", "dice": 0.1 * i} for i in range(9)
    ]
    metrics = [
        {
            "group": group,
            "structure": HOSTILE,
            "dice_mean": 0.8,
            "ci_low": 0.7,
            "ci_high": None if group == "all" else 0.9,
        }
        for group in ("all", f"vendor={HOSTILE}")
    ]
    scores = [{"structure": HOSTILE, "vendor": HOSTILE, "dice": value} for value in (0.7, None)]

    def drawn() -> list[bytes]:
        return [
            charts_training.over_epochs(HISTORIES, HIDDEN),
            charts_training.over_labels(CURVES),
            charts.agreement(rows),
            charts.results(metrics, scores),
            charts.latency({"pytorch": 0.25, HOSTILE: 0.125}),
        ]

    first = drawn()
    with mpl.rc_context({"font.family": "serif", "lines.linewidth": 9.0, "svg.hashsalt": None}):
        assert drawn() == first
    for picture in first:
        assert picture.startswith(b"<?xml")
        assert b"<script" not in picture
        assert b"dc:date" not in picture


@pytest.mark.rule("CHA-1")
def test_a_picture_says_nothing_of_the_program_that_drew_it() -> None:
    from matplotlib.figure import Figure as Canvas

    def drawn() -> bytes:
        with charts.style():
            canvas = Canvas(figsize=(2, 2))
            canvas.subplots().imshow(np.arange(16).reshape(4, 4))
            return charts.png(canvas)

    assert drawn() == drawn()
    assert b"tEXt" not in drawn()
    assert b"tIME" not in drawn()


@pytest.mark.rule("CHA-1")
def test_drawing_leaves_the_process_as_it_was() -> None:
    from matplotlib import font_manager

    before = dict(mpl.rcParams), list(font_manager.fontManager.ttflist)
    charts.latency({"pytorch": 0.25})
    assert (dict(mpl.rcParams), list(font_manager.fontManager.ttflist)) == before


@pytest.mark.parametrize("vendor", ["", "医用画像装置株式会社", "A vendor of many words " * 5])
def test_any_vendors_name_leaves_room_for_the_chart(vendor: str) -> None:
    row = {"structure": "organ", "dice_mean": 0.8, "ci_low": None, "ci_high": None}
    assert charts.results([row | {"group": f"vendor={vendor}"}], [])


def test_a_chart_of_nothing_is_drawn() -> None:
    assert charts_training.over_epochs({}, {})
    assert charts_training.over_labels([])
    assert charts.latency({})


@pytest.mark.rule("DOC-2")
def test_every_text_of_a_document_is_escaped() -> None:
    rows = [{"name": HOSTILE, "n": 1}]
    section = Section(
        "one",
        HOSTILE,
        (HOSTILE,),
        (table(HOSTILE, rows, {"name": HOSTILE, "n": "n"}), table(HOSTILE, [], {"n": "n"})),
        (Figure(SVG, b"<svg/>", HOSTILE, HOSTILE),),
    )
    page = render(
        Document(HOSTILE, HOSTILE, HOSTILE, (Tile(HOSTILE, HOSTILE, HOSTILE),), (section,), HOSTILE)
    )
    assert b"<script" not in page
    assert b'"x"' not in page
    assert page.count(b"&lt;script&gt;") == 19


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        ("", "–"),
        (True, "yes"),
        (False, "no"),
        (0.0, "0.000"),
        (0.87654, "0.877"),
        (1e-5, "1e-05"),
        (12345, "12,345"),
        (12345.6, "12,346"),
        ("text", "text"),
    ],
)
def test_a_value_is_shown(value: Any, shown: str) -> None:
    assert show(value) == shown


def test_numbers_stand_right_and_the_chosen_row_stands_out() -> None:
    rows = [
        {"name": "a", "dice": 0.5, "n": None, "selected": False},
        {"name": "b", "dice": None, "n": 3, "selected": True},
    ]
    made = table("T", rows, {name: name for name in rows[0]}, mark="selected")
    assert made.numeric == {1, 2}
    assert made.marked == 1


@pytest.mark.rule("LEA-1")
@pytest.mark.parametrize(
    ("data", "leaks_path"),
    [
        (b'{"root": "/home/ann/kette"}', True),
        (b"built in /tmp/abc123", True),
        (b"C:\\Users\\ann\\model", True),
        (b'"C:\\\\Users\\\\ann"', True),
        (b".venv/lib/python3.11/site-packages/torch", True),
        (b"at the folder of this run: here/now", True),
        (b"/encoder/down_1/Conv", False),
        (b"https://example.org/home/page", False),
        (b"</var></tmp>", False),
        (b"models/tmp/file", False),
        (b"the 50/50 split, and/or more", False),
    ],
)
def test_a_path_of_the_machine_is_found(data: bytes, leaks_path: bool) -> None:
    assert bool(leaks({"member": data}, ["here/now"])) is leaks_path


@pytest.mark.rule("LEA-1")
def test_an_embedded_picture_is_looked_at_decoded() -> None:
    from base64 import b64encode

    for inner, expected in ((b"<svg>/home/ann/x</svg>", ["page"]), (b"<svg/>", [])):
        page = b'<img src="data:image/svg+xml;base64,' + b64encode(inner) + b'">'
        assert leaks({"page": page}) == expected


def test_results_are_spread_from_worst_to_best() -> None:
    scores = [
        {"subject": f"s{i}", "series": f"r{i}", "dice": dice}
        for i, dice in enumerate([0.9, 0.1, 0.5, None, 0.7, 0.3])
    ]
    assert [s for s, _ in spread(scores, 3)] == ["s1", "s2", "s0"]
    assert [s for s, _ in spread(scores, 1)] == ["s1"]
    assert [s for s, _ in spread(scores, 9)] == ["s1", "s5", "s2", "s4", "s0"]


def test_what_was_measured_is_read() -> None:
    facts = measured.Facts(MEASURED, (), RESOLVED)
    assert measured.looks(facts) == 2
    assert measured.looks(measured.Facts()) is None
    assert measured.interval_name(facts) == "90 % CI"
    assert list(measured.latencies(facts)) == ["openvino-cpu", "onnxruntime-cpu", "pytorch"]
    shown = measured.timings(facts)
    assert {row["what"].partition(" ")[0] for row in shown} == {"latency_s", "patch", "threads"}
    assert {"part": "scratch", "seconds": 12.5, "cpu_seconds": 24.5} in measured.costs(facts)
    assert measured.costs(measured.Facts()) == []


@pytest.mark.rule("SBM-4")
def test_the_report_shows_pretrained_weights_as_soup() -> None:
    facts = measured.Facts(measured={}, checks=[], parameters={})
    results = replace(EMPTY, candidate={"weights_sha256": "a" * 64})
    plain = parameters()
    sources = {"net": source_of(b"weights", requirements=("One.", "Two."))}
    shown = {}
    for name, weights in (("plain", Weights()), ("with", Weights(sources=sources))):
        params = plain.model_copy(update={"weights": weights})
        section = report._provenance(params, results, facts, {}, {})
        shown[name] = {table.caption: table for table in section.tables}
    assert shown["with"].keys() - shown["plain"].keys() == {"Pre-trained weights (SOUP)"}
    (row,) = shown["with"]["Pre-trained weights (SOUP)"].rows
    assert row[:5] == ("net", "MobileNet v1 0.25", "The makers", "2020-04-01", "MIT")
    assert row[5:] == (sources["net"].sha256, "One.; Two.")
