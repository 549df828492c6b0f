"""Prefect for one command: its home, its settings, and an API that ends with this process.

Prefect's own temporary server is a process of its own, which a killed run leaves behind. Here the
same server runs in a thread of this process, so nothing outlives it. With `PREFECT_API_URL` set,
that server is used instead.

Rules:

- ORC-1  Telemetry is off; Prefect's home is `.kette/prefect` unless `PREFECT_HOME` names another.
- ORC-2  Deleting Prefect's home loses no evidence and changes no result.
- ORC-3  Flow runs that a killed command left as Running are marked Crashed by the next command.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from audit.errors import Fault
from stages.project import Place

START_SECONDS = 60


def prepare(place: Place) -> None:
    """Set Prefect's variables; call it before `prefect` is imported for the first time."""
    place.prefect.mkdir(parents=True, exist_ok=True)
    for name, value in {
        "PREFECT_HOME": str(place.prefect),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT_CLI_PROMPT": "false",
    }.items():
        os.environ.setdefault(name, value)


@contextmanager
def api(place: Place) -> Iterator[str]:
    """Serve Prefect's API for the time of the block; gives its URL.

    Raises:
        Fault: the server did not start.
    """
    prepare(place)
    if url := os.environ.get("PREFECT_API_URL"):
        yield url
        return
    os.environ["PREFECT_SERVER_EPHEMERAL_ENABLED"] = "false"
    import uvicorn
    from prefect.server.api.server import create_app
    from prefect.settings import PREFECT_API_URL, temporary_settings

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
    server = uvicorn.Server(
        uvicorn.Config(create_app(ephemeral=True), log_level="error", lifespan="on")
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        _wait(server, thread)
        with temporary_settings({PREFECT_API_URL: url}):
            if os.environ["PREFECT_HOME"] == str(place.prefect):
                _close_abandoned()
            yield url
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


def _wait(server: object, thread: threading.Thread) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not getattr(server, "started", False):
        if not thread.is_alive() or time.monotonic() > deadline:
            raise Fault(
                "Prefect's server did not start.",
                "Delete `.kette/prefect` (no evidence is lost) and run again.",
            )
        time.sleep(0.02)


def _close_abandoned() -> None:
    """Mark as Crashed what a killed command left behind (ORC-3).

    Only for the project's own home, which the caller holds alone with the project's run lock.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.states import Crashed

    with get_client(sync_client=True) as client:
        left = FlowRunFilter.model_validate({"state": {"type": {"any_": ["RUNNING", "PENDING"]}}})
        for run in client.read_flow_runs(flow_run_filter=left):
            client.set_flow_run_state(
                run.id, Crashed(message="The command was killed."), force=True
            )
