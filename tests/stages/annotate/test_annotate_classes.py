"""ANN-9 to ANN-11: classes of cases, said by tables of labels or by the class of a structure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers_annotate import redraw, subject
from helpers_dicom import EPOCH, LESION, TASK, box, write_series_table

from stages.annotate import gate
from stages.annotate.class_decision import decide_class, kappa, summarize
from stages.annotate.params import AnnotateParams, Parameters
from stages.annotate.stage import STAGE
from stages.annotate.validation import validate
from stages.ingest.accounts import CLASS_LABELS
from stages.params import ClassLabel, Code, Project, Task
from stages.stage import MergeContext, Outcome, RunContext, Unit, Verdict
from stages.table import read_table, write_table

NAMES = ("benign", "malignant")
CLASSES = tuple(
    ClassLabel(name=name, code=Code(value=name, scheme="99TEST", meaning=name)) for name in NAMES
)
ALONE = Task(modality="CT", classes=CLASSES)
BOTH = TASK.model_copy(update={"classes": CLASSES})
MASK = box((8, 16, 16), (2, 6), (4, 11), (4, 11))


def tree(folder: Path, *labels: tuple[str, str, str, str], kind: str = "image") -> Path:
    """A subject of one study with the series 2.25.1 (instances .1 and .2) and readers' labels."""
    row = {"subject": "s-1", "study": "2.25.9", "series": "2.25.1", "modality": "CT", "kind": kind}
    row |= {"reader": "", "annotates": "", "manufacturer": "North"}
    write_series_table(folder, [row])
    instances = [{"series": "2.25.1", "sop": f"2.25.1.{n}"} for n in (1, 2)]
    write_table(folder / "instances.parquet", instances, {"series": "string", "sop": "string"})
    given = [
        dict(zip(CLASS_LABELS, ("s-1", "2.25.9", series, sop, label, reader), strict=True))
        for series, sop, label, reader in labels
    ]
    write_table(folder / "class_labels.parquet", given, CLASS_LABELS)
    return folder


def run(tree: Path, out: Path, task: Task = ALONE, **params: Any) -> Outcome:
    out.mkdir(parents=True)
    unit = Unit(name="s-1", inputs={"ingest/s-1": "0" * 64})
    return STAGE.run(
        unit, RunContext(params=parameters(task, **params), trees={"ingest/s-1": tree}, out=out)
    )


def parameters(task: Task = ALONE, **params: Any) -> Parameters:
    return Parameters(
        project=Project(name="test", epoch=EPOCH), task=task, annotate=AnnotateParams(**params)
    )


def classes(out: Path) -> dict[tuple[str, str], tuple[str, str]]:
    """Series and instance → class and method."""
    return {
        (row["series"], row["sop"]): (row["class"], row["method"])
        for row in read_table(out / "classes.parquet")
    }


def queue(out: Path) -> set[tuple[str, str, str]]:
    return {(row["series"], row["sop"], row["rule"]) for row in read_table(out / "queue.parquet")}


@pytest.mark.rule("ANN-9")
@pytest.mark.parametrize(
    ("said", "params", "expected", "rules"),
    [
        ({"a": "malignant"}, {}, ("malignant", 1, "single"), []),
        ({"a": "benign", "b": "benign"}, {}, ("benign", 2, "majority"), []),
        ({"a": "benign", "b": "malignant"}, {}, ("", 2, ""), ["ANN-5"]),
        ({"a": "benign", "b": "malignant", "c": "benign"}, {}, ("benign", 3, "majority"), []),
        ({"a": "benign"}, {"min_readers": 2}, ("", 1, ""), ["ANN-4"]),
        ({"a": "benign"}, {"readers": ("a", "b")}, ("benign", 1, "single"), ["ANN-6"]),
        (
            {"a": "benign", "b": "malignant"},
            {"consensus": "expert", "expert": "b"},
            ("malignant", 1, "expert"),
            [],
        ),
        ({"a": "benign"}, {"consensus": "expert", "expert": "b"}, ("", 1, ""), ["ANN-4"]),
        ({"a": "benign+malignant", "b": "benign"}, {}, ("benign", 1, "single"), ["ANN-6"]),
        ({"a": "benign+malignant"}, {}, ("", 0, ""), ["ANN-6", "ANN-4"]),
    ],
)
def test_a_class_is_decided_by_the_declared_rule(
    said: dict[str, str], params: dict[str, Any], expected: tuple[str, int, str], rules: list[str]
) -> None:
    given = {reader: set(labels.split("+")) for reader, labels in said.items()}
    found = decide_class(given, NAMES, AnnotateParams(**params))
    assert (found.label, found.readers, found.method) == expected
    assert [rule for rule, _ in found.queue] == rules


