"""SGT-1 … SGT-3, POL-3: a survey over several processes is the survey of one."""

import os
import pickle
import traceback
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers_ingest import NAME, PATIENT, ROOT, ct, encoded, new_vault, parameters, save, study
from helpers_nifti import image, nifti, put

from audit.errors import Fault, Transient, WrongUse
from stages.ingest import sightings as module
from stages.ingest.header import Header
from stages.ingest.params import Limits
from stages.ingest.quarantine import Reason
from stages.ingest.sightings import Sighting, sightings
from stages.ingest.stage import STAGE
from stages.ingest.survey import Survey, survey
from stages.pool import Workers
from stages.project import Machine
from stages.runner import Run
from stages.stage import PlanContext, Spread

LIMITS = Limits(file_bytes=9 << 20)
CLASSES = ("benign", "malignant")


def hospital(folder: Path) -> Path:
    """Files of every kind, so that each lot holds several kinds."""
    save(folder / "a", *study(), *(ct(index, "2", PatientID="KH-2") for index in range(9)))
    save(
        folder / "b", ct(0), ct(1, PatientSex="M"), ct(2, SOPClassUID="1.2.3"), ct(3, PatientID="")
    )
    (folder / "a" / "again").write_bytes((folder / "a" / "IM0003").read_bytes())
    for name in ("n1", "z2"):
        (folder / "a" / name).write_bytes(b"no DICOM")
        (folder / "b" / f"{name}.csv").write_bytes(b"StudyInstanceUID,label,reader\nx,y,z\n")
    row = f"{ROOT}.1,benign,{NAME}"
    (folder / "b" / "labels").write_bytes(f"SeriesInstanceUID,label,reader\n{row}\n".encode())
    with zipfile.ZipFile(folder / "b" / "IM0000.zip", "w") as archive:
        archive.writestr("1", encoded(ct(0, "3", PatientID="KH-3")))
        archive.writestr("2", (folder / "a" / "IM0003").read_bytes())
    (folder / "a" / "bad.zip").write_bytes(b"PK\x03\x04 and no more")
    put(folder / "c", "image.nii", nifti(image()))
    (folder / "c" / "large").write_bytes(bytes((8 << 20) + 1))
    (folder / "c" / "too large").write_bytes(bytes((9 << 20) + 1))
    return folder


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    made = Workers(2, None, lambda text, fraction: None)
    yield made
    made.close()


@pytest.fixture
def small_lots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOT", 3)
    monkeypatch.setattr(module, "_FEW", 1)


def over(workers: Workers) -> Spread:
    return lambda do, inputs: workers.spread("ingest", do, inputs)


@pytest.mark.rule("SGT-2")
@pytest.mark.usefixtures("small_lots")
def test_a_survey_over_processes_is_that_of_one(tmp_path: Path, workers: Workers) -> None:
    sources = [hospital(tmp_path / "in")]
    here = list(sightings(sources, LIMITS, CLASSES))
    there = list(sightings(sources, LIMITS, CLASSES, over(workers)))
    assert there == here
    found = survey(there, demo=False)
    assert found == survey(here, demo=False)
    assert {reason for _, reason in found.quarantined} == {
        Reason.NOT_DICOM,
        Reason.CONFLICT,
        Reason.SOP_CLASS,
        Reason.NO_PATIENT,
        Reason.LABEL_TABLE,
        Reason.ARCHIVE,
        Reason.NIFTI,
        Reason.TOO_LARGE,
    }
    assert [len(found.patients[patient, ""]) for patient in (PATIENT, "KH-2", "KH-3")] == [5, 9, 1]
    assert (found.duplicates, len(found.tables)) == (5, 1)
    assert found.files == len(here) == _places(found)


def _places(found: Survey) -> int:
    """How many files have a place (ING-1)."""
    members = sum(map(len, found.patients.values()))
    return members + len(found.quarantined) + found.duplicates + len(found.tables) + found.ignored


@pytest.mark.rule("SGT-2")
@pytest.mark.usefixtures("small_lots")
def test_a_plan_over_processes_is_that_of_one(tmp_path: Path, workers: Workers) -> None:
    sources = (hospital(tmp_path / "in"),)
    vault = new_vault(tmp_path / "vault")
    params = parameters(limits=LIMITS)
    here, there = (
        STAGE.plan(PlanContext(params, {}, sources, vault, spread=spread))
        for spread in (map, over(workers))
    )
    assert there == here
    assert len(here.units) == 3


