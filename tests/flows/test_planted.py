"""Causes of difference, planted one at a time: the first rung that differs and the cause are named.

The release is rebuilt in a twin that has its home and its store, so that only what the planted
cause reaches runs again. Three are quick; the others are slow.
"""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pydicom
import pytest
from helpers_rebuild import Released

from stages.ladder import RESULTS, Comparison
from stages.table import read_table

pytestmark = pytest.mark.timeout(900)
EQUAL, ANY = "no result differs", "hangs on the processor"


@dataclass(frozen=True)
class Planted:
    """A change, and what a comparison must say of it."""

    rung: str
    """The first that differs."""
    cause: str
    """Stands among the causes."""
    result: str
    """The first result that differs, or `EQUAL`, or `ANY`."""
    parameters: dict[str, Any] = field(default_factory=dict)
    code: tuple[str, str, str] | None = None
    """File below `stages/`, text, other text."""
    quick: bool = False
    observed: str = ""
    """How the causes begin that the numeric processes told of themselves beside it."""


def _parameter(
    result: str, cause: str, *, quick: bool = False, observed: str = "", **changes: Any
) -> Planted:
    cause = f"parameter {cause}"
    return Planted("parameters", cause, result, changes, quick=quick, observed=observed)


def _code(
    result: str, file: str, old: str, new: str, stages: str, *, quick: bool = False
) -> Planted:
    return Planted("code", f"code {file} (of {stages})", result, {}, (file, old, new), quick)


PLANTED = {
    # parameters
    "seed": _parameter(
        "batches", "numerics.seed: 20261121 → 7", numerics={"seed": 7}
    ),
    "split seed": _parameter("split", "dataset.seed: 10 → 11", dataset={"seed": 11}),
    "learning rate": _parameter(
        "weights", "train.learning_rate: 0.004 → 0.005", train={"learning_rate": 0.005}
    ),
    "epochs": _parameter("batches", "train.epochs: 1 → 2", train={"epochs": 2}),
    "patch": _parameter(
        "batches", "volume.patch: [16, 32, 32] → [16, 32, 24]", volume={"patch": [16, 32, 24]}
    ),
    "window": _parameter(
        "preprocessing", "volume.window: [-60.0, 180.0] → [-60.0, 181.0]",
        volume={"window": [-60, 181]},
    ),
    "augmentation": _parameter(
        "batches", "train.augmentation.noise: 0.05 → 0.0", train={"augmentation": {"noise": 0.0}}
    ),
    "network argument": _parameter(
        "weights", "network.arguments.init_filters: 8 → 16",
        network={"arguments": {"init_filters": 16, "blocks_down": [1, 1], "blocks_up": [1]}},
    ),
    "instruction set": _parameter(
        ANY, "numerics.instruction_set: default → avx2",
        numerics={"instruction_set": "avx2"}, observed="instruction set",
    ),
    "threads": _parameter(
        ANY, "numerics.threads: 1 → 2", numerics={"threads": 2}, observed="threads: 1 → 2"
    ),
    "confidence": _parameter(
        "metrics", "assess.confidence: 0.95 → 0.9", assess={"confidence": 0.9}
    ),
    "vendor gap": _parameter(
        "report", "assess.vendor_gap: 0.1 → 0.0001",
        assess={"vendor_gap": 0.0001},
    ),
    "agreement": _parameter(
        "report", "annotate.tolerance_mm: 1.0 → 2.0",
        annotate={"tolerance_mm": 2.0},
    ),
    "title": _parameter(
        "report", "package.title: Organ and lesions of a phantom in CT → Another",
        package={"title": "Another"}, quick=True,
    ),
    # code
    "line of annotate": _code(
        "preprocessing", "annotate/consensus.py", "inner[wins] = structure.label",
        "inner[np.roll(wins, 1, axis=2)] = structure.label", "annotate",
    ),
    "comment of dataset": _code(
        EQUAL, "dataset/summary.py", "Pure decisions, no I/O.", "Pure decisions.", "dataset"
    ),
    "line of train": _code(
        "weights", "train/loop.py", "WEIGHT_DECAY = 1e-4", "WEIGHT_DECAY = 1e-1", "train"
    ),
    "line of assess": _code(
        "predictions", "assess/predict.py", "Prediction on the test split", "Planted", "assess"
    ),
    "line of optimize": _code(
        "engines", "optimize/equivalence.py", "FINEST = 1e-6", "FINEST = 1e-3", "optimize"
    ),
    "line of package": _code(
        "report", "package/report.py", "counted in the ledger", "counted", "package", quick=True
    ),
    "line that stages share": _code(
        "metrics", "overlap.py", "np.percentile(d, 95)", "np.percentile(d, 90)",
        "annotate, assess, optimize, train",
    ),
}  # fmt: skip


def _names() -> list[Any]:
    slow = pytest.mark.slow
    return [pytest.param(n, marks=() if p.quick else slow) for n, p in PLANTED.items()]


