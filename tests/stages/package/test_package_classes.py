"""A release that answers with classes: its members, its report, and MONAI's own run of it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers_package import parameters as segmentation
from helpers_package import plan_of, write_trees
from helpers_picture import NAMES, SIDE, TASK, make_pictures

from stages.assess import class_verdict
from stages.assess.params import AssessParams
from stages.assess.params import Parameters as AssessParameters
from stages.bundle import BundleConfig
from stages.classify import classify
from stages.cohort import load_case, read_cases
from stages.package.params import Parameters
from stages.package.stage import STAGE
from stages.package.verify import members_of
from stages.params import Network, Volume
from stages.stage import MergeContext, Outcome, RunContext, Verdict
from stages.table import read_table, write_table

VOLUME = Volume(window=(0.0, 255.0), patch=(1, SIDE, SIDE))
DENSE = Network(
    _target_="monai.networks.nets.DenseNet",
    arguments={"init_features": 4, "growth_rate": 2, "block_config": (1, 1)},
)


def parameters() -> Parameters:
    return segmentation().model_copy(update={"task": TASK, "volume": VOLUME, "network": DENSE})


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    import torch

    from stages.network import build, save

    trees = write_trees(tmp_path_factory.mktemp("classes"))
    cohort = trees["dataset/cohort"]
    tables = {name: (cohort / name).read_bytes() for name in ("quarantine.parquet",)}
    shutil.rmtree(cohort)
    make_pictures(cohort, {"train": 4, "validation": 2, "test": 6})
    for name, data in tables.items():
        (cohort / name).write_bytes(data)
    columns = dict.fromkeys(("structure", "reader_a", "reader_b", "dice"), "string")
    write_table(cohort / "agreement.parquet", [], columns)
    pair = {"reader_a": "reader-a", "reader_b": "reader-b"}
    agreed = [pair | {"label_a": "dark", "label_b": label} for label in NAMES]
    write_table(cohort / "class_agreement.parquet", agreed, dict.fromkeys(agreed[0], "string"))
    torch.manual_seed(3)
    save(build(DENSE, TASK, VOLUME), trees["train"] / "model.safetensors")
    candidate = {"schema_version": 1, "variant": "finetuned", "channels_out": 1}
    candidate |= {"weights_sha256": "ab" * 32}
    (trees["train"] / "candidate.json").write_text(json.dumps(candidate))
    _assess(trees)
    return trees


def _assess(trees: dict[str, Path]) -> None:
    rows = [
        {"subject": f"test-{n}", "series": "1", "sop": "2", "vendor": ("north", "south")[n // 3]}
        | {"reference": NAMES[n % 2], "class": name}
        | {"probability": 0.9 - 0.1 * n if name == NAMES[n % 2] else 0.1 + 0.1 * n}
        for n in range(6)
        for name in NAMES
    ]
    params = AssessParameters.model_validate(
        {name: getattr(parameters(), name) for name in ("project", "task", "numerics", "volume")}
        | {"network": DENSE, "assess": AssessParams(resamples=100, min_auc=0.0)}
    )
    found = class_verdict.summarize(rows, params)
    merged = trees["assess"]
    write_table(merged / "class_metrics.parquet", found.metrics, class_verdict.METRICS)
    write_table(merged / "confusion.parquet", found.confusion, class_verdict.CONFUSION)
    write_table(merged / "roc.parquet", found.roc, class_verdict.ROC)
    for path in (merged / "metrics.parquet", trees["assess/test"] / "scores.parquet"):
        columns = dict.fromkeys(read_table(path)[0], "string")
        path.unlink()
        write_table(path, [], columns)


@pytest.fixture(scope="module")
def built(trees: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    out = tmp_path_factory.mktemp("built")
    params = parameters()
    unit = plan_of(trees, params, {"assess": {"looks": 1}})
    (out / "unit").mkdir()
    (out / "merged").mkdir()
    STAGE.run(unit, RunContext(params, trees, out / "unit"))
    outcome = STAGE.merge(MergeContext(params, {"bundle": out / "unit"}, trees, {}, out / "merged"))
    return out / "unit", outcome


@pytest.fixture(scope="module")
def members(built: tuple[Path, Outcome]) -> dict[str, bytes]:
    (archive,) = built[0].glob("*.zip")
    return members_of(archive)


@pytest.fixture(scope="module")
def root(members: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("unpacked")
    for name, data in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.rule("PKG-3")
def test_a_classifier_is_a_whole_release(built: tuple[Path, Outcome], root: Path) -> None:
    assert built[1].gate.verdict is Verdict.PASSED
    config = BundleConfig.model_validate_json((root / "configs" / "kette.json").read_bytes())
    assert config.task == TASK
    assert config.pictures
    assert config.limits.outside((1, SIDE, SIDE), (1, 1, 1)) is None
    assert config.limits.outside((1, 2 * SIDE, SIDE), (1, 1, 1)) is not None


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("cohort", ["Cases by split and class", "bright", "reader-a – reader-b", "0.500"]),
        ("class-test", ["Balanced accuracy", "north", "90 % CI", "looked at 1 time,", "ROC curve"]),
    ],
)
def test_the_report_shows_classes_and_no_empty_section_of_structures(
    built: tuple[Path, Outcome], section: str, words: list[str]
) -> None:
    report = (built[0] / "report.html").read_text("utf-8")
    (text,) = re.findall(rf'<section id="{section}".*?</section>', report, re.DOTALL)
    assert [word for word in words if word not in text] == []
    assert '<section id="test"' not in report
    assert '<section id="overlays"' not in report
    assert "AUC, bright" in report


def test_readme_and_metadata_tell_the_classes_and_their_areas(members: dict[str, bytes]) -> None:
    readme = members["docs/README.md"].decode()
    assert "Probabilities of dark (Dark), bright (Bright), as a DICOM structured report." in readme
    assert "(area under the ROC curve; `all` is the mean over classes): all " in readme
    metadata = json.loads(members["configs/metadata.json"])
    assert metadata["eval_metrics"].keys() == {"auc_all", "auc_bright", "auc_dark"}
    assert metadata["network_data_format"]["outputs"]["pred"]["channel_def"] == {
        "0": "dark",
        "1": "bright",
    }
    assert "tells dark, bright apart" in metadata["description"]


def test_the_same_trees_give_the_same_release(
    trees: dict[str, Path], built: tuple[Path, Outcome], tmp_path: Path
) -> None:
    unit = plan_of(trees, parameters(), {"assess": {"looks": 1}})
    STAGE.run(unit, RunContext(parameters(), trees, tmp_path))
    (archive,) = built[0].glob("*.zip")
    assert (tmp_path / archive.name).read_bytes() == archive.read_bytes()


@pytest.mark.filterwarnings("ignore::UserWarning:monai")
@pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")
def test_monais_own_run_gives_the_probabilities_that_our_own_code_gives(
    root: Path, trees: dict[str, Path], tmp_path: Path
) -> None:
    from monai.bundle import run

    from stages.archive import read_zip
    from stages.network import answerer, build, load

    cases = [case for case in read_cases(trees["dataset/cohort"], TASK) if case.split == "test"]
    (tmp_path / "input").mkdir()
    for case in cases:
        ((_, data),) = read_zip(case.image, limit_bytes=1 << 20, limit_entries=1)
        (tmp_path / "input" / f"{case.subject}.dcm").write_bytes(data)
    run(
        config_file=str(root / "configs" / "inference.json"),
        meta_file=str(root / "configs" / "metadata.json"),
        bundle_root=str(root),
        dataset_dir=str(tmp_path / "input"),
        output_dir=str(tmp_path / "output"),
    )
    module = build(DENSE, TASK, VOLUME)
    load(module, root / "models" / "model.safetensors")
    seen: list[Any] = []
    for case in cases:
        _, sample = load_case(case, TASK, VOLUME)
        own = classify(answerer(module), sample.prepared.array, VOLUME)
        found = np.load(tmp_path / "output" / f"{case.subject}.dcm.npy")
        np.testing.assert_allclose(found, own, atol=1e-5)
        seen.append(own[0])
    assert len(set(seen)) == len(cases), "equal answers would prove nothing"
