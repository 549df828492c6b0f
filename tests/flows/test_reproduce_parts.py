"""Levels, causes, the page and what the ledger says: decisions on hand-made ladders."""

from __future__ import annotations

import json
import re
import sys
import zipfile
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers_project import git
from helpers_reproduce import HERE, manifest
from securesystemslib.signer import CryptoSigner

from audit.errors import Fault, Refused
from audit.ledger import Ledger
from audit.statement import event
from flows.expectation import Level, class_differences, expected
from flows.git import Repository
from flows.history import Standing, history, standing
from flows.rebuild import rebuild, unpack, variables
from flows.rebuilt import Work, read_ladder, rebuilt
from flows.reproduced import Rebuild, Reproduction, shortened
from flows.reproduction import _keep_page
from flows.reproduction_page import page
from flows.retrieval import Dataset, Retrieved
from stages.ladder import RUNGS, Comparison, Facts, Ladder, Rung, compare
from stages.project import Machine

TOLERANCES = {"dice": 0.01, "nsd": 0.02, "hd95_mm": 1.0}


def ladder(dice: float = 0.9, environment: str = "1", **changed: str) -> Ladder:
    """A ladder whose rungs hold one part each; `changed` gives rungs another one."""
    row = {"subject": "s-1", "series": "2.25.1", "vendor": "v", "structure": "organ"}
    return Ladder(
        rungs=tuple(
            Rung.of(name, {"part": changed.get(name, name).encode().hex().ljust(64, "0")[:64]})
            for name in RUNGS
        ),
        facts=Facts(environment={"threads": environment}, parameters={"assess.min_dice": 0.895}),
        scores=({**row, "dice": dice, "nsd": 0.9, "hd95_mm": 2.0},),
    )


def rebuild_of(comparison: Comparison | None, **changes: Any) -> Rebuild:
    return Rebuild(
        **{"environment": "E.", "dataset": Dataset(), "comparison": comparison} | changes
    )


def reproduction(**changes: Any) -> Reproduction:
    values: dict[str, Any] = {
        "version": "1.0.0", "tag": "p@v1.0.0", "commit": "0" * 40, "asked": "R1",
        "standing": Standing(), "signer": "Signed.", "lost": (), "machine": (),
        "rebuild": rebuild_of(compare(ladder(), ladder(), TOLERANCES)),
    }  # fmt: skip
    return Reproduction(**values | changes)


@pytest.mark.rule("RPD-1")
@pytest.mark.rule("RPD-2")
@pytest.mark.parametrize(
    ("asked", "lost", "again", "level", "reached"),
    [
        ("R0", (), None, "R0", True),
        ("R0", ("x is missing",), None, None, False),
        ("R1", (), ladder(), "R1", True),
        ("R1", ("x is missing",), ladder(), "R1", True),  # rebuilt all the same
        ("R2", (), ladder(), "R1", True),
        ("R1", (), ladder(0.895, weights="w"), "R2", False),
        ("R2", (), ladder(0.895, weights="w"), "R2", True),
        ("R2", (), ladder(0.5, weights="w"), None, False),
        ("R2", (), None, None, False),
    ],
)
def test_the_level_reached_is_held_against_the_one_asked_for(
    asked: Level, lost: tuple[str, ...], again: Ladder | None, level: str | None, reached: bool
) -> None:
    compared = compare(ladder(), again, TOLERANCES) if again else None
    rebuild = None if asked == "R0" else rebuild_of(compared)
    found = reproduction(asked=asked, lost=lost, rebuild=rebuild)
    assert (found.level, found.reached) == (level, reached)


@pytest.mark.rule("EXP-1")
def test_another_class_of_machine_expects_equivalence() -> None:
    other = HERE.model_copy(update={"machine": "aarch64", "isa": ("AVX2", "NEON")})
    differs = class_differences(HERE, other)
    assert differs == ("machine: x86_64 → aarch64", "instruction sets: −AVX +NEON")
    assert expected(None, differs) == "R2"
    assert expected("R1", differs) == "R1"
    alike = HERE.model_copy(update={"processor": "Another", "python": "3.12.0", "torch": "9"})
    assert class_differences(HERE, alike) == ()
    assert expected(None, ()) == "R1"


@pytest.mark.rule("RPD-3")
def test_a_dataset_that_is_not_whole_differs_at_inputs() -> None:
    data = Dataset(missing=("s-1/a.zip",), erased=("s-2",))
    found = reproduction(rebuild=rebuild_of(None, dataset=data, told="its dataset is not whole"))
    assert (found.level, found.first_difference) == (None, "inputs")
    assert found.causes == (
        "the subject s-2 was erased from the dataset",
        "the object of data/s-1/a.zip is missing",
        "the rebuild ended early: its dataset is not whole",
    )


