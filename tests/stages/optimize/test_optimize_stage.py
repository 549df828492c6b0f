"""`optimize` end to end on a tiny network and a tiny cohort."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers_optimize import TASK, cohort, merged, optimized, parameters, trained

from audit.errors import WrongUse
from stages.artifact import Manifest, digest_file
from stages.network import answerer, build, load
from stages.optimize.equivalence import equality
from stages.optimize.export import onnx_model
from stages.optimize.stage import FILES, STAGE
from stages.runtime import answerer as runtime_answerer
from stages.stage import PlanContext, Upstream, Verdict
from stages.table import read_table, write_table

HAVE_RTX = importlib.util.find_spec("tensorrt_rtx_bindings") is not None
CPU_TARGETS = ("onnxruntime-cpu", "openvino-cpu")
LIBRARIES = Path(sys.prefix).as_posix().encode()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The stage's inputs, and what one run and merge made of them."""
    folder = tmp_path_factory.mktemp("world")
    trees = {"dataset/cohort": cohort(folder / "cohort"), "train": trained(folder / "train")}
    outcome = optimized(folder / "run", trees, parameters())
    (folder / "measured.json").write_text(json.dumps(outcome.measured))
    (folder / "findings.json").write_text(json.dumps(outcome.findings))
    return {**trees, "run": folder / "run", "folder": folder}


def test_the_plan_names_the_chosen_weights_and_the_cohort() -> None:
    train, units = "a" * 64, {"cohort": ("b" * 64, Path())}
    upstream = {
        "train": Upstream({}, (train, Path())),
        "dataset": Upstream(units, ("c" * 64, Path())),
    }

    (unit,) = STAGE.plan(PlanContext(parameters(), upstream)).units

    assert unit.name == "targets"
    assert unit.inputs == {"train": train, "dataset/cohort": "b" * 64}


@pytest.mark.rule("OPT-1")
def test_another_process_in_another_folder_makes_the_same_bytes(
    world: dict[str, Path], tmp_path: Path
) -> None:
    # That process has exported another network before: libraries count through a process's life.
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from helpers_optimize import PATCH, optimized, parameters\n"
        "import torch\n"
        "from stages.optimize.export import onnx_model, openvino_ir\n"
        "other = onnx_model(torch.nn.Sequential(torch.nn.Conv3d(1, 2, 1)), PATCH)\n"
        "out, cohort, train = (Path(argument) for argument in sys.argv[1:])\n"
        "openvino_ir(other, out.with_name('other'))\n"
        "optimized(out, {'dataset/cohort': cohort, 'train': train}, parameters())\n"
    )
    elsewhere = tmp_path / "another" / "folder" / "of another name"
    sources = [str(world["dataset/cohort"]), str(world["train"])]
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(elsewhere), *sources],
        check=True,
        capture_output=True,
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHONHASHSEED": "7",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": f"{Path(__file__).parent}:{Path(__file__).parents[3]}",
        },
    )

    assert Manifest.of(elsewhere) == Manifest.of(world["run"])


@pytest.mark.rule("OPT-1")
def test_no_file_holds_a_path(world: dict[str, Path]) -> None:
    places = (LIBRARIES, Path(__file__).parents[3].as_posix().encode(), b"site-packages", b".py")

    for entry in Manifest.of(world["run"]).files:
        data = (world["run"] / entry.path).read_bytes()
        assert not any(place in data for place in places), entry.path


@pytest.mark.rule("OPT-2")
@pytest.mark.parametrize("target", CPU_TARGETS)
def test_a_cpu_target_equals_the_trained_network(world: dict[str, Path], target: str) -> None:
    rows = {row["target"]: row for row in read_table(world["run"] / "equivalence.parquet")}

    # Unit roundoff of single precision is 6e-8; sums of up to 27 x 32 products over six layers
    # give errors of about sqrt(864) x 6 x 6e-8 = 1e-5 of a logit, a quarter of that of a share.
    assert rows[target]["ran"]
    assert rows[target]["max_abs_difference"] <= 1e-5
    assert rows[target]["dice_to_reference"] == 1.0


@pytest.mark.rule("OPT-2")
def test_without_a_validation_series_nothing_is_called_equivalent(tmp_path: Path) -> None:
    trees = {
        "dataset/cohort": cohort(tmp_path / "cohort", ("train", "test")),
        "train": trained(tmp_path / "train"),
    }

    with pytest.raises(WrongUse, match="no validation series"):
        optimized(tmp_path / "run", trees, parameters(targets=["onnxruntime-cpu"]))


