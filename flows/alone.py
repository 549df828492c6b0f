"""One stage alone, in a pool of processes, without Prefect."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from audit.errors import Refused, WrongUse
from flows.chain import open_chain
from stages.stage import Json
from stages.store import publish_folder

Say = Callable[[str, float], None]


def run_alone(
    name: str, project: Path, sources: Sequence[Path], out: Path | None, say: Say
) -> tuple[Json, Refused | None]:
    """Run one stage; those before it must be here already, unchanged.

    Args:
        name: the stage.
        project: folder of the project.
        sources: incoming studies, if not the machine's.
        out: a folder that gets a copy of what the stage made; must not be there yet.
        say: progress.

    Returns:
        The fields of `--json` (the stage's findings, its key, status and gate), and the refusal
        of its gate.

    Raises:
        WrongUse: a stage before would have to run first, or `out` is there already.
        Refused: the gate of a stage before refused.
    """
    if out is not None and out.exists():
        raise WrongUse("The folder given with `--out` is there already.", "Name a new one.")
    refused: Refused | None = None
    with open_chain(project, first=name, until=name, sources=sources, say=say) as chain:
        for stage in chain.stages:
            planned = chain.plan(stage)
            with ThreadPoolExecutor(chain.run.machine.workers) as threads:
                for number, _ in enumerate(
                    threads.map(lambda unit, p=planned: chain.run.execute(p, unit), planned.todo), 1
                ):
                    say(f"{stage}: units", number / len(planned.todo))
            try:
                chain.finish(planned)
            except Refused as error:
                if stage != name:
                    raise
                refused = error
        result = chain.run.results[name]
        if out is not None:
            store = chain.run.store
            artifact = result.artifact

            def fill(folder: Path) -> None:
                for unit, digest in artifact.units.items():
                    shutil.copytree(store.get(digest), folder / unit)
                shutil.copytree(store.get(artifact.merged), folder / "merged")

            publish_folder(out.absolute(), fill)
        row = chain.rows()[-1]
        merged = chain.run.store.get(result.artifact.merged)
        found = {
            **result.findings,
            **_lists(name, merged),
            "stage": name,
            "key": row.key,
            "status": row.status,
            "seconds": row.seconds,
            "gate": row.gate,
            "checks": [check.model_dump(mode="json") for check in result.gate.checks],
            "digest": result.artifact.digest,
        }
        return found, refused


def _lists(name: str, merged: Path) -> Json:
    """The rows that a record only counts: quarantined files, the queue of reviews."""
    from stages.table import read_table

    if name == "ingest":
        rows = read_table(merged / "quarantine.parquet")
        return {"quarantined": [{"digest": r["input_sha256"], "reason": r["reason"]} for r in rows]}
    if name == "annotate":
        return {"queue": read_table(merged / "queue.parquet")}
    return {}