def test_the_record_and_the_json_say_the_same() -> None:
    again = ladder(0.895, environment="2", weights="w", environment_="x")
    found = reproduction(rebuild=rebuild_of(compare(ladder(), again, TOLERANCES)))
    details, told = found.details(), found.kept(Path("/p/page.html"), "kette/p", 7).as_json()
    assert details == {
        "version": "1.0.0", "tag": "p@v1.0.0", "level": "R2", "asked": "R1",
        "first_difference": "weights", "causes": ["threads: 1 → 2"], "lost": [],
    }  # fmt: skip
    assert details.items() <= told.items()
    assert [rung["name"] for rung in told["rungs"]] == list(RUNGS)
    assert (told["page"], told["ledger"], told["record"]) == ("/p/page.html", "kette/p", 7)
    json.dumps(told)


def test_long_lists_are_shortened_with_their_count() -> None:
    assert shortened(["a"] * 20) == ("a",) * 20
    assert shortened(["a"] * 23)[19:] == ("a", "and 3 more")


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.append(tag)


EVIL = "<script>alert('x')</script>"


@pytest.mark.parametrize("level", ["R0", "R1", "R2", None])
def test_the_page_stands_alone_and_escapes_what_it_shows(level: str | None) -> None:
    again = {"R1": ladder(), "R2": ladder(0.893, environment="2", weights="w")}.get(level or "")
    found = reproduction(
        asked="R0" if level == "R0" else "R1",
        standing=Standing("withdrawn", EVIL),
        lost=() if level == "R0" else (EVIL,),
        machine=(EVIL,),
        rebuild=None
        if level == "R0"
        else rebuild_of(
            compare(ladder(), again, TOLERANCES) if again else None,
            told=EVIL,
            facts=(("threads", "1", EVIL),),
        ),
    )
    assert found.level == level
    text = page(found).decode()
    assert "script" not in Tags(text).found
    assert "This release is withdrawn" in text
    assert not re.search(r"(src|href)=\"(?!#)", text)
    assert f'<span class="value">{level or "none"}</span>' in text
    if level == "R2":
        assert "mean dice of organ" in text
        assert "s-1" in text  # the flip
        assert '<tr class="marked">\n<td>weights</td>' in text


def test_pages_of_one_version_are_numbered(tmp_path: Path) -> None:
    names = [_keep_page(tmp_path, "1.0.0", b"x").name for _ in range(3)]
    assert names == ["1.0.0-1.html", "1.0.0-2.html", "1.0.0-3.html"]


@pytest.mark.rule("RBT-3")
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"schema_version": 2, "climbs": []}', "schema version 2; this Kette reads 1"),
        ('{"rungs": []}', "cannot be read"),
        ('{"schema_version": 1}', "cannot be read"),
        ("[1", "cannot be read"),
        ("[]", "cannot be read"),
    ],
)
def test_a_ladder_of_another_version_is_refused_by_its_number(
    tmp_path: Path, text: str, told: str
) -> None:
    (tmp_path / "ladder.json").write_text(text)
    with pytest.raises(Refused, match=told):
        read_ladder(tmp_path / "ladder.json")


def test_a_ladder_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "ladder.json").write_text(ladder().model_dump_json())
    assert read_ladder(tmp_path / "ladder.json") == ladder()


@pytest.mark.rule("RBT-1")
def test_without_its_code_or_citations_no_release_is_rebuilt(tmp_path: Path) -> None:
    files = {name: manifest("1.0.0", "0" * 40).bundle for name in ("cited/ingest.json",)}
    made = manifest("1.0.0", "0" * 40, files=files)
    work = Work(
        objects=SimpleNamespace(),  # type: ignore[arg-type]  # nothing is asked of it
        reference=SimpleNamespace(manifest=made),  # type: ignore[arg-type]  # as above
        release=Retrieved(tmp_path, ()),
        folder=tmp_path,
        machine=Machine(),
        erased=frozenset(),
        say=lambda text, fraction: None,
    )
    assert rebuilt(work).told == "it needs ladder.json, kette.zip, measurements.json of the release"
    for name in ("ladder.json", "kette.zip", "measurements.json"):
        (tmp_path / name).touch()
    assert rebuilt(work).told == "it needs cited/ingest.json of the release"