@pytest.mark.rule("OPT-3")
@pytest.mark.rule("OPT-4")
def test_a_model_with_other_weights_is_refused(world: dict[str, Path], tmp_path: Path) -> None:
    params = parameters(targets=["onnxruntime-cpu"])
    right, wrong = (build(params.network, TASK, params.volume) for _ in range(2))
    load(right, world["train"] / "model.safetensors")
    load(wrong, trained(tmp_path, disturb=_disturb) / "model.safetensors")
    broken = runtime_answerer(
        "onnxruntime-cpu", "model.onnx", lambda _: onnx_model(wrong, params.volume.patch), 1
    )
    (series,) = _arrays(world)
    found = equality(answerer(right), broken, [series], params.volume, TASK)
    tree = tmp_path / "tree"
    row = read_table(world["run"] / "equivalence.parquet")[0] | found.__dict__
    columns = {name: _kind(value) for name, value in row.items()}
    write_table(tree / "equivalence.parquet", [row], columns)
    (tree / FILES["onnxruntime-cpu"]).write_bytes(b"")

    outcome = merged(tmp_path / "merged", tree, params)

    assert outcome.gate.verdict is Verdict.REFUSED
    refused = [check for check in outcome.gate.checks if check.verdict is Verdict.REFUSED]
    assert {check.rule for check in refused} == {"OPT-3", "OPT-4"}
    assert all(check.remedy for check in refused)
    assert outcome.findings == {"onnxruntime-cpu": "not equivalent"}


def test_targets_are_listed_with_the_files_that_they_open(
    world: dict[str, Path], tmp_path: Path
) -> None:
    merged(tmp_path / "merged", world["run"], parameters())

    document = json.loads((tmp_path / "merged" / "targets.json").read_bytes())
    listed = {item["target"]: item for item in document["targets"]}
    assert listed["onnxruntime-cpu"]["verdict"] == "equivalent"
    assert [file["path"] for file in listed["openvino-cpu"]["files"]] == [
        "openvino/model.bin",
        "openvino/model.xml",
    ]
    for item in listed.values():
        for file in item["files"]:
            assert file["sha256"] == digest_file(world["run"] / file["path"])


@pytest.mark.rule("OPT-5")
@pytest.mark.skipif(not HAVE_RTX, reason="the extra `tensorrt-rtx` is not installed")
def test_the_rtx_engine_is_built_and_said_not_to_have_run(
    world: dict[str, Path], tmp_path: Path
) -> None:
    outcome = merged(tmp_path / "merged", world["run"], parameters())

    (row,) = (
        row
        for row in read_table(world["run"] / "equivalence.parquet")
        if row["target"] == "tensorrt-rtx"
    )
    assert (row["built"], row["ran"]) == (True, False)
    assert row["reason"] == "not run here: needs an NVIDIA GPU"
    assert (world["run"] / FILES["tensorrt-rtx"]).stat().st_size > 10_000
    assert outcome.gate.verdict is Verdict.FINDINGS
    assert outcome.findings["tensorrt-rtx"] == "not run"


@pytest.mark.rule("OPT-5")
def test_a_missing_rtx_package_is_a_finding(
    world: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx_bindings", None)
    params = parameters(targets=["tensorrt-rtx"])

    trees = {label: world[label] for label in ("dataset/cohort", "train")}
    optimized(tmp_path / "run", trees, params)
    outcome = merged(tmp_path / "merged", tmp_path / "run", params)

    (row,) = read_table(tmp_path / "run" / "equivalence.parquet")
    assert (row["built"], row["ran"]) == (False, False)
    assert row["reason"].startswith("not built here: ")
    assert outcome.gate.verdict is Verdict.FINDINGS
    assert outcome.findings == {"tensorrt-rtx": "not built"}


@pytest.mark.rule("OPT-6")
def test_latencies_are_measured_and_not_written(world: dict[str, Path]) -> None:
    measured = json.loads((world["folder"] / "measured.json").read_text())

    assert measured["peak_memory_mib"] > 50
    assert set(measured["latency_s"]) == {"pytorch", *CPU_TARGETS}
    for figures in measured["latency_s"].values():
        assert 0 < figures["fastest"] <= figures["median"] <= figures["slowest"]
    assert "latency" not in (world["folder"] / "findings.json").read_text()
    assert {entry.path for entry in Manifest.of(world["run"]).files} == {
        "equivalence.parquet",
        "model.onnx",
        "openvino/model.bin",
        "openvino/model.xml",
        *(["tensorrt-rtx/model.engine"] if HAVE_RTX else []),
    }


def test_the_stage_is_declared_without_heavy_imports() -> None:
    script = (
        "import sys, stages.optimize.stage\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'openvino', 'numpy'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or None)\n"
    )

    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)

    assert done.returncode == 0, done.stderr


def _disturb(module: object) -> None:
    import torch

    with torch.no_grad():
        for parameter in module.parameters():  # type: ignore[attr-defined]
            parameter.mul_(-1.5)


def _arrays(world: dict[str, Path]) -> list[object]:
    from stages.optimize.stage import _validation

    return _validation(world["dataset/cohort"], parameters())


def _kind(value: object) -> str:
    return {str: "string", bool: "bool", float: "double"}[type(value)]
