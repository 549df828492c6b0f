"""The stage end to end: an untrained candidate on a cohort of a few tiny volumes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from helpers_assess import make_candidate, parameters
from helpers_cohort import make_cohort
from helpers_dicom import TASK, uid

from audit.canonical import digest_json
from audit.errors import Fault, Refused, Unreadable
from stages.artifact import Manifest
from stages.assess.params import Parameters
from stages.assess.predict import score
from stages.assess.stage import STAGE
from stages.params import Volume
from stages.segmentation import read_labels
from stages.series import read_series
from stages.stage import MergeContext, Outcome, PlanContext, RunContext, Unit, Upstream, Verdict
from stages.table import read_table

ROOT = Path(__file__).parents[3]
SPLIT = digest_json(["test-0", "test-1", "test-2"])


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("assess")
    cohort = make_cohort(folder / "cohort", {"train": 1, "test": 3, "unlabeled": 1})
    return {"dataset/cohort": cohort, "train": make_candidate(folder / "train")}


@pytest.fixture(scope="module")
def assessed(trees: dict[str, Path]) -> tuple[Path, Outcome]:
    out = trees["train"].parent / "run"
    return out, _run(trees, out)


def _run(trees: dict[str, Path], out: Path, params: Parameters | None = None) -> Outcome:
    out.mkdir()
    unit = Unit("test", dict.fromkeys(trees, "0" * 64))
    return STAGE.run(unit, RunContext(params or parameters(), trees, out))


def test_the_plan_is_one_unit_on_the_cohort_and_the_candidate(tmp_path: Path) -> None:
    dataset = Upstream(units={"cohort": ("a" * 64, tmp_path)}, merged=("b" * 64, tmp_path))
    train = Upstream(units={"variants": ("c" * 64, tmp_path)}, merged=("d" * 64, tmp_path))
    planned = STAGE.plan(PlanContext(parameters(), {"dataset": dataset, "train": train}))
    assert [(unit.name, dict(unit.inputs)) for unit in planned.units] == [
        ("test", {"dataset/cohort": "a" * 64, "train": "d" * 64})
    ]


def test_importing_the_stage_imports_no_framework() -> None:
    code = "import sys, stages.assess.stage; print({'torch', 'monai', 'scipy'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.rule("ASS-2")
def test_every_labeled_test_series_and_no_other_is_predicted(
    trees: dict[str, Path], assessed: tuple[Path, Outcome]
) -> None:
    out, outcome = assessed
    names = [path.relative_to(out / "predictions").as_posix() for path in out.rglob("*.dcm")]
    assert sorted(names) == [f"test-{n}/{uid(f'test-{n}')}.dcm" for n in range(3)]
    rows = read_table(out / "scores.parquet")
    assert [(row["subject"], row["structure"]) for row in rows] == [
        (f"test-{n}", name) for n in range(3) for name in ("organ", "lesion")
    ]
    assert outcome.findings == {"series": 3, "skipped": [], "test_split": SPLIT}


@pytest.mark.rule("ASS-2")
def test_a_prediction_is_a_segmentation_by_an_algorithm_on_the_series_grid(
    trees: dict[str, Path], assessed: tuple[Path, Outcome]
) -> None:
    series = read_series(trees["dataset/cohort"] / "test-0" / f"{uid('test-0')}.zip")
    path = assessed[0] / "predictions" / "test-0" / f"{series.uid}.dcm"
    labels = read_labels(path, series, TASK)
    assert labels.map.shape == series.geometry.shape
    seg = pydicom.dcmread(path)
    assert seg.SegmentSequence[0].SegmentAlgorithmType == "AUTOMATIC"
    assert seg.FrameOfReferenceUID == series.frame_of_reference_uid
    reference = read_labels(
        trees["dataset/cohort"] / "test-0" / "consensus" / f"{series.uid}.dcm", series, TASK
    )
    row = read_table(assessed[0] / "scores.parquet")[0]
    expected = score(reference.map == 2, labels.map == 2, (2.0, 1.0, 1.0), 2.0)
    for name, value in expected.items():
        assert row[name] == (None if value is None else pytest.approx(value, abs=1e-6))


def test_the_same_run_gives_the_same_bytes(
    trees: dict[str, Path], assessed: tuple[Path, Outcome], tmp_path: Path
) -> None:
    _run(trees, tmp_path / "again")
    assert Manifest.of(tmp_path / "again") == Manifest.of(assessed[0])


@pytest.mark.rule("ASS-2")
def test_the_merge_summarizes_and_names_the_split(
    trees: dict[str, Path], assessed: tuple[Path, Outcome], tmp_path: Path
) -> None:
    outcome = STAGE.merge(
        MergeContext(parameters(min_subjects=10), {"test": assessed[0]}, trees, {}, tmp_path)
    )
    rows = read_table(tmp_path / "metrics.parquet")
    assert {row["group"] for row in rows} == {"all", "vendor=north", "vendor=south"}
    assert outcome.findings["test_split"] == SPLIT
    assert outcome.findings["metrics"] == rows
    assert outcome.gate.verdict is Verdict.FINDINGS


@pytest.mark.rule("ASS-1")
def test_a_candidate_of_other_parameters_or_weights_is_a_fault(
    trees: dict[str, Path], tmp_path: Path
) -> None:
    other = parameters().model_copy(update={"volume": Volume(patch=(8, 8, 8))})
    with pytest.raises(Fault, match="other task, volume or network"):
        _run(trees, tmp_path / "a", other)
    copy = tmp_path / "train"
    shutil.copytree(trees["train"], copy)
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(Unreadable, match="not readable"):
        _run(trees | {"train": copy}, tmp_path / "b")


@pytest.mark.rule("ASS-1")
def test_weights_that_are_not_the_described_ones_are_a_fault(
    trees: dict[str, Path], tmp_path: Path
) -> None:
    copy = make_candidate(tmp_path / "train", seed=1)
    shutil.copyfile(trees["train"] / "candidate.json", copy / "candidate.json")
    with pytest.raises(Fault, match="weights"):
        _run(trees | {"train": copy}, tmp_path / "run")


@pytest.mark.rule("ASS-7")
def test_an_unreadable_test_series_is_told_and_becomes_a_finding(
    trees: dict[str, Path], tmp_path: Path
) -> None:
    copy = tmp_path / "cohort"
    shutil.copytree(trees["dataset/cohort"], copy)
    (copy / "test-1" / f"{uid('test-1')}.zip").write_bytes(b"torn")
    changed = trees | {"dataset/cohort": copy}
    outcome = _run(changed, tmp_path / "run")
    assert [row["subject"] for row in outcome.findings["skipped"]] == ["test-1"]
    (tmp_path / "merged").mkdir()
    context = MergeContext(
        parameters(), {"test": tmp_path / "run"}, changed, {}, tmp_path / "merged"
    )
    checks = STAGE.merge(context).gate.checks
    assert [check.verdict for check in checks if check.rule == "ASS-7"] == [Verdict.FINDINGS]


def test_a_cohort_without_test_series_is_refused(trees: dict[str, Path], tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path / "cohort", {"train": 1})
    with pytest.raises(Refused, match="No test subject"):
        _run(trees | {"dataset/cohort": cohort}, tmp_path / "run")


@pytest.mark.rule("ASS-3")
@pytest.mark.parametrize(
    ("reference", "predicted", "dice"), [(0, 0, None), (1, 0, 0.0), (0, 1, 0.0), (1, 1, 1.0)]
)
def test_a_structure_in_neither_mask_has_no_dice_and_in_one_of_them_zero(
    reference: int, predicted: int, dice: float | None
) -> None:
    masks = [np.zeros((4, 4, 4), np.bool_) for _ in range(2)]
    for mask, present in zip(masks, (reference, predicted), strict=True):
        mask[1:3, 1:3, 1:3] = bool(present)
    found = score(masks[0], masks[1], (1.0, 1.0, 1.0), 1.0)
    assert found["dice"] == dice
    assert (found["hd95_mm"] is None) == (not (reference and predicted))
