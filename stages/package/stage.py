"""`package`: everything that was made and found → one release archive and its report.

In: the merged trees of every earlier stage, the dataset, the variants, the test's predictions, the
models for the targets; and, as facts, what was measured.
Out: `<project>-<version>.zip`, shaped as a MONAI bundle, and `report.html`; merged: `release.json`.

Rules:

- PKG-1  The archive and the report are the same bytes from the same inputs: no clock, host, user,
         folder or chance enters them; what was measured enters as a recorded input.
- PKG-2  The archive's `manifest.json` names size and SHA-256 of every other member, and the archive
         is exactly what our writer makes of these members, so that any changed bit shows.
- PKG-3  Gate: every part of a release is there.
- PKG-4  Gate: no member shows an absolute path of the machine that made it.
- PKG-5  Gate: the bill of materials holds every distribution that the software needs, with version.
- PKG-6  Signatures stand beside the archive, never in it, so a release can be rebuilt bit for bit.
- PKG-7  The report stands alone: it fetches nothing, runs no script, and escapes every text.
- PKG-8  Nothing in the archive is pickled: weights are safetensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from stages.package.params import Parameters
from stages.stage import (
    Check,
    Gate,
    MergeContext,
    Outcome,
    Plan,
    PlanContext,
    RunContext,
    Stage,
    Unit,
    Verdict,
)

UNIT = "bundle"
REPORT = "report.html"
AFTER = ("ingest", "annotate", "dataset", "train", "assess", "optimize")
UNITS = ("dataset/cohort", "train/variants", "assess/test", "optimize/targets")
"""Units whose trees give files to the release."""


def plan(ctx: PlanContext[Parameters]) -> Plan:
    """One unit, of all that the stages before made."""
    inputs = {stage: ctx.upstream[stage].merged[0] for stage in AFTER}
    for label in UNITS:
        stage, _, unit = label.partition("/")
        inputs[label] = ctx.upstream[stage].units[unit][0]
    checks = [
        {"stage": stage, **check.model_dump(mode="json")}
        for stage, gate in ctx.gates.items()
        for check in gate.checks
    ]
    facts = {"measured": dict(ctx.measured), "checks": checks, "parameters": ctx.resolved}
    return Plan((Unit(UNIT, inputs, facts=facts),))


def run(unit: Unit, ctx: RunContext[Parameters]) -> Outcome:
    """Compose the report, collect the members, write the archive."""
    from stages.archive import write_zip
    from stages.package import contents, results
    from stages.package.document import render
    from stages.package.measured import Facts
    from stages.package.overlays import overlays
    from stages.package.report import compose

    params, package = ctx.params, ctx.params.package
    facts = Facts(**unit.facts)
    found = results.read(ctx.trees)
    made = contents.models(ctx.trees)

    ctx.say("drawing the report", 0.1)
    cohort, test = ctx.trees["dataset/cohort"], ctx.trees["assess/test"]
    pictures = overlays(
        cohort, test, found.scores, task=params.task, volume=params.volume, n=package.overlays
    )
    document = compose(
        params,
        found,
        facts,
        pictures=tuple(pictures),
        inputs=unit.inputs,
        models=contents.digests(made),
    )
    report = render(document)

    ctx.say("writing the archive", 0.8)
    bundle = contents.config(params, found, ctx.trees)
    members = contents.whole(
        params, found, made, bundle=bundle, report=report, parameters=facts.parameters
    )
    write_zip(ctx.out / archive_name(params), members.items())
    (ctx.out / REPORT).write_bytes(report)
    return Outcome(findings={"members": len(members), "targets": list(bundle.models)})


def merge(ctx: MergeContext[Parameters]) -> Outcome:
    """Say which archive is the release; hold it against the rules."""
    from audit.canonical import canonical_json
    from stages.artifact import digest_file
    from stages.package.verify import members_of

    folder = ctx.units[UNIT]
    name = archive_name(ctx.params)
    members = members_of(folder / name)
    release = {
        "schema_version": 1,
        "bundle": name,
        "sha256": digest_file(folder / name),
        "version": ctx.params.package.version,
        "report": REPORT,
    }
    (ctx.out / "release.json").write_bytes(canonical_json(release))
    places = [str(folder), str(ctx.out), str(Path(__file__).parents[2])]
    gate = Gate(checks=(_parts(members), _leaks(members, places), _bill(members)))
    return Outcome(findings={"bundle": name, "sha256": release["sha256"]}, gate=gate)


def archive_name(params: Parameters) -> str:
    """The archive's file name."""
    return f"{params.project.name}-{params.package.version}.zip"


def _parts(members: Mapping[str, bytes]) -> Check:
    from stages.package.contents import REQUIRED

    missing = [name for name in REQUIRED if not members.get(name)]
    return Check(
        rule="PKG-3",
        figure=f"missing: {', '.join(missing)}" if missing else f"{len(members)} members",
        limit=f"{len(REQUIRED)} required members (fixed)",
        verdict=Verdict.REFUSED if missing else Verdict.PASSED,
        remedy="Run the stages that make them again." if missing else "",
    )


def _leaks(members: Mapping[str, bytes], places: list[str]) -> Check:
    from stages.package.leaks import leaks

    found = leaks(members, places)
    return Check(
        rule="PKG-4",
        figure=f"paths in: {', '.join(found)}" if found else "no absolute path",
        limit="none (fixed)",
        verdict=Verdict.REFUSED if found else Verdict.PASSED,
        remedy="Find the stage that wrote the path, and run it again." if found else "",
    )


def _bill(members: Mapping[str, bytes]) -> Check:
    from stages.package.contents import SBOM
    from stages.package.sbom import missing

    lacking, listed = missing(members.get(SBOM, b""))
    return Check(
        rule="PKG-5",
        figure=f"missing: {', '.join(lacking)}" if lacking else f"{listed} distributions",
        limit="every distribution that `kette` requires (fixed)",
        verdict=Verdict.REFUSED if lacking else Verdict.PASSED,
        remedy="Install the lock, then run `package` again." if lacking else "",
    )


STAGE = Stage(
    name="package",
    parameters=Parameters,
    after=AFTER,
    plan=plan,
    run=run,
    merge=merge,
)
