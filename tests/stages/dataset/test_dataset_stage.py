"""The stage on small cohorts: layout, standing, duplicates, gate."""

from __future__ import annotations

import json

import pytest
from helpers_dataset import Person, make, parameters, people, upstreams

from audit.errors import Unreadable
from stages.artifact import Manifest
from stages.dataset.duplicates import keep_first, pixel_digests
from stages.stage import Verdict
from stages.table import read_table


def splits_of(result):
    return {row["subject"]: row["split"] for row in read_table(result.tree / "splits.parquet")}


def reasons_of(result):
    return {row["subject"]: row["reason"] for row in read_table(result.tree / "splits.parquet")}


def verdict_of(result, rule):
    (check,) = [check for check in result.merge.gate.checks if check.rule == rule]
    assert (check.verdict is Verdict.PASSED) == (check.remedy == "")
    return check.verdict


@pytest.mark.rule("DAT-8")
def test_the_tree_is_laid_out_as_data_and_holds_the_files_themselves(tmp_path):
    given = upstreams(tmp_path, [Person("s-a"), Person("s-b", annotated=False)])
    tree = make(tmp_path / "out", given, parameters()).tree
    assert [entry.path for entry in Manifest.of(tree).files] == [
        "agreement.parquet",
        "class_agreement.parquet",
        "class_labels.parquet",
        "classes.parquet",
        "ingest.parquet",
        "labels.parquet",
        "quarantine.parquet",
        "s-a/consensus/s-a-0.dcm",
        "s-a/s-a-0-a.zip",
        "s-a/s-a-0.zip",
        "s-b/s-b-0.zip",
        "series.parquet",
        "splits.parquet",
    ]
    assert (tree / "s-a/s-a-0.zip").samefile(given.trees["ingest/s-a"] / "s-a-0.zip")
    assert (tree / "ingest.parquet").samefile(given.trees["ingest"] / "instances.parquet")


@pytest.mark.rule("DAT-1")
def test_the_same_cohort_gives_the_same_bytes(tmp_path):
    cohort = people(12)
    trees = [
        make(tmp_path / f"{i}-out", upstreams(tmp_path / str(i), order), parameters())
        for i, order in enumerate((cohort, cohort))
    ]
    first, second = (
        (Manifest.of(made.tree).digest, Manifest.of(made.merged).digest) for made in trees
    )
    assert first == second


@pytest.mark.rule("DAT-1")
def test_all_studies_of_a_subject_go_with_it(tmp_path):
    given = upstreams(tmp_path, [*people(8), Person("s-two", studies=2)])
    result = make(tmp_path / "out", given, parameters())
    rows = read_table(result.tree / "splits.parquet")
    assert [row["subject"] for row in rows] == sorted({row["subject"] for row in rows})
    counts = json.loads((result.merged / "summary.json").read_text())
    own = counts[splits_of(result)["s-two"]]
    assert own["studies"] == own["series"] == own["subjects"] + 1


@pytest.mark.rule("DAT-5")
@pytest.mark.parametrize(
    ("person", "split", "reason"),
    [
        (Person("s-x", annotated=False), "unlabeled", ""),
        (Person("s-x", annotated=False, queued="no annotation"), "unlabeled", ""),
        (Person("s-x", annotated=False, slices=2), "excluded", "no series that is a volume"),
        (Person("s-x", consensus=False, queued="readers disagree"), "excluded", "readers disagree"),
        (Person("s-x", consensus=False), "excluded", "without consensus"),
    ],
)
def test_a_subject_without_consensus_is_unlabeled_or_excluded(tmp_path, person, split, reason):
    given = upstreams(tmp_path, [*people(8), person])
    result = make(tmp_path / "out", given, parameters())
    assert splits_of(result)["s-x"] == split
    assert reason in reasons_of(result)["s-x"]
    assert bool(reason) == ("s-x" in result.run.findings["excluded"])


@pytest.mark.rule("DAT-5")
def test_images_of_another_modality_take_no_part(tmp_path):
    given = upstreams(tmp_path, people(3))
    params = parameters()
    params = params.model_copy(update={"task": params.task.model_copy(update={"modality": "MR"})})
    result = make(tmp_path / "out", given, params)
    assert set(splits_of(result).values()) == {"excluded"}
    assert reasons_of(result)["s-0000"] == "has no MR series"


@pytest.mark.rule("DAT-4")
def test_a_person_registered_twice_is_kept_once_and_found(tmp_path):
    cohort = [*people(8), Person("s-x", image="one"), Person("s-y", image="one", vendor="Other")]
    result = make(tmp_path / "out", upstreams(tmp_path, cohort), parameters())
    splits = splits_of(result)
    assert sorted((splits["s-x"] == "excluded", splits["s-y"] == "excluded")) == [False, True]
    assert verdict_of(result, "DAT-4") is Verdict.FINDINGS
    assert len(result.run.findings["excluded"]) == 1


@pytest.mark.rule("DAT-4")
def test_of_two_with_one_image_the_labeled_one_is_kept(tmp_path):
    cohort = [*people(8), Person("s-a", image="one", annotated=False), Person("s-b", image="one")]
    splits = splits_of(make(tmp_path / "out", upstreams(tmp_path, cohort), parameters()))
    assert splits["s-a"] == "excluded"
    assert splits["s-b"] in ("train", "validation", "test")


