"""What a user may do wrong: one clear line, the documented exit code, nothing half-written."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time

from helpers_project import make


def test_a_vault_that_was_lost_is_told_and_not_replaced(tmp_path, cohort):
    project = make(tmp_path, cohort, ingest={"pseudonym_key": "vault"})
    project.call("run", "--until", "ingest")
    vault = project.home / "kette-phantom" / "vault"
    assert vault.is_dir()
    shutil.rmtree(vault)
    told = project.call("run", "--until", "ingest", check=2).stderr
    assert "vault" in told.splitlines()[-1]
    assert not vault.exists()


def test_a_home_inside_the_project_is_refused(tmp_path, cohort):
    project = make(tmp_path, cohort)
    project.home = project.folder / "home"
    told = project.call("run", "--until", "ingest", check=2).stderr
    assert "KETTE_HOME lies inside the project" in told
    assert not project.home.exists()


def test_no_source_is_told(tmp_path, cohort):
    project = make(tmp_path, tmp_path / "nowhere")
    told = project.call("run", "--until", "ingest", check=2).stderr
    assert "Traceback" not in told


def test_a_refused_gate_stops_the_chain_with_exit_code_1(tmp_path, cohort):
    project = make(tmp_path, cohort, annotate={"min_mean_dice": 1.0, "max_queued": 1.0})
    told = project.call("run", check=1).stderr
    assert "annotate refused by ANN-" in told
    shown = project.call("audit", "show", "--json").stdout
    assert '"dataset"' not in shown
    project.call("audit", "verify")


def test_a_stopped_run_ends_its_workers(tmp_path, cohort):
    project = make(tmp_path, cohort)
    child = subprocess.Popen(
        project.command("run", "--json"), cwd=project.folder, env=project.environment(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    time.sleep(12)
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=60)
    assert child.returncode != 0
    project.run("--until", "ingest")
