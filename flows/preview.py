"""What would run, what would be reused, and why: `kette plan`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from audit.canonical import digest_json
from audit.errors import Refused
from flows.chain import Chain
from stages.planned import Planned
from stages.stage import Json
from stages.store import Entry


@dataclass(frozen=True)
class Outlook:
    """One stage of the plan."""

    name: str
    units: int | None
    """Null where the units depend on a stage that would run first."""
    reused: int | None
    would_run: int | None
    why: str


def preview(chain: Chain) -> list[Outlook]:
    """Plan stage after stage until one would run; what follows it depends on what it makes.

    Nothing is run or recorded: the chain is opened with `dry`.
    """
    rows: list[Outlook] = []
    newest = {(entry.stage, entry.unit): entry for entry in chain.run.store.entries()}
    for number, name in enumerate(chain.stages):
        planned = chain.run.plan(name)
        whole = chain.run.merged_entry(planned) if not planned.todo else None
        rows.append(
            Outlook(
                name,
                len(planned.units),
                len(planned.done),
                len(planned.todo),
                "all here" if whole else _why(planned, newest),
            )
        )
        if whole is None:
            rows.extend(
                Outlook(later, None, None, None, f"what `{name}` makes may change")
                for later in chain.stages[number + 1 :]
            )
            break
        try:
            chain.run.finish(planned)
        except Refused as error:
            rows[-1] = replace(rows[-1], why=error.what)
            break
    return rows


def _why(planned: Planned, newest: dict[tuple[str, str], Entry]) -> str:
    """The parts of the key that differ from the newest run of the same unit."""
    if not planned.todo:
        return "units are here, the merge is not"
    reasons = set()
    for name in planned.todo:
        before = newest.get((planned.stage.name, name))
        reasons |= (
            {"never ran"} if before is None else changed(before.parts, planned.units[name][2])
        )
    return ", ".join(sorted(reasons))


def changed(before: Json, after: Json) -> set[str]:
    """Names of the parts of two keys that differ; all equal: the tree was deleted."""
    parts = {
        name
        for name in before.keys() | after.keys()
        if digest_json(before.get(name)) != digest_json(after.get(name))
    }
    return {f"{name} changed" for name in parts} or {"its tree is not in the store"}