@pytest.mark.rule("DAT-4")
def test_slices_of_one_value_say_nothing(tmp_path):
    given = upstreams(tmp_path, people(8))  # the last slice of each is air
    assert "excluded" not in splits_of(make(tmp_path / "out", given, parameters())).values()


@pytest.mark.rule("DAT-4")
def test_who_shares_with_an_excluded_subject_alone_is_kept():
    pixels = {"a": {b"1"}, "b": {b"1", b"2"}, "c": {b"2"}}
    assert keep_first(pixels, "abc") == {"b": "a"}


def test_a_damaged_archive_is_unreadable(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"not a zip")
    with pytest.raises(Unreadable):
        pixel_digests([tmp_path / "x.zip"])


@pytest.mark.rule("DAT-6")
def test_a_structure_missing_in_a_split_is_refused_and_named(tmp_path):
    params = parameters(structures=("lesion", "cyst"))
    result = make(tmp_path / "out", upstreams(tmp_path, people(12)), params)
    assert verdict_of(result, "DAT-6") is Verdict.REFUSED
    (check,) = [check for check in result.merge.gate.checks if check.rule == "DAT-6"]
    assert check.figure == "missing: cyst in train, cyst in validation, cyst in test"


@pytest.mark.rule("DAT-7")
def test_too_small_a_test_split_is_refused(tmp_path):
    result = make(tmp_path / "out", upstreams(tmp_path, people(8)), parameters(min_test_subjects=5))
    assert verdict_of(result, "DAT-7") is Verdict.REFUSED


@pytest.mark.rule("DAT-6")
def test_a_sound_cohort_passes(tmp_path):
    result = make(tmp_path / "out", upstreams(tmp_path, people(16)), parameters())
    assert result.merge.gate.verdict is Verdict.PASSED
    counts = json.loads((result.merged / "summary.json").read_text())
    assert sum(counts[split]["subjects"] for split in ("train", "validation", "test")) == 16
    assert counts["test"]["vendors"].keys() == {"Vendor A", "Vendor B"}
    assert counts == result.merge.findings


@pytest.mark.rule("DAT-7")
def test_an_empty_cohort_is_refused_not_a_fault(tmp_path):
    result = make(tmp_path / "out", upstreams(tmp_path, []), parameters())
    assert result.merge.gate.verdict is Verdict.REFUSED


def labeled(count, **changes):
    """Subjects with classes alone, taking turns; two vendors."""
    names = ("benign", "malignant")
    vendors = ("Vendor A", "Vendor B")
    return [
        Person(
            f"s-{i:04d}",
            vendor=vendors[i // 2 % 2],
            label=names[i % 2],
            **{"annotated": False, **changes},
        )
        for i in range(count)
    ]


CLASSES = {"structures": (), "classes": ("benign", "malignant")}


@pytest.mark.rule("DAT-5")
def test_a_subject_with_a_class_alone_is_labeled_and_one_without_is_excluded(tmp_path):
    cohort = [
        *labeled(12),
        Person("s-tie", annotated=False, label="", queued="readers tie on the class of the case"),
        Person("s-none", annotated=False),
    ]
    result = make(tmp_path / "out", upstreams(tmp_path, cohort), parameters(**CLASSES))
    splits = splits_of(result)
    assert (splits["s-tie"], splits["s-none"]) == ("excluded", "unlabeled")
    assert "readers tie" in reasons_of(result)["s-tie"]
    assert sum(split in ("train", "validation", "test") for split in splits.values()) == 12


@pytest.mark.rule("DAT-5")
def test_pictures_take_part_where_the_task_has_classes_alone(tmp_path):
    given = upstreams(tmp_path, labeled(12, kind="picture", modality="US"))
    taken = make(tmp_path / "a", given, parameters(**CLASSES, modality="US"))
    assert "excluded" not in splits_of(taken).values()
    drawn = make(tmp_path / "b", given, parameters(modality="US"))
    assert set(reasons_of(drawn).values()) == {"has no US series"}


@pytest.mark.rule("DAT-6")
def test_a_class_missing_in_a_split_is_refused_and_named(tmp_path):
    rare = Person("s-x", annotated=False, label="malignant")
    cohort = [Person(f"s-{i}", annotated=False, label="benign") for i in range(12)]
    result = make(tmp_path / "out", upstreams(tmp_path, [*cohort, rare]), parameters(**CLASSES))
    assert verdict_of(result, "DAT-6") is Verdict.REFUSED
    (check,) = [check for check in result.merge.gate.checks if check.rule == "DAT-6"]
    assert check.figure.count("malignant in ") == 2
    assert "benign" not in check.figure


@pytest.mark.rule("DAT-6")
def test_a_sound_cohort_of_classes_passes_and_is_counted(tmp_path):
    result = make(tmp_path / "out", upstreams(tmp_path, labeled(24)), parameters(**CLASSES))
    assert result.merge.gate.verdict is Verdict.PASSED
    counts = json.loads((result.merged / "summary.json").read_text())
    splits = ("train", "validation", "test")
    assert sum(counts[split]["classes"]["benign"] for split in splits) == 12
