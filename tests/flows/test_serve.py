"""Schedules and triggers against a real Prefect server process."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from helpers_project import Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def _until(what: Callable[[], object], seconds: float, told: str) -> object:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(1)
    raise AssertionError(f"waited {seconds} s for: {told}")


@contextmanager
def _process(
    command: list[str], environment: dict[str, str], folder: Path, log: Path
) -> Iterator[None]:
    with log.open("w") as file:
        child = subprocess.Popen(command, env=environment, cwd=folder, stdout=file, stderr=file)
        try:
            yield
        finally:
            child.terminate()
            try:
                child.wait(30)
            except subprocess.TimeoutExpired:
                child.kill()


def _post(url: str, body: object) -> object:
    answer = httpx.post(url, json=body, timeout=10).raise_for_status()
    return answer.json() if answer.content else None


def test_the_schedule_fires_and_the_event_starts_a_run(project: Project, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    api = f"http://127.0.0.1:{port}/api"
    environment = project.environment() | {
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_API_URL": api,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "KETTE_SCHEDULE": "* * * * *",
    }
    server = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port), "--no-ui"]
    log = tmp_path / "serve.log"

    def healthy() -> bool:
        try:
            return httpx.get(f"{api}/health", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def runs(name: str) -> list[str]:
        body = {"deployments": {"name": {"any_": [name]}}}
        found = _post(f"{api}/flow_runs/filter", body)
        assert isinstance(found, list)
        return [run["state_type"] for run in found]

    def deployments(name: str) -> list[dict[str, Any]]:
        found = _post(f"{api}/deployments/filter", {"deployments": {"name": {"any_": [name]}}})
        assert isinstance(found, list)
        return found

    def packaged() -> int:
        told = project.call("audit", "show", "--stage", "package", "--json").stdout
        return len(json.loads(told)["records"])

    with _process(server, environment, tmp_path, tmp_path / "server.log"):
        _until(healthy, 120, "the server")
        with _process(project.command("serve"), environment, project.folder, log):
            name = "kette-phantom-scheduled"
            _until(lambda: "COMPLETED" in runs(name), 420, "the scheduled run")
            before = packaged()
            assert before >= 1
            event = {
                "id": "00000000-0000-4000-8000-000000000001",
                "occurred": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "event": "kette.finding.approved",
                "resource": {"prefect.resource.id": "kette.project.kette-phantom"},
                "payload": {},
            }
            _post(f"{api}/events", [event])
            (proof,) = deployments("kette-phantom-proof")
            assert [row["schedule"]["cron"] for row in proof["schedules"]] == ["0 4 * * 0"]
            name = "kette-phantom-finding"
            _until(lambda: "COMPLETED" in runs(name), 300, "the run that the event starts")
            told = project.call("audit", "show", "--json").stdout
            assert "reused" in told
    project.call("audit", "verify")
    assert (project.folder / "releases" / "candidate").is_dir()