@pytest.mark.rule("ANN-9")
def test_the_order_of_readers_decides_nothing() -> None:
    said = {"a": {"benign"}, "b": {"malignant"}, "c": {"malignant"}}
    turned = dict(reversed(said.items()))
    assert decide_class(said, NAMES, AnnotateParams()) == decide_class(
        turned, NAMES, AnnotateParams()
    )


@pytest.mark.rule("ANN-9")
def test_a_series_gets_the_class_that_was_given_to_it_or_to_its_study(tmp_path: Path) -> None:
    by_study = tree(tmp_path / "study", ("", "", "benign", "a"))
    run(by_study, tmp_path / "out")
    assert classes(tmp_path / "out") == {("2.25.1", ""): ("benign", "single")}
    both = tree(tmp_path / "both", ("", "", "benign", "a"), ("2.25.1", "", "malignant", "a"))
    run(both, tmp_path / "out-2")
    assert classes(tmp_path / "out-2") == {("2.25.1", ""): ("malignant", "single")}


@pytest.mark.rule("ANN-9")
def test_a_label_of_one_slice_is_not_the_series_class_but_queued(tmp_path: Path) -> None:
    given = tree(tmp_path / "in", ("2.25.1", "2.25.1.1", "benign", "a"))
    run(given, tmp_path / "out")
    assert classes(tmp_path / "out") == {}
    assert queue(tmp_path / "out") == {("2.25.1", "", "ANN-6")}


@pytest.mark.rule("ANN-9")
def test_each_picture_of_a_series_is_a_case(tmp_path: Path) -> None:
    given = tree(
        tmp_path / "in",
        ("2.25.1", "", "benign", "a"),
        ("2.25.1", "2.25.1.2", "malignant", "a"),
        kind="picture",
    )
    outcome = run(given, tmp_path / "out")
    assert classes(tmp_path / "out") == {
        ("2.25.1", "2.25.1.1"): ("benign", "single"),
        ("2.25.1", "2.25.1.2"): ("malignant", "single"),
    }
    assert outcome.findings["labeled"] == 2


@pytest.mark.rule("ANN-9")
def test_the_class_of_the_structure_is_the_class_of_the_case(tmp_path: Path) -> None:
    assert LESION.classes == NAMES
    one = subject(tmp_path)
    series = one.series()
    for number, (reader, label) in enumerate(
        (("a", "benign"), ("b", "benign"), ("c", "malignant"))
    ):
        drawing = {"Lesion": redraw(MASK, number, 0.5)}
        one.draw(series, reader, drawing, classes={"Lesion": label})
    write_series_table(one.tree, one.rows)
    write_table(one.tree / "class_labels.parquet", [], CLASS_LABELS)
    run(one.tree, tmp_path / "out", BOTH)
    assert classes(tmp_path / "out") == {(series.uid, ""): ("benign", "majority")}
    pairs = read_table(tmp_path / "out" / "class_agreement.parquet")
    assert [(row["label_a"], row["label_b"]) for row in pairs] == [
        ("benign", "benign"),
        ("benign", "malignant"),
        ("benign", "malignant"),
    ]


@pytest.mark.rule("ANN-9")
def test_a_reader_who_draws_one_class_and_writes_another_has_said_nothing(tmp_path: Path) -> None:
    one = subject(tmp_path)
    series = one.series()
    one.draw(series, "a", {"Lesion": MASK}, classes={"Lesion": "benign"})
    write_series_table(one.tree, one.rows)
    row = ("s-1", series.study_uid, series.uid, "", "malignant", "a")
    write_table(
        one.tree / "class_labels.parquet", [dict(zip(CLASS_LABELS, row, strict=True))], CLASS_LABELS
    )
    run(one.tree, tmp_path / "out", BOTH)
    assert classes(tmp_path / "out") == {(series.uid, ""): ("", "")}
    assert (series.uid, "", "ANN-6") in queue(tmp_path / "out")


