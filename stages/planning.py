"""Planning: from parameters and what the stages before made to units, their keys and their jobs.

Rules:

- PLN-1  Planning runs nothing and records nothing; it reads the store alone. Only `ingest` is given
         sources, vault, which instances are its own outputs (`own.py`) and workers to look at many
         files, and only `package` what was measured and how gates ended.
- PLN-2  The order of keys in facts, notes and parameters decides nothing: stages get them sorted.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from audit.canonical import canonical_json, digest_json
from audit.errors import KetteError, WrongUse
from audit.ledger import Ledger
from stages.artifact import Digest
from stages.key import class_digests, code_files, key_parts
from stages.own import own_outputs
from stages.params import Params
from stages.planned import Planned, StageResult, external
from stages.pool import SEES_IDENTITIES, Job, load_stage, unexpected
from stages.project import Place
from stages.stage import Json, Plan, PlanContext, Spread, Stage, Unit, Upstream
from stages.store import Store

CHAIN = ("ingest", "annotate", "dataset", "train", "assess", "optimize", "package")
Results = Mapping[str, StageResult]


@dataclass(frozen=True)
class Planner:
    """What planning reads, beside the results of the stages before."""

    place: Place
    sections: Mapping[str, Params]
    sources: tuple[Path, ...]
    pins: dict[str, str]
    """The lock: distribution → version."""
    lock: Digest
    store: Store
    ledger: Ledger
    dry: bool
    """Whether nothing but planning is done: then the vault is not written."""

    def plan(self, name: str, results: Results, spread: Spread = map) -> Planned:
        """Name a stage's units and their keys.

        Args:
            name: of the stage.
            results: of the stages before.
            spread: what `ingest` looks at many files with.

        Raises:
            WrongUse: a stage before has not run with these parameters and inputs.
        """
        started = time.monotonic()
        stage = load_stage(name)
        parameters = self.parameters(stage)
        plan = _planned_safely(stage, self._context(stage, parameters, results, spread))
        classes = self._classes(stage, parameters)
        units = {}
        for planned in sorted(plan.units, key=lambda unit: unit.name):
            unit = replace(planned, facts=in_order(planned.facts))
            parts = key_parts(stage, unit, parameters, self.lock, classes)
            units[unit.name] = (unit, digest_json(parts), parts)
        return Planned(stage, parameters, units, in_order(plan.notes), classes, started)

    def job(self, planned: Planned, name: str, results: Results) -> Job:
        """The call of `run` for one unit."""
        unit, key, parts = planned.units[name]
        return Job(
            stage=planned.stage.name,
            unit=unit,
            key=key,
            parts=parts,
            parameters=planned.parameters,
            trees={x: _tree(x, results) for x in unit.inputs if not external(x)},
            units=None,
            notes={},
            store=self.place.store,
        )

    def merge_job(self, planned: Planned, units: dict[str, Digest], results: Results) -> Job:
        """The call of `merge` on the trees of all units."""
        name = planned.stage.name
        inputs = [label for unit, _, _ in planned.units.values() for label in unit.inputs]
        trees = {x: _tree(x, results) for x in sorted(set(inputs)) if not external(x)}
        of_units = {f"{name}/{unit}": digest for unit, digest in units.items()}
        whole = Unit(name="", inputs=of_units | trees, facts=planned.notes)
        parts = key_parts(planned.stage, whole, planned.parameters, self.lock, planned.classes)
        return Job(
            stage=name,
            unit=whole,
            key=digest_json(parts),
            parts=parts,
            parameters=planned.parameters,
            trees=trees,
            units=units,
            notes=planned.notes,
            store=self.place.store,
        )

    def parameters(self, stage: Stage[Any]) -> Params:
        """The sections that a stage takes."""
        fields = {name: self.sections[name] for name in stage.parameters.model_fields}
        parameters: Params = stage.parameters.model_construct(**fields)
        return parameters

    def code(self, name: str) -> dict[str, Digest]:
        """File or class → digest, of all that a stage's code consists of."""
        stage = load_stage(name)
        classes = self._classes(stage, self.parameters(stage))
        return code_files(name) | {f"class {target}": d for target, d in classes.items()}

    def _classes(self, stage: Stage[Any], parameters: Params) -> dict[str, Digest]:
        return class_digests(stage.classes(parameters), self.place.project, self.pins)

    def _context(
        self, stage: Stage[Any], parameters: Params, results: Results, spread: Spread
    ) -> PlanContext[Params]:
        """What a stage plans from (PLN-1)."""
        upstream = {name: self._upstream(stage.name, name, results) for name in stage.after}
        if stage.name == "ingest":
            return PlanContext(
                parameters,
                upstream,
                self.sources,
                self.place.vault,
                own_outputs(self.ledger.by_key().values(), self.store, self.place.data),
                self.dry,
                spread=spread,
            )
        if stage.name == "train":
            return PlanContext(
                parameters,
                upstream,
                dry=self.dry,
                project=self.place.project,
                home=self.place.home,
            )
        if stage.name != "package":
            return PlanContext(parameters, upstream)
        return PlanContext(
            parameters,
            upstream,
            measured={name: result.measured for name, result in results.items()},
            gates={name: result.gate for name, result in results.items()},
            resolved=self.resolved(),
        )

    def _upstream(self, stage: str, name: str, results: Results) -> Upstream:
        """The artifact of a stage before, as folders."""
        if name not in results:
            raise WrongUse(f"`{stage}` needs `{name}` first.", f"Run `kette run --until {name}`.")
        artifact = results[name].artifact
        return Upstream(
            {unit: (d, self.store.get(d)) for unit, d in artifact.units.items()},
            (artifact.merged, self.store.get(artifact.merged)),
        )

    def resolved(self) -> Json:
        """Every section that some stage takes, defaults included."""
        taken = {name for stage in CHAIN for name in load_stage(stage).parameters.model_fields}
        return {
            name: section.model_dump(mode="json", by_alias=True)
            for name, section in self.sections.items()
            if name in taken
        }


def in_order(value: Json) -> Json:
    """The same JSON with its keys sorted (PLN-2)."""
    ordered: Json = json.loads(canonical_json(value))
    return ordered


def _tree(label: str, results: Results) -> Digest:
    """Digest of the tree that a label names among the stages before."""
    stage, _, unit = label.partition("/")
    artifact = results[stage].artifact
    return artifact.units[unit] if unit else artifact.merged


def _planned_safely(stage: Stage[Any], context: PlanContext[Any]) -> Plan:
    """Plan a stage; an unexpected error of one that sees identities is told without values."""
    try:
        return stage.plan(context)
    except KetteError as error:
        raise error from None
    except Exception as error:
        if stage.name in SEES_IDENTITIES:
            raise unexpected(stage.name, "plan", error) from None
        raise