@pytest.mark.rule("LAD-4")
@pytest.mark.parametrize("name", _names())
def test_a_changed_parameter_or_line_is_named(
    released: Released, tmp_path: Path, name: str
) -> None:
    planted = PLANTED[name]
    twin = released.twin(tmp_path / "twin")
    if planted.parameters:
        twin.parameters(**planted.parameters)
    if planted.code:
        twin.code(tmp_path / "code", *planted.code)
    twin.climb("rebuild", str(released.folder))
    found = released.compare(twin)
    _told(found, planted.rung, planted.cause, planted.result, planted.observed)


def _told(found: Comparison, rung: str, cause: str, result: str, observed: str = "") -> None:
    assert found.first_difference == rung
    assert found.causes[0] == cause
    assert bool(observed) == bool(found.causes[1:])
    assert all(other.startswith(observed) for other in found.causes[1:])
    differing = [r.name for r in found.rungs if r.name in RESULTS and not r.equal]
    assert result in (ANY, *differing[:1], *(() if differing else (EQUAL,)))
    assert (found.level == "R1") == (not differing)


def test_a_line_of_ingest_is_no_difference_because_ingest_is_cited(
    released: Released, tmp_path: Path
) -> None:
    twin = released.twin(tmp_path / "twin")
    twin.code(tmp_path / "code", "ingest/stage.py", "is quarantined.", "is not quarantined.")
    twin.climb("rebuild", str(released.folder))
    found = released.compare(twin)
    assert (found.level, found.first_difference) == ("R1", None)


@pytest.mark.slow
def test_another_version_of_a_library_is_named(released: Released, tmp_path: Path) -> None:
    """A copy of jinja2 that calls itself another version stands first on the path."""
    twin = released.twin(tmp_path / "twin")
    shim, version = tmp_path / "shim", importlib.metadata.version("jinja2")
    package = Path(jinja2.__file__).parent
    shutil.copytree(package, shim / "jinja2", ignore=shutil.ignore_patterns("__pycache__"))
    about = shim / "jinja2-99.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: Jinja2\nVersion: 99.1\n")
    lock = twin.folder / "constraints.txt"
    pins = lock.read_text("utf-8").splitlines()
    assert any(line.lower() == f"jinja2=={version}" for line in pins)
    changed = ["jinja2==99.1" if line.lower().startswith("jinja2==") else line for line in pins]
    lock.write_text("\n".join(changed) + "\n", "utf-8")
    twin.variables = {"PYTHONPATH": f"{shim}:{twin.project.code}"}
    twin.climb("rebuild", str(released.folder))
    found = released.compare(twin)
    _told(found, "environment", f"library jinja2: {version} → 99.1", "report")


@pytest.mark.slow
def test_a_pin_of_what_is_not_installed_is_named(released: Released, tmp_path: Path) -> None:
    twin = released.twin(tmp_path)
    with (twin.folder / "constraints.txt").open("a", encoding="utf-8") as lock:
        lock.write("not-installed==1.0\n")
    twin.climb("rebuild", str(released.folder))
    cause = "library not-installed: absent → 1.0 in the lock, not installed"
    _told(released.compare(twin), "environment", cause, "report")


@pytest.mark.slow
def test_another_instruction_set_is_named_as_the_libraries_tell_it(
    released: Released, tmp_path: Path
) -> None:
    twin = released.clone(tmp_path)  # an instruction set is in no key here: nothing is given back
    twin.variables = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
    twin.climb("rebuild", str(released.folder))
    found = released.compare(twin)
    before = released.ladder().facts.environment["instruction set (PyTorch)"]
    assert found.first_difference == "environment"
    assert found.causes == (
        "instruction set (PyTorch): " + before + " → DEFAULT",
        "instruction set (oneDNN): all → SSE41",
    )


Change = Callable[[pydicom.Dataset], None]


def _pixel(instance: pydicom.Dataset) -> None:
    data = bytearray(instance.PixelData)
    data[len(data) // 2] ^= 1
    instance.PixelData = bytes(data)


def _label(instance: pydicom.Dataset) -> None:
    """Take a frame's drawing away."""
    data = np.frombuffer(instance.PixelData, np.uint8).copy()
    used = np.flatnonzero(data)
    data[used[: len(used) // 4]] = 0
    instance.PixelData = data.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "modality", "cause"),
    [(_pixel, "CT", "pixels or header of series"), (_label, "SEG", "a reader's annotation")],
)
def test_one_changed_source_is_named_by_its_series(
    released: Released, tmp_path: Path, change: Change, modality: str, cause: str
) -> None:
    twin = released.twin(tmp_path / "twin")
    source = tmp_path / "incoming"
    shutil.copytree(twin.project.source, source)
    for path in sorted(source.rglob("*.dcm")):
        instance = pydicom.dcmread(path)
        if instance.Modality == modality:
            change(instance)
            instance.save_as(path)
            break
    twin.project.source = source
    twin.climb("run")
    found = released.compare(twin)
    assert found.first_difference == "inputs"
    assert cause in found.causes[0]
    series = {row["series"] for row in read_table(twin.data / "series.parquet")}
    assert any(uid in found.causes[0] for uid in series)
    others = [told for told in found.causes[1:] if "consensus label" not in told]
    assert others == []