@pytest.mark.rule("ANN-10")
@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ("yy " * 20 + "yn " * 5 + "ny " * 10 + "nn " * 15, 0.4),
        ("yy nn", 1.0),
        ("yn ny", -1.0),
        ("yy yy", None),
        ("", None),
    ],
)
def test_kappa_is_agreement_beyond_chance(pairs: str, expected: float | None) -> None:
    assert kappa([(pair[0], pair[1]) for pair in pairs.split()]) == expected


AGREED = {
    "subject": "s-1",
    "series": "2.25.1",
    "sop": "",
    "reader_a": "a",
    "reader_b": "b",
    "label_a": "benign",
    "label_b": "benign",
}


@pytest.mark.rule("ANN-10")
def test_agreement_is_told_by_pair_of_readers() -> None:
    rows = [AGREED, AGREED | {"label_a": "malignant"}, AGREED | {"reader_b": "c"}]
    assert summarize(rows) == [
        {"readers": ["a", "b"], "pairs": 2, "share": 0.5, "kappa": 0.0},
        {"readers": ["a", "c"], "pairs": 1, "share": 1.0, "kappa": None},
    ]


@pytest.mark.rule("ANN-11")
@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ([AGREED], Verdict.PASSED),
        ([AGREED, AGREED | {"label_b": "malignant"}], Verdict.REFUSED),
        ([], Verdict.FINDINGS),
    ],
)
def test_readers_who_do_not_agree_on_the_class_refuse_the_cohort(
    rows: list[dict[str, str]], verdict: Verdict
) -> None:
    tables: dict[str, list[Any]] = {"agreement": [], "labels": [], "classes": [], "queue": []}
    found = gate.judge(tables | {"class_agreement": rows}, 4, (), ALONE, AnnotateParams())
    (check,) = [check for check in found.checks if check.rule == "ANN-11"]
    assert check.verdict is verdict
    assert bool(check.remedy) == (verdict is not Verdict.PASSED)


@pytest.mark.rule("ANN-7")
def test_the_suite_holds_the_tables_of_classes() -> None:
    row = {"subject": "s", "series": "1", "sop": "", "class": "benign", "votes": 1, "readers": 1}
    row |= {"method": "single"}
    tables: dict[str, Any] = {"agreement": [], "labels": [], "queue": []}

    def failed(classes: dict[str, Any], agreement: dict[str, Any]) -> set[tuple[str, ...]]:
        given = tables | {"classes": [classes], "class_agreement": [agreement]}
        return {one.columns for one in validate(given, ALONE, AnnotateParams()) if not one.success}

    assert failed(row, AGREED) == set()
    assert failed(row | {"class": "cystic"}, AGREED) == {("class",)}
    assert failed(row | {"method": "guess"}, AGREED) == {("method",)}
    assert failed(row | {"votes": 2}, AGREED) == {("readers", "votes")}
    assert failed(row, AGREED | {"label_b": "cystic"}) == {("label_b",)}
    assert failed(row, AGREED | {"reader_b": "A"}) == {("reader_b", "reader_a")}


@pytest.mark.rule("ANN-6")
def test_the_merged_figures_count_labeled_cases_and_their_queue(tmp_path: Path) -> None:
    given = tree(
        tmp_path / "in",
        ("2.25.1", "2.25.1.1", "benign", "a"),
        ("2.25.1", "2.25.1.1", "malignant", "b"),
        ("2.25.1", "2.25.1.2", "malignant", "b"),
        kind="picture",
    )
    run(given, tmp_path / "out")
    (tmp_path / "merged").mkdir()
    outcome = STAGE.merge(
        MergeContext(
            params=parameters(),
            units={"s-1": tmp_path / "out"},
            trees={"ingest/s-1": given},
            notes={},
            out=tmp_path / "merged",
        )
    )
    assert (outcome.findings["annotated"], outcome.findings["queue"]) == (2, 1)
    assert outcome.findings["class_agreement"] == [
        {"readers": ["a", "b"], "pairs": 1, "share": 0.0, "kappa": 0.0}
    ]
    assert outcome.gate.verdict is Verdict.REFUSED  # ANN-11