@pytest.mark.rule("RBD-1")
@pytest.mark.rule("RBD-2")
def test_the_rebuild_knows_nothing_of_this_machine_but_how_much_it_may_use(tmp_path: Path) -> None:
    own = {
        "PATH": "/bin", "PYTHONPATH": "/mine", "KETTE_SIGNER": "hsm:1", "KETTE_MIRROR": "s3://b",
        "KETTE_SOURCE": "/incoming", "PREFECT_API_URL": "http://x", "GIT_DIR": "/repository",
    }  # fmt: skip
    machine = Machine(home=tmp_path, workers=3, loader_workers=2)
    given = variables(own, tmp_path / "code", tmp_path / "home", machine)
    assert given == {
        "PATH": "/bin",
        "KETTE_HOME": str(tmp_path / "home"),
        "KETTE_WORKERS": "3",
        "KETTE_LOADER_WORKERS": "2",
        "PYTHONPATH": str(tmp_path / "code"),
        "PYTHONSAFEPATH": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@pytest.mark.rule("RBD-1")
@pytest.mark.rule("RBD-3")
def test_the_releases_code_runs_and_not_the_folders(tmp_path: Path) -> None:
    project = tmp_path / "project"
    for folder in (project, tmp_path / "other"):
        (folder / "flows").mkdir(parents=True)
        (folder / "flows" / "cli.py").write_text("raise SystemExit('the wrong code')")
        (folder / "flows" / "__init__.py").touch()
    with zipfile.ZipFile(tmp_path / "kette.zip", "w") as archive:
        archive.writestr("flows/__init__.py", "")
        archive.writestr(
            "flows/cli.py",
            "import sys\nsys.stderr.write('train:\\n  lr: 1\\nepoch 1 of 2\\n')\n"
            "sys.stderr.write(repr(sys.argv[1:]))\nraise SystemExit(1)",
        )
    code = unpack(tmp_path / "kette.zip", tmp_path / "code")
    given = variables({"PYTHONPATH": str(tmp_path / "other")}, code, tmp_path / "h", Machine())
    said: list[str] = []
    ended = rebuild(
        Path(sys.executable), project, tmp_path / "release", given,
        lambda text, fraction: said.append(text), without_missing=False,
    )  # fmt: skip
    arguments = ["run", "--rebuild", str(tmp_path / "release"), "--json"]
    assert (ended.code, ended.told) == (1, repr(arguments))
    assert said == ["rebuild: epoch 1 of 2", f"rebuild: {arguments!r}"]
    assert "lr: 1" in (tmp_path / "rebuild.log").read_text()


def test_a_damaged_archive_of_code_is_told(tmp_path: Path) -> None:
    (tmp_path / "kette.zip").write_bytes(b"PK no zip")
    with pytest.raises(Fault, match="cannot be unpacked"):
        unpack(tmp_path / "kette.zip", tmp_path / "code")


@pytest.mark.rule("HIS-1")
@pytest.mark.rule("HIS-3")
def test_the_ledger_says_what_became_of_a_release(tmp_path: Path) -> None:
    signer = CryptoSigner.generate_ed25519()
    ledger = Ledger(tmp_path / "ledger", origin="kette/p")
    at = datetime(2026, 11, 21, tzinfo=UTC)
    for kind, details in (
        ("withdrawn", {"version": "1.0.0", "reason": "a defect"}),
        ("deprecated", {"version": "1.0.0", "reason": "old"}),
        ("deprecated", {"version": "1.1.0", "reason": "old"}),
        ("subject.erased", {"subject": "s-7"}),
    ):
        ledger.append(event(kind, at=at, details=details), signer)
    git(tmp_path, "init", "--quiet")
    found, repository = history(ledger), Repository(tmp_path)
    assert standing(repository, "p", "1.0.0", found) == Standing("withdrawn", "a defect")
    assert standing(repository, "p", "1.1.0", found).sentence == "This release is deprecated: old."
    assert standing(repository, "p", "1.2.0", found) == Standing()
    assert found.erased == {"s-7"}


@pytest.mark.rule("HIS-2")
def test_a_clone_without_the_ledger_learns_it_from_the_tags(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    empty = history(Ledger(tmp_path / "none", origin="kette/p"))
    repository = Repository(tmp_path)
    for number in range(3):
        git(tmp_path, "commit", "--quiet", "--allow-empty", "-m", "Work")
        git(tmp_path, "tag", f"p@v1.{number}.0")
    git(tmp_path, "tag", "p@v1.0.0!", "HEAD~2")
    git(tmp_path, "tag", "p#deprecated#1", "HEAD~1")
    assert [standing(repository, "p", f"1.{n}.0", empty).state for n in range(3)] == [
        "withdrawn", "deprecated", "released",
    ]  # fmt: skip
