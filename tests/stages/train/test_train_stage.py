"""The stage end to end, on a cohort of a few tiny volumes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers_cohort import make_cohort
from helpers_dicom import uid
from helpers_train import parameters
from safetensors.torch import load_file

from audit.errors import Refused, WrongUse
from stages.artifact import Manifest
from stages.params import ClassLabel, Code, Task
from stages.stage import MergeContext, Outcome, PlanContext, RunContext, Unit, Upstream, Verdict
from stages.table import read_table
from stages.train.data import Data
from stages.train.params import Parameters
from stages.train.source import Source
from stages.train.stage import STAGE

ROOT = Path(__file__).parents[3]
UNIT = Unit("variants", {"dataset/cohort": "0" * 64})
SPLITS = {"train": 3, "validation": 2, "unlabeled": 2, "test": 1, "excluded": 1}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cohort(tmp_path_factory.mktemp("train") / "cohort", SPLITS)


@pytest.fixture(scope="module")
def trained(cohort: Path) -> tuple[Path, Outcome]:
    out = cohort.parent / "run"
    return out, _run(cohort, out, parameters())


def _run(cohort: Path, out: Path, params: Parameters) -> Outcome:
    out.mkdir()
    return STAGE.run(UNIT, RunContext(params, {"dataset/cohort": cohort}, out))


def _merge(tree: Path, out: Path, params: Parameters) -> Outcome:
    out.mkdir()
    return STAGE.merge(MergeContext(params, {"variants": tree}, {}, {}, out))


def test_the_plan_is_one_unit_on_the_cohort_and_the_class_is_keyed(tmp_path: Path) -> None:
    dataset = Upstream(units={"cohort": ("a" * 64, tmp_path)}, merged=("b" * 64, tmp_path))
    planned = STAGE.plan(PlanContext(parameters(), {"dataset": dataset}))
    assert [(unit.name, dict(unit.inputs)) for unit in planned.units] == [
        ("variants", {"dataset/cohort": "a" * 64})
    ]
    assert STAGE.classes(parameters()) == ("monai.networks.nets.SegResNet",)
    assert STAGE.numeric


def test_importing_the_stage_imports_no_framework() -> None:
    code = "import sys, stages.train.stage; print({'torch', 'monai', 'scipy'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_every_variant_leaves_weights_history_and_result(trained: tuple[Path, Outcome]) -> None:
    out, outcome = trained
    for variant in ("scratch", "frozen", "finetuned"):
        result = json.loads((out / variant / "result.json").read_bytes())
        rows = read_table(out / variant / "history.parquet")
        assert [row["epoch"] for row in rows] == [1, 2]
        assert all(row["loss"] > 0 and 0 <= row["score"] <= 1 for row in rows)
        weights = hashlib.sha256((out / variant / "model.safetensors").read_bytes()).hexdigest()
        chosen = rows[result["selected_epoch"] - 1]
        assert weights == chosen["weights_sha256"] == result["weights_sha256"]
        assert chosen["score"] == max(row["score"] for row in rows)
        assert outcome.findings["variants"][variant] == result
    assert set(outcome.measured["seconds"]) == {
        "reading", "pretraining (masked)", "scratch", "frozen", "finetuned",
    }  # fmt: skip


@pytest.mark.rule("TRN-1")
@pytest.mark.rule("TRN-3")
def test_digests_say_what_was_trained_on(trained: tuple[Path, Outcome], cohort: Path) -> None:
    out, _ = trained
    prepared = read_table(out / "preprocessing.parquet")
    assert len(prepared) == 7  # every series but the test's and the excluded
    assert len({row["image_sha256"] for row in prepared}) == 7
    for row in prepared:
        assert (row["labels_sha256"] is None) == (row["split"] == "unlabeled")
    histories = {
        name: [row["batches_sha256"] for row in read_table(out / name / "history.parquet")]
        for name in ("scratch", "frozen", "finetuned", "pretraining/masked")
    }
    assert histories["scratch"] == histories["frozen"] == histories["finetuned"]
    assert len({*histories["scratch"], *histories["pretraining/masked"]}) == sum(
        map(len, (histories["scratch"], histories["pretraining/masked"]))
    )


@pytest.mark.rule("TRN-2")
def test_only_the_splits_that_training_may_see_are_read(cohort: Path, tmp_path: Path) -> None:
    copy = tmp_path / "cohort"
    shutil.copytree(cohort, copy)
    for subject in ("test-0", "excluded-0"):
        shutil.rmtree(copy / subject)
    outcome = _run(copy, tmp_path / "run", parameters(variants=("scratch",), epochs=1))
    assert outcome.findings["series"] == {"training": 3, "validation": 2, "pretraining": 0}
    assert outcome.findings["skipped"] == []
    assert not (tmp_path / "run" / "pretraining").exists()


@pytest.mark.rule("TRN-2")
@pytest.mark.rule("TRN-3")
@pytest.mark.rule("TRN-4")
def test_pretraining_changes_where_the_variants_start(trained: tuple[Path, Outcome]) -> None:
    out, outcome = trained
    assert outcome.findings["series"]["pretraining"] == 5  # unlabeled and training
    results = outcome.findings["variants"]
    assert (
        results["frozen"]["initial_weights_sha256"]
        == results["finetuned"]["initial_weights_sha256"]
    )
    assert (
        results["scratch"]["initial_weights_sha256"] != results["frozen"]["initial_weights_sha256"]
    )
    backbone = load_file(out / "pretraining" / "masked" / "model.safetensors")
    frozen = load_file(out / "frozen" / "model.safetensors")
    finetuned = load_file(out / "finetuned" / "model.safetensors")
    head = set(results["frozen"]["new_tensors"])
    assert head == {"conv_final.2.conv.bias", "conv_final.2.conv.weight"}
    kept = {name for name in frozen if name not in head and frozen[name].equal(backbone[name])}
    assert "convInit.conv.weight" in kept
    assert all(name.startswith(("up_layers", "conv_final")) for name in frozen.keys() - kept)
    assert not finetuned["convInit.conv.weight"].equal(backbone["convInit.conv.weight"])
    assert results["frozen"]["trained_parameters"] < results["finetuned"]["trained_parameters"]


_AGAIN = """
import sys
sys.path[:0] = sys.argv[1:4]
from pathlib import Path
from helpers_train import parameters
from stages.artifact import Manifest
from stages.stage import RunContext, Unit
from stages.train.stage import STAGE
cohort, out = map(Path, sys.argv[4:6])
out.mkdir()
STAGE.run(Unit("variants", {"dataset/cohort": "0" * 64}),
          RunContext(parameters(), {"dataset/cohort": cohort}, out))
