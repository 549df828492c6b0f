"""Schedules and triggers: the chain as Prefect deployments.

- `candidate/<project>-scheduled` runs on the cron expression of the machine settings
  (`KETTE_SCHEDULE`).
- `candidate/<project>-finding` runs when the event `kette.finding.approved` arrives at the Prefect
  server that `PREFECT_API_URL` names (events need a server: `prefect server start`).
- `reproduce/<project>-proof` reproduces the newest release, weekly (`KETTE_PROOF_SCHEDULE`).

The first two end with a candidate. A release is a decision of its own.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Coroutine
from pathlib import Path

from audit.errors import WrongUse
from flows import console, orchestrator
from flows.chain import place_of
from stages.project import Machine

APPROVED = "kette.finding.approved"


def serve(project: Path, *, as_json: bool) -> None:
    """Register the deployments and run them until stopped.

    Raises:
        WrongUse: no server is named.
    """
    machine = Machine.here()
    place, _ = place_of(project, machine)
    orchestrator.prepare(place)
    if not os.environ.get("PREFECT_API_URL"):
        raise WrongUse(
            "Schedules and triggers need a Prefect server.",
            "Start one (`prefect server start`) and set PREFECT_API_URL to its `/api` address.",
        )
    from prefect import serve as prefect_serve
    from prefect.events import DeploymentEventTrigger
    from prefect.events.schemas.events import ResourceSpecification

    from flows.release import candidate
    from flows.reproduce import reproduce

    parameters = {"project": str(place.project)}
    resource = {"prefect.resource.id": f"kette.project.{place.name}"}
    trigger = DeploymentEventTrigger(
        name=f"{place.name}: approved finding",
        expect={APPROVED},
        match=ResourceSpecification(resource),
        parameters=parameters,
    )
    name = f"{place.name}-scheduled"
    scheduled = candidate.to_deployment(name, parameters=parameters, cron=machine.schedule)
    name = f"{place.name}-finding"
    finding = candidate.to_deployment(name, parameters=parameters, triggers=[trigger])
    assert not isinstance(scheduled, Coroutine)  # noqa: S101 - outside a loop it is never one
    assert not isinstance(finding, Coroutine)  # noqa: S101 - as above
    name = f"{place.name}-proof"
    proof = reproduce.to_deployment(name, parameters=parameters, cron=machine.proof_schedule)
    assert not isinstance(proof, Coroutine)  # noqa: S101 - as above
    names = [scheduled.name, finding.name, proof.name]
    console.show(
        {"deployments": names, "event": APPROVED},
        as_json=as_json,
        text=lambda: console.line(f"serving {', '.join(names)}; stop with Ctrl-C"),
    )
    sys.stdout.flush()
    with contextlib.redirect_stdout(sys.stderr):
        prefect_serve(scheduled, finding, proof, limit=1, print_starting_message=False)
