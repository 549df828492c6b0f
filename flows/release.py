"""The chain, end to end, as a Prefect flow: ingest → … → package.

Prefect owns order and time: it maps units over threads (each waits for a worker process), retries
what the disk refused, and shows the progress. It passes names alone; the store decides what is
reused, so Prefect's own cache is off.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from prefect import flow, runtime, task
from prefect.artifacts import (
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from audit.errors import Transient
from flows.chain import Chain, Summary
from stages.planned import Planned

_CHAINS: dict[str, Chain] = {}
"""Chains at work in this process by handle: what a task needs does not pass through Prefect."""
_PLANNED: dict[str, Planned] = {}

THREADS: TaskRunner[PrefectFuture[Any]] = ThreadPoolTaskRunner(max_workers=16)  # type: ignore[assignment]  # its futures are the concrete class
"""Each thread waits for a worker process; how many of those there are is a machine setting."""


def _may_pass(task: Any, run: Any, state: Any) -> bool:
    """Whether another try may help: after a disk's refusal or a worker's death, nothing else."""
    del task, run
    try:
        state.result()
    except Transient:
        return True
    except Exception:  # noqa: BLE001 - every other error is final
        return False
    return False


@task(
    name="unit", task_run_name="{stage}/{unit}", cache_policy=NO_CACHE, persist_result=False,
    retries=1, retry_delay_seconds=1, retry_condition_fn=_may_pass,
)  # fmt: skip
def run_unit(handle: str, stage: str, unit: str) -> str:
    """One unit of a stage; gives the digest of its tree."""
    return _CHAINS[handle].run.execute(_PLANNED[f"{handle}/{stage}"], unit).digest


@task(name="stage", task_run_name="{stage}: merge", cache_policy=NO_CACHE, persist_result=False)
def merge(handle: str, stage: str) -> str:
    """Merge a stage and hold its gate; gives the digest of its artifact."""
    return _CHAINS[handle].finish(_PLANNED[f"{handle}/{stage}"]).artifact.digest


def _stage(handle: str, name: str) -> None:
    chain = _CHAINS[handle]
    if chain.cites(name):
        chain.cite()
        return
    planned = chain.plan(name)
    _PLANNED[f"{handle}/{name}"] = planned
    if planned.todo:
        progress = create_progress_artifact(0.0, key=f"units-{name}", description=name)
        waiting = run_unit.map(handle, name, planned.todo)
        for number, future in enumerate(waiting, 1):
            future.result()
            update_progress_artifact(progress, 100.0 * number / len(planned.todo))  # type: ignore[arg-type, unused-ignore]
    merge(handle, name)


@flow(
    name="release", validate_parameters=False, persist_result=False, log_prints=False,
    task_runner=THREADS,
)  # fmt: skip
def release(handle: str) -> dict[str, str]:
    """Run a chain that this process has opened; gives stage → artifact digest."""
    chain = _CHAINS[handle]
    for name in chain.stages:
        _stage(handle, name)
    create_table_artifact(
        key="stages",
        table=[
            {"stage": row.name, "status": row.status, "seconds": row.seconds, "gate": row.gate}
            for row in chain.rows()
        ],
    )
    return {name: result.artifact.digest for name, result in chain.run.results.items()}


def run_chain(chain: Chain) -> Summary:
    """Run an opened chain as a flow in this process."""
    handle = f"chain-{os.getpid()}-{id(chain)}"
    _CHAINS[handle] = chain
    try:
        release(handle)
        return chain.summary()
    finally:
        del _CHAINS[handle]
        for name in [name for name in _PLANNED if name.startswith(f"{handle}/")]:
            del _PLANNED[name]


@flow(name="candidate", validate_parameters=False, persist_result=False, log_prints=False)
def candidate(project: str) -> dict[str, str]:
    """Run the chain of a project as a deployment does: on a schedule or on an approved finding.

    Ends with a candidate; a release is a decision of its own.
    """
    from flows.chain import open_chain

    with open_chain(Path(project)) as chain:
        run_chain(chain)
        return {
            "flow_run": str(runtime.flow_run.id),
            "artifact": chain.run.results["package"].artifact.digest,
        }
