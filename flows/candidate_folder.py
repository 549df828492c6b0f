"""What lies in `releases/candidate/`: the bundle, and beside it all that proves and rebuilds it.

<name>-<version>.zip, report.html   what `package` made
measurements.json                   key → what was measured under it
ladder.json                         a digest for each rung from inputs to archive
cited/                              ingestion, cited for a rebuild
evidence/                           records, and the checkpoint over them
"""

from __future__ import annotations

import shutil
from pathlib import Path

from audit import evidence
from audit.canonical import canonical_json
from audit.keys import PUBLIC
from flows.from_release import FromRelease
from stages import citation
from stages.ladder import Ladder
from stages.lock import environment, installed
from stages.rungs import ladder_of
from stages.runner import Run

NUMERIC = ("train/variants", "assess/test", "optimize/targets")
TREES = ("dataset/cohort", "train", "assess", "package/bundle", *NUMERIC)
"""Labels of the trees that a ladder is read from."""


def fill(folder: Path, run: Run, release: FromRelease | None) -> None:
    """Lay a finished chain's candidate into an empty folder."""
    recorder = run.recorder
    ladder = ladder_from(run, release)
    bundle = run.store.get(run.results["package"].artifact.units["bundle"], check=True)
    for path in bundle.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    recorder.checkpoint()
    (folder / "measurements.json").write_bytes(canonical_json(recorder.measurements(run.keys)))
    (folder / "ladder.json").write_bytes(canonical_json(ladder.model_dump(mode="json")))
    if release is None:
        inputs = dict(ladder.parts("inputs"))
        citation.write(folder / citation.CITED, run.results["ingest"], run.store, inputs)
    else:
        shutil.copytree(release.cited, folder / citation.CITED)
    indexes = recorder.indexes(run.keys)
    evidence.export(recorder.ledger, indexes, folder / "evidence", run.place.keys / PUBLIC)


def ladder_from(run: Run, release: FromRelease | None) -> Ladder:
    """The ladder of a finished chain."""
    trees = {}
    for label in TREES:
        stage, _, unit = label.partition("/")
        artifact = run.results[stage].artifact
        trees[label] = run.store.get(artifact.units[unit] if unit else artifact.merged)
    code = {name: run.planner.code(name) for name in run.results}
    if release is None:
        cohort = run.store.manifest(run.results["dataset"].artifact.units["cohort"])
        inputs = {entry.path: entry.sha256 for entry in cohort.files}
    else:
        inputs = dict(release.files)
        code["ingest"] = dict(release.citation.code)  # it did not run
    return ladder_of(
        trees,
        inputs=inputs,
        parameters=run.planner.resolved(),
        code=code,
        environment=_environment(run),
        settings={"loader_workers": run.machine.loader_workers, "workers": run.machine.workers},
        missing=release.missing if release else (),
    )


def _environment(run: Run) -> dict[str, str]:
    """What is installed of the lock, and what the numeric workers told of themselves."""
    here = installed()
    found = {
        f"library {name}": here.get(name, f"{pin} in the lock, not installed")
        for name, pin in run.planner.pins.items()
    }
    found |= environment()
    told: dict[str, set[str]] = {}
    for label in NUMERIC:
        stage, _, unit = label.partition("/")
        entry = run.store.entry(run.results[stage].keys[unit])
        for name, value in (entry.environment if entry else {}).items():
            told.setdefault(name, set()).add(value)
    return found | {name: ", ".join(sorted(values)) for name, values in sorted(told.items())}
