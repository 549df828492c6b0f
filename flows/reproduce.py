"""The scheduled proof: the newest release, reproduced; a finding where it is not.

Rules:

- PRF-1  What is proven is the highest version that was not withdrawn; without one, nothing is done.
- PRF-2  A level that is not reached, or a fault on the way there, becomes a record of the ledger
         (`finding.raised`) and the event `kette.finding.raised`; the flow ends as failed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.events import emit_event

from audit.errors import KetteError, Refused
from audit.statement import event
from flows.git import Repository
from flows.history import history, standing
from flows.ledger import open_ledger
from flows.reference import newest
from flows.reproduced import Reproduction
from flows.reproduction import reproduce as work
from flows.witness import testify

RAISED = "kette.finding.raised"
RULE = "reproducible"
"""Of the finding: the newest release can be brought back."""


@flow(name="reproduce", validate_parameters=False, persist_result=False, log_prints=False)
def reproduce(project: str) -> dict[str, str | None]:
    """Reproduce the newest release of a project (PRF-1, PRF-2).

    Raises:
        Refused: the release was not reproduced to the level expected.
        KetteError: what hindered it.
    """
    folder = Path(project)
    version = _newest(folder)
    if version is None:
        return {"version": None, "level": None}
    try:
        found = work(folder, version)
    except KetteError as error:
        _raise_finding(folder, version, error.what)
        raise
    _show(found)
    if not found.reached:
        told = f"{found.level or 'no level'} instead of {found.asked}"
        if found.first_difference:
            told += f", first difference: {found.first_difference}"
        _raise_finding(folder, version, told)
        raise Refused(
            f"Version {version} was not reproduced: {told}.",
            "Read the page in `.kette/reproductions/`; `docs/reproduce.md` says what to do.",
        )
    return {"version": version, "level": found.level}


def _newest(folder: Path) -> str | None:
    """The highest version that was not withdrawn."""
    ledger, place, _ = open_ledger(folder)
    repository, known = Repository(place.project), history(ledger)
    gone: set[str] = set()
    while (version := newest(repository, place.name, without=gone)) is not None:
        if standing(repository, place.name, version, known).state != "withdrawn":
            return version
        gone.add(version)
    return None


def _raise_finding(folder: Path, version: str, what: str) -> None:
    """Tell it to the ledger and to Prefect."""
    _, place, _ = open_ledger(folder)
    details = {"rule": RULE, "what": what, "version": version}
    testify(folder, event("finding.raised", at=datetime.now(UTC), details=details))
    emit_event(RAISED, {"prefect.resource.id": f"kette.project.{place.name}"}, payload=details)


def _show(found: Reproduction) -> None:
    create_table_artifact(
        key="reproduction",
        description=f"{found.tag}: {found.level or 'no level'}, {found.asked} expected",
        table=[
            {"rung": rung["name"], "equal": rung["equal"], "differs": ", ".join(rung["differs"])}
            for rung in found.rungs
        ],
    )
