"""`optimize`: the chosen network as files for the product's runtimes, each compared with PyTorch.

In: the merged tree of `train` (`candidate.json`, `model.safetensors`) and the cohort.
Out: `model.onnx`, `openvino/model.xml` and `.bin`, `tensorrt-rtx/model.engine`,
`equivalence.parquet`; merged: `targets.json`.

Rules:

- OPT-1  Every file is made of the trained weights alone, by one ONNX model; it holds no path, time,
         user or host, and another process in another folder makes the same bytes.
- OPT-2  Every target that runs on a CPU is compared with the trained network in PyTorch, on whole
         validation series; the locked test split is never read.
- OPT-3  A probability, of a voxel's channel or of a case's class, that differs by more than
         `optimize.max_abs_difference` refuses.
- OPT-4  Labels whose Dice to the reference's is below `optimize.min_dice_to_reference` refuse.
- OPT-5  A target that could not be built or run here is a finding, never silently equivalent.
- OPT-6  Latencies are measured beside the artifact, never written into it.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from audit.canonical import canonical_json
from audit.errors import WrongUse
from stages.artifact import Manifest
from stages.bundle import MODELS
from stages.optimize.params import OptimizeParams, Parameters
from stages.stage import (
    Check,
    Gate,
    Json,
    MergeContext,
    Outcome,
    Plan,
    PlanContext,
    RunContext,
    Stage,
    Unit,
    Verdict,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FILES = {target: member.removeprefix("models/") for target, member in MODELS.items()}
"""Target → the file that its runtime opens."""
_COLUMNS = {
    "target": "string",
    "precision": "string",
    "built": "bool",
    "ran": "bool",
    "reason": "string",
    "max_abs_difference": "double",
    "dice_to_reference": "double",
}


def plan(ctx: PlanContext[Parameters]) -> Plan:
    """One unit: the targets share one ONNX model."""
    inputs = {
        "train": ctx.upstream["train"].merged[0],
        "dataset/cohort": ctx.upstream["dataset"].units["cohort"][0],
    }
    return Plan((Unit("targets", inputs),))


def run(unit: Unit, ctx: RunContext[Parameters]) -> Outcome:  # noqa: ARG001 - there is one unit
    """Export, build, compare, time."""
    import resource

    from stages import network as torch_network
    from stages import runtime
    from stages.optimize.equivalence import equality, latency_s
    from stages.optimize.export import OPSET, onnx_model, openvino_ir
    from stages.table import write_table

    params = ctx.params
    wanted, threads = params.optimize.targets, params.numerics.threads
    with torch_network.pinned(params.numerics):
        trained = torch_network.build(params.network, params.task, params.volume)
        torch_network.load(trained, ctx.trees["train"] / "model.safetensors")

        ctx.say("exporting ONNX", 0.0)
        model = onnx_model(trained, params.volume.patch)
        (ctx.out / FILES["onnxruntime-cpu"]).write_bytes(model)
        if "openvino-cpu" in wanted:
            openvino_ir(model, (ctx.out / FILES["openvino-cpu"]).parent)

        series = _validation(ctx.trees["dataset/cohort"], params)
        reference = torch_network.answerer(trained)
        runtimes = {"pytorch": reference}
        rows = []
        for index, target in enumerate(wanted):
            ctx.say(f"comparing {target}", 0.2 + 0.6 * index / len(wanted))
            if target == "tensorrt-rtx":
                engine = _engine(model, ctx.out / FILES[target], params.optimize)
                rows.append(_row(target, **engine))
                continue
            runtimes[target] = runtime.answerer(
                target, FILES[target], lambda name: (ctx.out / name).read_bytes(), threads
            )
            found = equality(reference, runtimes[target], series, params.volume, params.task)
            rows.append(_row(target, built=True, ran=True, **asdict(found)))
        write_table(ctx.out / "equivalence.parquet", rows, _COLUMNS)

        ctx.say("timing", 0.8)
        latencies = {
            name: latency_s(predict, params.volume.patch, params.optimize.timed_runs)
            for name, predict in runtimes.items()
        }
    return Outcome(
        findings={"opset": OPSET, "series_compared": len(series), "targets": rows},
        measured={
            "latency_s": latencies,
            "patch": list(params.volume.patch),
            "threads": threads,
            "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        },
    )


def merge(ctx: MergeContext[Parameters]) -> Outcome:
    """Say of each target what it is, with its files and figures; hold the limits."""
    from stages.table import read_table

    limits = ctx.params.optimize
    tree = ctx.units["targets"]
    rows = read_table(tree / "equivalence.parquet")
    checks = {row["target"]: _checks(row, limits) for row in rows}
    verdicts = {row["target"]: _verdict(row, checks[row["target"]]) for row in rows}
    document = {
        "schema_version": 1,
        "reference": "PyTorch, single precision, the trained weights",
        "patch": list(ctx.params.volume.patch),
        "targets": [
            {**row, "files": _files(tree, row), "verdict": verdicts[row["target"]]} for row in rows
        ],
    }
    (ctx.out / "targets.json").write_bytes(canonical_json(document))
    return Outcome(
        findings=verdicts,
        gate=Gate(checks=tuple(check for found in checks.values() for check in found)),
    )


def _validation(cohort: Path, params: Parameters) -> list[NDArray[np.float32]]:
    """The first validation series or cases, prepared (OPT-2).

    Raises:
        WrongUse: the cohort has no validation series.
    """
    from stages.cohort import load_case, read_cases

    limits = params.optimize
    cases = [case for case in read_cases(cohort, params.task) if case.split == "validation"]
    if not cases:
        raise WrongUse(
            "The cohort has no validation series to compare targets on.",
            "Give validation a larger share of the subjects in `dataset`.",
        )
    return [
        load_case(case, params.task, params.volume)[1].prepared.array
        for case in cases[: limits.series if params.task.structures else limits.cases]
    ]


def _engine(model: bytes, path: Path, limits: OptimizeParams) -> Json:
    """Build the engine into `path`; what its row says (OPT-5)."""
    from stages.optimize.rtx import NotBuilt, engine

    try:
        built = engine(model, limits.compute_capabilities)
    except NotBuilt as error:
        return {"built": False, "reason": f"not built here: {error.what}"}
    path.parent.mkdir()
    path.write_bytes(built)
    return {"built": True, "reason": "not run here: needs an NVIDIA GPU"}


def _row(target: str, **values: Any) -> Json:
    return {
        "target": target,
        "precision": "f32",
        "ran": False,
        "reason": "",
        "max_abs_difference": None,
        "dice_to_reference": None,
        **values,
    }


def _checks(row: Json, limits: OptimizeParams) -> list[Check]:
    """The gate's checks of one target (OPT-3, OPT-4, OPT-5)."""
    if not row["ran"]:
        return [
            Check(
                rule="OPT-5",
                figure=f"{row['target']}: {row['reason']}",
                limit="optimize.targets: built and run",
                verdict=Verdict.FINDINGS,
                remedy="Prove it equivalent on its own hardware before it is used there.",
            )
        ]
    remedy = "Raise the limit with a reason, or drop the target from `optimize.targets`."
    difference, agreement = row["max_abs_difference"], row["dice_to_reference"]
    checks = [
        Check(
            rule="OPT-3",
            figure=f"{row['target']}: probabilities differ by at most {difference:.0e}",
            limit=f"optimize.max_abs_difference: {limits.max_abs_difference:.0e}",
            verdict=_held(holds=difference <= limits.max_abs_difference * (1 + 1e-9)),
            remedy=remedy,
        )
    ]
    if agreement is not None:
        checks.append(
            Check(
                rule="OPT-4",
                figure=f"{row['target']}: Dice to the reference {agreement:.3f}",
                limit=f"optimize.min_dice_to_reference: {limits.min_dice_to_reference:g}",
                verdict=_held(holds=agreement >= limits.min_dice_to_reference),
                remedy=remedy,
            )
        )
    return checks


def _held(*, holds: bool) -> Verdict:
    return Verdict.PASSED if holds else Verdict.REFUSED


def _verdict(row: Json, checks: list[Check]) -> str:
    if not row["ran"]:
        return "not run" if row["built"] else "not built"
    refused = any(check.verdict is Verdict.REFUSED for check in checks)
    return "not equivalent" if refused else "equivalent"


def _files(tree: Path, row: Json) -> list[Json]:
    """Path, size and SHA-256 of what a target's runtime opens."""
    main = PurePosixPath(FILES[row["target"]])
    wanted = {main.as_posix(), main.with_suffix(".bin").as_posix()}
    return [entry.model_dump() for entry in Manifest.of(tree).files if entry.path in wanted]


STAGE = Stage(
    name="optimize",
    parameters=Parameters,
    after=("dataset", "train"),
    plan=plan,
    run=run,
    merge=merge,
    numeric=True,
    classes=lambda params: (params.network.target,),
)
