"""A chain opened on a project: which stages, on which parameters, and what comes of it.

Used by the Prefect flow (`flows/release.py`) and by the command line for one stage alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit.errors import WrongUse
from flows.candidate_folder import fill
from flows.from_release import FromRelease, cite, open_release
from flows.parameters import load
from stages.planned import Planned, StageResult
from stages.planning import CHAIN
from stages.project import Machine, Place
from stages.runner import Run
from stages.stage import Json
from stages.store import publish_folder

Say = Callable[[str, float], None]


@dataclass(frozen=True)
class Row:
    """One stage, as the summary shows it."""

    name: str
    key: str
    status: str
    seconds: float
    gate: str
    units: int
    ran: int


@dataclass(frozen=True)
class Summary:
    """What a run made."""

    stages: tuple[Row, ...]
    release: Path | None
    bundle: Path | None
    report: Path | None

    def as_json(self) -> Json:
        """The fields of `kette run --json`."""
        return {
            "release": str(self.release) if self.release else None,
            "bundle": str(self.bundle) if self.bundle else None,
            "report": str(self.report) if self.report else None,
            "stages": [row.__dict__ for row in self.stages],
        }


def place_of(project: Path, machine: Machine) -> tuple[Place, dict[str, Any]]:
    """The project's folders and its resolved sections.

    Raises:
        WrongUse: the folder is no project, or its parameters are wrong.
    """
    project = project.absolute()
    if not (project / "params.yaml").is_file():
        raise WrongUse(
            "This folder is no project: it has no `params.yaml`.",
            "Go into a project, name one with `--project DIR`, or make one with `kette init DIR`.",
        )
    parameters = load(project / "params.yaml")
    return Place(project, parameters.project.name, machine.home), parameters.sections()


class Chain:
    """Stages of one run, in order."""

    def __init__(
        self, run: Run, stages: Sequence[str], first: str | None, release: FromRelease | None = None
    ) -> None:
        self.run = run
        self.stages = tuple(stages)
        self.release = release
        """What a rebuild starts from; None: incoming studies."""
        self._before = set(CHAIN[: CHAIN.index(first)]) if first else set()

    def plan(self, name: str) -> Planned:
        """Plan a stage.

        Raises:
            WrongUse: a stage before the first one asked for would have to run.
        """
        planned = self.run.plan(name)
        if name in self._before and (planned.todo or self.run.merged_entry(planned) is None):
            raise WrongUse(
                f"`{name}` has changed since it ran last: {len(planned.todo)} units would run.",
                f"Run `kette run --from {name}`, or the whole chain.",
            )
        return planned

    def cites(self, name: str) -> bool:
        """Whether a stage's result is given and not made: `cite` it instead of planning it."""
        return name == "ingest" and self.release is not None

    def cite(self) -> StageResult:
        """Take ingestion from the release that is rebuilt."""
        assert self.release is not None  # noqa: S101 - `cites` was asked
        return cite(self.run, self.release)

    def finish(self, planned: Planned) -> StageResult:
        """Merge a stage; the dataset is then laid into `data/` and pinned, but for a rebuild."""
        result = self.run.finish(planned)
        made = result.artifact.stage == "dataset" and self.release is None
        if made and not self.run.recorder.dry:
            from stages.dataset.publish import publish

            tree = self.run.store.get(result.artifact.units["cohort"], check=True)
            publish(tree, self.run.place.project)
        return result

    def rows(self) -> tuple[Row, ...]:
        """The stages that ended so far."""
        return tuple(
            Row(
                name,
                result.key,
                result.status,
                result.seconds,
                str(result.gate.verdict),
                result.units,
                result.ran,
            )
            for name, result in self.run.results.items()
        )

    def so_far(self) -> Summary:
        """The stages that ended, without a release: for a chain that a gate stopped."""
        return Summary(self.rows(), None, None, None)

    def summary(self) -> Summary:
        """Lay the candidate release down, with its evidence beside it."""
        if "package" not in self.run.results:
            return self.so_far()
        target = self.run.place.candidate
        publish_folder(target, lambda folder: fill(folder, self.run, self.release))
        return Summary(self.rows(), target, next(target.glob("*.zip")), target / "report.html")


@contextmanager
def open_chain(
    project: Path,
    *,
    first: str | None = None,
    until: str | None = None,
    sources: Sequence[Path] = (),
    measurements: Path | None = None,
    rebuild: Path | None = None,
    without_missing: bool = False,
    say: Say = lambda text, fraction: None,
    dry: bool = False,
) -> Iterator[Chain]:
    """Open a project for a run.

    Args:
        project: folder of the project.
        first: stages before it must be here already, unchanged.
        until: the last stage to run.
        sources: incoming studies; default: the machine's setting.
        measurements: `measurements.json` of another run's release, to be replayed.
        rebuild: folder of a release to start from, instead of incoming studies.
        without_missing: rebuild also if subjects of the release are missing from `data/`.
        say: progress.
        dry: only look; nothing is run or recorded, and the pseudonyms that planning gives to new
            patients are forgotten.

    Raises:
        WrongUse: unknown stage, wrong parameters, a second run, a wrong environment.
        Refused: `data/` is not that of the release to rebuild.
    """
    for name in (first, until):
        if name is not None and name not in CHAIN:
            raise WrongUse(f"There is no stage `{name}`.", f"The stages are: {', '.join(CHAIN)}.")
    machine = Machine.here()
    if sources:
        machine = machine.model_copy(update={"source": tuple(path.absolute() for path in sources)})
    place, sections = place_of(project, machine)
    stages = CHAIN[: CHAIN.index(until) + 1] if until else CHAIN
    with Run.open(place, sections, machine, say, dry=dry) as run:
        release = None
        if rebuild is not None:
            say("checking `data/` against the release", 0.0)
            release = open_release(rebuild.absolute(), place, without_missing=without_missing)
            measurements = release.measurements
        else:
            _first_vault(run)
        if measurements is not None:
            run.recorder.replay = read_measurements(measurements)
        yield Chain(run, stages, first, release)


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _first_vault(run: Run) -> None:
    """Make the vault of a project that never ingested anything.

    A project with records or a pinned dataset had one: a new one would cut the link from every
    pseudonym to its patient, so its absence is left for `ingest` to refuse.
    """
    from stages.ingest.params import IngestParams
    from stages.ingest.vault import check_place, create

    place, ingest = run.place, run.planner.sections["ingest"]
    others = (place.project, *place.shared, place.ledger, place.keys, *run.planner.sources)
    check_place(place.vault, others)
    had_one = (place.project / "data.dvc").exists() or run.recorder.knows("ingest")
    needs = isinstance(ingest, IngestParams) and ingest.pseudonym_key == "vault"
    if needs and not had_one and not place.vault.exists():
        create(place.vault)
        run.say("a vault was made for this project; back it up (docs/machine.md)", 0.0)


def read_measurements(path: Path) -> dict[str, Json]:
    """Key → measured values, as a release keeps them.

    Raises:
        WrongUse: the file is not such a table.
    """
    try:
        found = json.loads(path.read_bytes(), parse_constant=_refuse)
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(v, dict) for v in found.values()):
        raise WrongUse(
            "The file of measurements cannot be read.", "Name a release's `measurements.json`."
        )
    return found


def parameters_text(project: Path) -> str:
    """The resolved parameters of a project, as YAML."""
    if not (project / "params.yaml").is_file():
        place_of(project, Machine.here())
    return load(project / "params.yaml").resolved()