@pytest.mark.rule("ING-10")
@pytest.mark.usefixtures("small_lots")
def test_what_is_own_or_no_phantom_is_told_after_the_look(tmp_path: Path, workers: Workers) -> None:
    sources = [save(tmp_path / "in", *study(), *study())]
    seen = list(sightings(sources, LIMITS, (), over(workers)))
    found = survey(seen, demo=True, own={seen[0].sha256})
    assert [member.sha256 for (member,) in found.own.values()] == [seen[0].sha256]
    assert {reason for _, reason in found.quarantined} == {Reason.NOT_PHANTOM}
    assert (len(found.quarantined), found.duplicates) == (5, 6)


@pytest.mark.rule("SGT-1")
def test_no_more_than_a_header_comes_back(tmp_path: Path) -> None:
    files = module.files([save(tmp_path / "in", *study())], LIMITS)
    (lot,) = module._lots(files)
    looked = module._look(lot, LIMITS)
    assert [type(one.seen) for one in looked if isinstance(one, Sighting)] == [Header] * 6
    assert b"Quacksalber" in Path(lot[0].path).read_bytes()
    assert b"Quacksalber" not in pickle.dumps(looked)


@pytest.mark.rule("SGT-3")
def test_archives_images_large_files_and_tables_are_left_to_the_coordinator(
    tmp_path: Path,
) -> None:
    files = list(module.files([hospital(tmp_path / "in")], LIMITS))
    left = {
        Path(one.path).name for one in module._look(files, LIMITS) if isinstance(one, module.Listed)
    }
    tables = {"labels", "n1.csv", "z2.csv"}
    assert left == tables | {"IM0000.zip", "bad.zip", "image.nii", "large", "too large"}


def test_for_few_files_no_process_is_asked(tmp_path: Path) -> None:
    def asked(do: Any, inputs: Any) -> Any:
        raise AssertionError("a process was asked")

    assert len(list(sightings([save(tmp_path / "in", *study())], LIMITS, (), asked))) == 6
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(module._FEW * module._LOT + 1):
        (folder / f"{number}").write_bytes(b"")
    with pytest.raises(AssertionError, match="asked"):
        list(sightings([folder], LIMITS, (), asked))


def test_what_is_refused_before_a_look_is_refused_over_processes_too(
    tmp_path: Path, workers: Workers
) -> None:
    with pytest.raises(WrongUse, match="Source 1"):
        list(sightings([tmp_path / NAME], LIMITS, (), over(workers)))


def _quotes(text: str) -> str:
    raise ValueError(text)


def _dies(text: str) -> str:
    os._exit(len(text))


@pytest.mark.rule("POL-3")
def test_an_error_in_a_worker_is_told_without_identifiers(workers: Workers) -> None:
    with pytest.raises(Fault, match="ingest/plan failed with ValueError") as caught:
        list(workers.spread("ingest", _quotes, [NAME, NAME]))
    shown = "".join(traceback.format_exception(caught.value)) + caught.value.diagnostics()
    assert NAME not in shown
    assert list(workers.spread("ingest", len, [NAME])) == [len(NAME)]


def test_a_worker_that_dies_is_told_and_its_pool_takes_no_more() -> None:
    workers = Workers(2, None, lambda text, fraction: None)
    try:
        with pytest.raises(Transient, match="worker of ingest/plan died"):
            list(workers.spread("ingest", _dies, [NAME] * 9))
        assert workers.broken
    finally:
        workers.close()


def test_inputs_are_taken_only_as_fast_as_results_are(workers: Workers) -> None:
    taken: list[int] = []

    def inputs() -> Iterator[str]:
        for number in range(100):
            taken.append(number)
            yield "a" * number

    results = iter(workers.spread("ingest", len, inputs()))
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert len(taken) < 20
    assert list(results) == list(range(5, 100))


@pytest.mark.parametrize(("dry", "count"), [(True, 2), (False, 1), (False, 2)])
def test_planning_starts_workers_only_if_it_may(tmp_path: Path, dry: bool, count: int) -> None:
    spreads: list[Spread] = []

    def plan(name: str, results: object, spread: Spread) -> Any:
        spreads.append(spread)
        return SimpleNamespace(units={})

    planner: Any = SimpleNamespace(place=None, store=None, lock=None, dry=dry, plan=plan)
    recorder: Any = None
    with ExitStack() as stack:
        machine = Machine(home=tmp_path, workers=count)
        run = Run(planner, recorder, machine, lambda text, fraction: None, stack)
        run.plan("ingest")
        assert run._workers is None
        (spread,) = spreads
        there = set(spread(_process, range(8)))
        assert (os.getpid() in there) is (dry or count == 1)
        assert (run._workers is None) is (dry or count == 1)


def _process(number: int) -> int:
    return os.getpid()
