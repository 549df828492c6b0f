"""`optimize` on networks that answer with classes, alone or beside a segmentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from helpers_optimize import NETWORK, PATCH
from helpers_optimize import TASK as STRUCTURES
from helpers_picture import TASK, make_pictures

from stages.classify import Answer
from stages.network import answerer, build, save
from stages.optimize.equivalence import equality
from stages.optimize.export import onnx_model
from stages.optimize.params import OptimizeParams, Parameters
from stages.optimize.stage import FILES, STAGE
from stages.params import Network, Numerics, Volume
from stages.runtime import answerer as runtime_answerer
from stages.runtime import predictor
from stages.stage import MergeContext, RunContext, Unit, Verdict
from stages.table import read_table

FLAT = Volume(window=(0.0, 255.0), patch=(1, 24, 24))
DENSE = Network(
    _target_="monai.networks.nets.DenseNet",
    arguments={"init_features": 4, "growth_rate": 2, "block_config": (1, 1)},
)
CPU = ("onnxruntime-cpu", "openvino-cpu")


def parameters(**changes: Any) -> Parameters:
    section = {"targets": CPU, "timed_runs": 3, "cases": 3} | changes
    return Parameters(
        task=TASK,
        numerics=Numerics(threads=1),
        volume=FLAT,
        network=DENSE,
        optimize=OptimizeParams.model_validate(section),
    )


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pictures")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        save(build(DENSE, TASK, FLAT), folder / "train" / "model.safetensors")
    cohort = make_pictures(folder / "cohort", {"train": 1, "validation": 4})
    return {"dataset/cohort": cohort, "train": folder / "train"}


@pytest.mark.rule("OPT-2")
def test_a_classifier_is_exported_and_proven_on_validation_cases(
    trees: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "merged").mkdir()
    params = parameters()
    outcome = STAGE.run(Unit("targets", {}), RunContext(params, trees, tmp_path / "run"))
    assert outcome.findings["series_compared"] == 3
    rows = read_table(tmp_path / "run" / "equivalence.parquet")
    assert [(row["target"], row["ran"], row["dice_to_reference"]) for row in rows] == [
        (target, True, None) for target in CPU
    ]
    assert all(row["max_abs_difference"] <= 1e-4 for row in rows)
    model = onnx.load(tmp_path / "run" / FILES["onnxruntime-cpu"])
    assert [output.name for output in model.graph.output] == ["class_logits"]
    gate = STAGE.merge(
        MergeContext(params, {"targets": tmp_path / "run"}, {}, {}, tmp_path / "merged")
    ).gate
    assert gate.verdict is Verdict.PASSED
    assert {check.rule for check in gate.checks} == {"OPT-3"}


@pytest.mark.rule("OPT-1")
def test_a_multi_task_network_keeps_both_answers_in_every_runtime(tmp_path: Path) -> None:
    task = STRUCTURES.model_copy(update={"classes": TASK.classes})
    with torch.random.fork_rng():
        torch.manual_seed(1)
        module = build(NETWORK, task, Volume(patch=PATCH))
    from stages.optimize.export import openvino_ir

    model = onnx_model(module, PATCH)
    openvino_ir(model, tmp_path / "openvino")
    files = {
        f"openvino/{path.name}": path.read_bytes() for path in (tmp_path / "openvino").iterdir()
    }
    files["model.onnx"] = model
    window = np.random.default_rng(0).standard_normal((1, 1, *PATCH), dtype=np.float32)
    grid, classes = answerer(module)(window)
    for target in CPU:
        found = runtime_answerer(target, FILES[target], files.__getitem__, 1)(window)
        np.testing.assert_allclose(found[0], grid, atol=1e-4)
        np.testing.assert_allclose(found[1], classes, atol=1e-4)
        alone = predictor(target, FILES[target], files.__getitem__, 1)(window)
        np.testing.assert_array_equal(alone, found[0])


@pytest.mark.rule("OPT-3")
def test_a_class_probability_that_differs_is_found() -> None:
    def saying(logit: float) -> Any:
        def answer(_: Any) -> Answer:
            return None, np.array([[0, logit]], np.float32)

        return answer

    array = np.zeros((1, 24, 24), np.float32)
    same = equality(saying(0), saying(0), [array], FLAT, TASK)
    assert (same.max_abs_difference, same.dice_to_reference) == (1e-6, None)
    other = equality(saying(0), saying(0.2), [array], FLAT, TASK)
    assert other.max_abs_difference == pytest.approx(0.1)
