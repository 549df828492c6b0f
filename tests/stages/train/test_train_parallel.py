"""Several processes: they give what one gives, up to rounding, and the same every time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers_cohort import make_cohort
from helpers_train import batch, parameters
from safetensors.torch import load_file

from audit.errors import WrongUse
from stages.stage import RunContext, Unit
from stages.train import parallel
from stages.train.stage import STAGE

ROOT = Path(__file__).parents[3]
UNIT = Unit("variants", {"dataset/cohort": "0" * 64})

_SHARED = """
import json, sys
import torch
from torch import distributed
from helpers_train import parameters, tiny_data
from stages.network import pinned, save
from stages.train.parallel import group, world
from stages.train.trial import Trial, run_trial
from pathlib import Path
params = parameters(variants=("scratch",), batch=4)
with group(params.numerics, print), pinned(params.numerics):
    data = tiny_data(labeled=6)
    way = params.train.ways["scratch"]
    trained = run_trial(Trial(way, 7, 3, "scratch"), data, params, start=None)
    rank, count = world()
    if rank == 0:
        save(trained.module, Path(sys.argv[1]))
        print(json.dumps({"count": count, "losses": [row["loss"] for row in trained.rows]}))
"""


def _environment() -> dict[str, str]:
    here = Path(__file__).parent
    places = os.pathsep.join([str(ROOT), str(here.parent), str(here)])
    return os.environ | {"PYTHONPATH": places, "OMP_NUM_THREADS": "1"}


def _run(*launcher: str, out: Path, script: Path) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, *launcher, str(script), str(out)],
        env=_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    told: dict[str, object] = json.loads(done.stdout.strip().splitlines()[-1])
    return told


@pytest.mark.rule("PAR-1")
def test_two_processes_under_torchrun_train_what_one_trains(tmp_path: Path) -> None:
    script = tmp_path / "shared.py"
    script.write_text(_SHARED)
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    one = _run(out=tmp_path / "one", script=script)
    two = _run(*torchrun, out=tmp_path / "two", script=script)
    assert (one["count"], two["count"]) == (1, 2)
    # Sums of single-precision gradients in another order: 2^-24 a term, over 9 steps of AdamW.
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-3)
    alone, shared = load_file(tmp_path / "one"), load_file(tmp_path / "two")
    for name, weight in alone.items():
        assert torch.allclose(shared[name], weight, atol=5e-3), name
    again = _run(*torchrun, out=tmp_path / "again", script=script)
    assert again == two
    assert (tmp_path / "again").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.rule("PAR-3")
def test_the_stage_starts_its_processes_itself(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path / "cohort", {"train": 3, "validation": 1, "unlabeled": 1})
    params = parameters(variants=("scratch",), epochs=1)
    params = params.model_copy(
        update={"numerics": params.numerics.model_copy(update={"processes": 2})}
    )
    digests = []
    for name in ("one", "again"):
        (tmp_path / name).mkdir()
        context = RunContext(params, {"dataset/cohort": cohort}, tmp_path / name)
        outcome = STAGE.run(UNIT, context)
        digests.append(outcome.findings["variants"]["scratch"]["weights_sha256"])
    assert digests[0] == digests[1]


@pytest.mark.rule("PAR-1")
@pytest.mark.parametrize("cases", [1, 2, 5])
def test_shares_of_a_batch_are_the_batch(cases: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = batch((8, 8, 8), cases=cases)
    parts = []
    for rank in range(2):
        monkeypatch.setattr(parallel, "world", lambda rank=rank: (rank, 2))
        part = parallel.share(whole)
        parts += [] if part is None else [part.images]
    assert sum(len(part) for part in parts) == cases
    images = torch.cat(parts)
    assert {tuple(image.flatten().tolist()) for image in images} == {
        tuple(image.flatten().tolist()) for image in whole.images
    }


@pytest.mark.rule("PAR-2")
def test_a_network_that_looks_across_a_batch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = torch.nn.Sequential(torch.nn.Conv3d(1, 1, 1), torch.nn.BatchNorm3d(1))
    parallel.check_shares(module)
    monkeypatch.setattr(parallel, "world", lambda: (0, 2))
    with pytest.raises(WrongUse, match="several processes"):
        parallel.check_shares(module)
