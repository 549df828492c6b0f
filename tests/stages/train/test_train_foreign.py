"""Foreign weights in a training: found by digest, taken by name, told; or nothing is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_cohort import make_cohort
from helpers_pretrained import gadgets, source_of
from helpers_train import NETWORK, parameters
from safetensors.torch import save

from audit.errors import Refused, WrongUse
from stages.network import assemble
from stages.pretrained_params import PretrainedSource, Weights
from stages.stage import MergeContext, PlanContext, RunContext, Upstream, Verdict
from stages.table import read_table
from stages.train.params import Parameters
from stages.train.stage import STAGE


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cohort(tmp_path_factory.mktemp("foreign") / "cohort", {"train": 2, "validation": 1})


def _params(source: PretrainedSource, **train: Any) -> Parameters:
    variants = train.pop("variants", ("scratch", "finetuned"))
    params = parameters(variants=variants, pretrained="theirs", epochs=1, **train)
    return params.model_copy(update={"weights": Weights(sources={"theirs": source})})


def _plan(params: Parameters, cohort: Path, project: Path, *, dry: bool = False) -> Any:
    dataset = Upstream(units={"cohort": ("a" * 64, cohort)}, merged=("b" * 64, cohort))
    home = project / "home"
    context = PlanContext(params, {"dataset": dataset}, dry=dry, project=project, home=home)
    return STAGE.plan(context).units[0]


def _theirs(channels: int = 5) -> dict[str, torch.Tensor]:
    torch.manual_seed(11)
    return assemble(NETWORK, parameters().volume, channels=channels).state_dict()


def _written(project: Path, data: bytes, **changes: Any) -> PretrainedSource:
    (project / "theirs.safetensors").write_bytes(data)
    return source_of(data, uri="theirs.safetensors", **changes)


@pytest.mark.rule("TRN-4")
@pytest.mark.rule("TRN-12")
def test_a_variant_starts_from_declared_weights_and_the_record_shows_them(
    cohort: Path, tmp_path: Path
) -> None:
    weights = {f"module.{name}": tensor.contiguous() for name, tensor in _theirs().items()}
    source = _written(tmp_path, save(weights), prefix="module.")
    params = _params(source)
    unit = _plan(params, cohort, tmp_path)
    assert unit.inputs["source/weights/theirs"] == source.sha256
    out, merged = tmp_path / "out", tmp_path / "merged"
    out.mkdir()
    merged.mkdir()
    STAGE.run(unit, RunContext(params, {"dataset/cohort": cohort}, out))
    result = json.loads((out / "finetuned" / "result.json").read_bytes())
    assert result["start"] == "theirs"
    assert result["new_tensors"] == ["conv_final.2.conv.bias", "conv_final.2.conv.weight"]
    told = json.loads((out / "weights" / "theirs.json").read_bytes())
    assert told["import"]["source_sha256"] == source.sha256
    assert {row["target"] for row in told["match"]["taken"]} == {
        name for name in _theirs() if not name.startswith("conv_final")
    }
    assert {row["target"] for row in told["match"]["mismatched"]} == set(result["new_tensors"])
    outcome = STAGE.merge(MergeContext(params, {"variants": out}, {}, {}, merged))
    found = [check for check in outcome.gate.checks if check.rule == "TRN-12"]
    assert found
    assert all(check.verdict is Verdict.FINDINGS and check.remedy for check in found)
    rows = read_table(merged / "comparison.parquet")
    assert [row["variant"] for row in rows] == ["scratch", "finetuned"]


@pytest.mark.rule("TRN-4")
def test_zero_shot_use_answers_with_the_sources_own_head(cohort: Path, tmp_path: Path) -> None:
    theirs = {name: tensor.contiguous() for name, tensor in _theirs(3).items()}
    params = _params(_written(tmp_path, save(theirs)), variants=("zero-shot",))
    out = tmp_path / "out"
    out.mkdir()
    STAGE.run(_plan(params, cohort, tmp_path), RunContext(params, {"dataset/cohort": cohort}, out))
    result = json.loads((out / "zero-shot" / "result.json").read_bytes())
    assert result["new_tensors"] == []
    assert result["trained_parameters"] == 0


def test_looking_at_what_would_run_needs_no_file(cohort: Path, tmp_path: Path) -> None:
    source = source_of(b"not here", uri="theirs.safetensors")
    unit = _plan(_params(source), cohort, tmp_path, dry=True)
    assert unit.inputs["source/weights/theirs"] == source.sha256
    with pytest.raises(WrongUse, match="no file"):
        _plan(_params(source), cohort, tmp_path)


@pytest.mark.parametrize("kind", sorted(gadgets("x")))
def test_a_malicious_file_trains_nothing(cohort: Path, tmp_path: Path, kind: str) -> None:
    canary = tmp_path / "executed"
    params = _params(_written(tmp_path, gadgets(str(canary))[kind]))
    unit = _plan(params, cohort, tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(Refused):
        STAGE.run(unit, RunContext(params, {"dataset/cohort": cohort}, out))
    assert not canary.exists()
    assert not list(out.glob("*/model.safetensors"))


def test_a_wrong_digest_or_license_is_refused_while_planning(cohort: Path, tmp_path: Path) -> None:
    data = save({"weight": torch.zeros(1)})
    wrong = _written(tmp_path, data).model_copy(update={"sha256": "0" * 64})
    with pytest.raises(Refused):
        _plan(_params(wrong), cohort, tmp_path)
    closed = _written(tmp_path, data, license="CC-BY-NC-4.0")
    with pytest.raises(Refused, match="licen"):
        _plan(_params(closed), cohort, tmp_path)


def test_weights_of_which_nothing_fits_are_refused(cohort: Path, tmp_path: Path) -> None:
    params = _params(_written(tmp_path, save({"another.weight": torch.zeros(3)})))
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(Refused, match="takes no tensor"):
        STAGE.run(
            _plan(params, cohort, tmp_path), RunContext(params, {"dataset/cohort": cohort}, out)
        )
