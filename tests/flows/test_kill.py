"""SIGKILL in each stage, then the same command: it finishes as if nothing had happened."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers_project import Project, make

from stages.runner import CHAIN
from stages.store import Store

pytestmark = pytest.mark.timeout(900)
KILLER = Path(__file__).parent / "killer.py"
PLACES = [("work", name) for name in CHAIN] + [
    ("append", name) for name in ("ingest", "train", "package")
] + [("merge", "annotate")]  # fmt: skip


def _kill(project: Project, place: str, stage: str, *words: str) -> None:
    command = [sys.executable, str(KILLER), place, stage, "run", "--json", *words]
    done = subprocess.run(
        command, cwd=project.folder, env=project.environment(), capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def _orphans(project: Project) -> list[str]:
    """Processes that still have this project's home in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if str(project.home).encode() in path.read_bytes():
                found.append((path.parent / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def _entries(project: Project) -> dict[str, str]:
    store = Store(project.folder / ".kette" / "store")
    return {e.key: e.digest for e in store.entries()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "places", [PLACES[:4], PLACES[4:7], PLACES[7:]], ids=["early", "late", "between"]
)
def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path, cohort, places):
    whole = make(tmp_path / "whole", cohort)
    whole.run()
    measured = whole.folder / "releases" / "candidate" / "measurements.json"
    killed = make(tmp_path / "killed", cohort)
    words = ("--measurements", str(measured))
    for place, stage in places:
        _kill(killed, place, stage, *words)
        time.sleep(2)  # workers watch the coordinator; give the system time to tell them
        assert _orphans(killed) == []
    killed.run(*words)
    assert _entries(killed) == _entries(whole)
    killed.call("audit", "verify")
    records = json.loads(killed.call("audit", "show", "--json").stdout)["records"]
    recorded = {row["key"] for row in records}
    assert set(_entries(killed)) <= recorded
    if ("append", "train") in places:
        assert "recovered" in {row["status"] for row in records}


def test_a_run_killed_before_its_record_recovers_it(tmp_path, cohort):
    project = make(tmp_path, cohort)
    _kill(project, "append", "ingest", "--until", "ingest")
    project.run("--until", "ingest")
    records = json.loads(project.call("audit", "show", "--json").stdout)["records"]
    assert "recovered" in {row["status"] for row in records}
    assert set(_entries(project)) <= {row["key"] for row in records}
    project.call("audit", "verify")