print(Manifest.of(out).digest)
"""


@pytest.mark.rule("TRN-1")
def test_another_process_and_folder_give_the_same_bytes(cohort: Path, tmp_path: Path) -> None:
    here = Path(__file__).parent
    places = [str(ROOT), str(here.parent), str(here)]
    fixed = {"OMP_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    digests = []
    for name in ("one", "another"):
        copy = tmp_path / name / "data"
        shutil.copytree(cohort, copy)
        done = subprocess.run(
            [sys.executable, "-c", _AGAIN, *places, str(copy), str(tmp_path / name / "out")],
            env=os.environ | fixed | {"PYTHONHASHSEED": str(len(name))},
            capture_output=True,
            text=True,
            check=True,
        )
        digests.append(done.stdout.strip())
    assert digests[0] == digests[1]
    assert len(digests[0]) == 64


@pytest.mark.rule("TRN-1")
def test_the_same_process_gives_the_same_bytes_again(
    cohort: Path, trained: tuple[Path, Outcome], tmp_path: Path
) -> None:
    _run(cohort, tmp_path / "again", parameters())
    assert Manifest.of(tmp_path / "again") == Manifest.of(trained[0])


@pytest.mark.rule("TRN-5")
def test_the_merge_writes_the_candidate_that_the_rule_chooses(
    trained: tuple[Path, Outcome], tmp_path: Path
) -> None:
    params = parameters(margin=0.99)
    outcome = _merge(trained[0], tmp_path / "merged", params)
    merged = tmp_path / "merged"
    candidate = json.loads((merged / "candidate.json").read_bytes())
    assert candidate["variant"] == "scratch" == outcome.findings["chosen"]
    weights = (merged / "model.safetensors").read_bytes()
    assert weights == (trained[0] / "scratch" / "model.safetensors").read_bytes()
    assert candidate["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    assert candidate["network"]["_target_"] == params.network.target
    assert candidate["channels_out"] == 3
    rows = read_table(merged / "comparison.parquet")
    assert [row["variant"] for row in rows] == list(params.train.ways)
    assert [row["selected"] for row in rows] == [True, False, False]
    assert {"dice_organ", "dice_lesion"} <= rows[0].keys()
    assert outcome.gate.verdict is Verdict.FINDINGS  # no gain can exceed this margin


@pytest.mark.rule("TRN-6")
def test_a_choice_below_the_limit_is_refused(trained: tuple[Path, Outcome], tmp_path: Path) -> None:
    outcome = _merge(trained[0], tmp_path / "merged", parameters(min_score=1.0))
    assert outcome.gate.verdict is Verdict.REFUSED


@pytest.mark.rule("TRN-8")
@pytest.mark.parametrize(
    ("splits", "lesion", "message"),
    [
        ({"train": 2, "validation": 1}, False, "shows: lesion"),
        ({"unlabeled": 2, "validation": 1}, True, "No training subject"),
        ({"train": 2, "unlabeled": 1}, True, "No validation subject"),
    ],
)
def test_too_little_to_train_on_is_refused_by_name(
    tmp_path: Path, splits: dict[str, int], lesion: bool, message: str
) -> None:
    cohort = make_cohort(tmp_path / "cohort", splits, lesion=lesion)
    with pytest.raises(Refused, match=message) as caught:
        _run(cohort, tmp_path / "run", parameters())
    assert caught.value.remedy
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.rule("TRN-8")
def test_an_unreadable_series_is_left_out_and_told(cohort: Path, tmp_path: Path) -> None:
    copy = tmp_path / "cohort"
    shutil.copytree(cohort, copy)
    series = uid("unlabeled-1")
    (copy / "unlabeled-1" / f"{series}.zip").write_bytes(b"torn")
    outcome = _run(copy, tmp_path / "run", parameters(epochs=1))
    assert [(row["subject"], row["series"]) for row in outcome.findings["skipped"]] == [
        ("unlabeled-1", series)
    ]
    assert outcome.findings["series"]["pretraining"] == 4


@pytest.mark.rule("TRN-3")
@pytest.mark.rule("TRN-11")
def test_screening_keeps_the_better_and_finalists_have_seeds_and_fewer_labels(
    cohort: Path, tmp_path: Path
) -> None:
    params = parameters(
        variants=("scratch", "frozen", "finetuned"),
        epochs=1,
        comparison={
            "seeds": 2,
            "label_counts": [1, 2],
            "screening_epochs": [1],
            "screening_keep": 0.5,
            "resamples": 100,
        },
    )
    outcome = _run(cohort, tmp_path / "run", params)
    rows = read_table(tmp_path / "run" / "trials.parquet")
    screened = {row["variant"]: row["score"] for row in rows if row["part"] == "screening"}
    finalists = outcome.findings["finalists"]
    assert set(screened) == {"scratch", "frozen", "finetuned"}
    assert len(finalists) == 2
    (dropped,) = screened.keys() - set(finalists)
    assert all(screened[dropped] <= screened[name] for name in finalists)
    finals = [row for row in rows if row["part"] == "final"]
    assert [(row["variant"], row["seed"]) for row in finals] == [
        (name, seed) for name in finalists for seed in (7, 8)
    ]
    curves = [row for row in rows if row["part"] == "labels"]
    assert {(row["labels"], row["seed"]) for row in curves} == {(1, 7), (1, 8), (2, 7), (2, 8)}
    histories = {
        row["trial"]: read_table(tmp_path / "run" / row["trial"] / "history.parquet")
        for row in [*finals, *curves]
    }
    assert all(len(history) == 1 for history in histories.values())
    merged = tmp_path / "merged"
    _merge(tmp_path / "run", merged, params)
    assert json.loads((merged / "candidate.json").read_bytes())["variant"] in finalists
    comparison = read_table(merged / "comparison.parquet")
    assert [row["variant"] for row in comparison] == finalists
    for row in comparison:
        assert row["score_low"] <= row["score"] <= row["score_high"]
        assert 0 < row["p"] <= 1
    points = {(row["variant"], row["labels"]) for row in read_table(merged / "curves.parquet")}
    assert points == {(name, labels) for name in finalists for labels in (1, 2, 3)}


def test_labels_of_fewer_subjects_are_among_those_of_more_and_classes_take_turns() -> None:
    task = Task(
        modality="CT",
        classes=tuple(
            ClassLabel(name=name, code=Code(value=name, scheme="99TEST", meaning=name))
            for name in ("benign", "malignant")
        ),
    )
    image = torch.zeros((1, 1, 8, 16, 16))
    sources = [
        Source(image, 0.0, None, (1.0, 1.0, 1.0), (), (), int(n % 5 == 0), f"s-{n:02}")
        for n in range(20)
    ]
    data = Data(sources, sources, [])
    drawn = {
        count: {source.subject: source.label for source in data.with_labels(count, 3, task).labeled}
        for count in (2, 4, 8, 20)
    }
    assert drawn[2].items() < drawn[4].items() < drawn[8].items() < drawn[20].items()
    assert [sum(drawn[count].values()) for count in (2, 4, 8)] == [1, 2, 4]
    assert drawn[4] != {
        source.subject: source.label for source in data.with_labels(4, 4, task).labeled
    }
    with pytest.raises(WrongUse, match="20 are labeled"):
        data.with_labels(21, 3, task)
