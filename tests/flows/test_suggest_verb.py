"""`kette suggest`: a fragment of parameters for a cohort on disk, with reasons, within budget."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers_cohort import make_cohort
from helpers_dicom import TASK
from helpers_project import micro_parameters
from typer.testing import CliRunner

from audit.errors import WrongUse
from flows.verbs.suggest import app
from stages.params import Network, Volume


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    parameters: dict[str, Any] = micro_parameters() | {"task": TASK.model_dump(mode="json")}
    parameters["network"] = {"_target_": "monai.networks.nets.DynUNet"}
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters), "utf-8")
    make_cohort(folder / "data", {"test": 1, "train": 2, "validation": 1})
    return folder


def _run(project: Path, *words: str) -> str:
    done = CliRunner().invoke(app, ["--project", str(project), *words], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


@pytest.mark.rule("SUG-3")
def test_the_fragment_is_valid_and_changes_nothing(project: Path) -> None:
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    text = _run(project, "--memory-mib", "2000")
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before
    found = yaml.safe_load(text)
    volume = Volume.model_validate(found["volume"])
    network = Network.model_validate(found["network"])
    assert volume.patch == (8, 16, 16), "the phantom's series, whole"
    assert network.arguments["filters"] == (32, 64, 128)
    assert found["train"]["batch"] >= 2
    assert text.count("  # ") == 6, "a reason for every choice"


def test_json_holds_fingerprint_and_plan(project: Path) -> None:
    result = json.loads(_run(project, "--json", "--memory-mib", "2000"))
    assert result["memory_mib"] == 2000
    assert result["training_mib"] <= 2000
    assert result["fingerprint"]["labeled"] == 3
    assert result["volume"]["patch"] == [8, 16, 16]


def test_a_project_without_data_is_told_what_to_do(project: Path, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes((project / "params.yaml").read_bytes())
    with pytest.raises(WrongUse, match="no dataset yet"):
        CliRunner().invoke(app, ["--project", str(tmp_path)], catch_exceptions=False)
