"""The verb that plans: from the cohort and a memory budget to a fragment of `params.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows import console
from flows.verbs.options import HERE, JsonOption, ProjectOption

if TYPE_CHECKING:
    from stages.suggest import Plan

app = typer.Typer()


@app.command()
def suggest(
    *,
    memory: Annotated[
        int | None,
        typer.Option(
            "--memory-mib", min=1, help="Budget of one process; default: 3/4 of this machine's."
        ),
    ] = None,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Suggest volume, network and batch that fit the cohort and the memory."""
    import os

    from audit.errors import WrongUse
    from flows.chain import place_of
    from flows.parameters import load
    from stages.fingerprint import read_fingerprint
    from stages.project import Machine
    from stages.suggest import suggest as plan_for
    from stages.suggest_volume import target_spacing
    from stages.training_memory import training_mib

    place, _ = place_of(project, Machine.here())
    params = load(place.params)
    if not (place.data / "splits.parquet").is_file():
        raise WrongUse(
            "The project has no dataset yet.",
            "Run `kette run --until dataset` first, or fetch `data/` with DVC.",
        )
    budget = memory or int(0.75 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20)
    found = read_fingerprint(place.data, params.task)
    structures, classes = params.task.structures, params.task.classes
    channels = len(structures) + 1 if structures else len(classes)
    spacing = target_spacing(found)[0]
    target = params.network.target
    with console.progress() as say:
        tried = 0

        def estimate(given: Mapping[str, Any], patch: tuple[int, int, int], batch: int) -> int:
            nonlocal tried
            tried += 1
            say(f"estimating {target.rpartition('.')[2]}, patch {patch}", 1 - 0.9**tried)
            return training_mib(
                target, given, channels_out=channels, patch=patch, batch=batch, spacing_mm=spacing
            )

        plan = plan_for(
            found,
            target=target,
            given=params.network.arguments,
            channels_out=channels,
            memory_mib=budget,
            estimate=estimate,
        )
    console.show(
        {"memory_mib": budget, "fingerprint": found.summary(), **asdict(plan)},
        as_json=as_json,
        text=lambda: console.line(fragment(plan, budget)),
    )


def fragment(plan: Plan, memory_mib: int) -> str:
    """The plan as a fragment of `params.yaml`, each key below its reason."""
    need = f"training takes about {plan.training_mib}, labeling {plan.labeling_mib}"
    lines = [
        f"# Suggested for {memory_mib} MiB: {need}.",
        "# Review it, put it in place of these keys in params.yaml, and commit.",
    ]
    sections = (("volume", plan.volume), ("network", plan.network), ("train", plan.train))
    for name, section in sections:
        lines += ["", f"{name}:"]
        for key, value in section.items():
            reason = plan.reasons.get(f"{name}.{key}")
            lines += [f"  # {reason}"] if reason else []
            lines.append(f"  {key}: {_yaml(value)}")
    return "\n".join(lines)


def _yaml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_yaml(item) for item in value) + "]"
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    return str(value)
