"""The command line: verbs, exit codes, errors in one line."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import typer
from helpers_project import ROOT

from flows.cli import app


def _verbs() -> dict[str, list[str]]:
    """Verb → its options, `audit verify` for a verb in a group."""
    found = {}
    group = typer.main.get_command(app)
    for name, command in group.commands.items():
        for sub, inner in getattr(command, "commands", {"": command}).items():
            found[f"{name} {sub}".strip()] = [o for p in inner.params for o in p.opts]
    return found


def test_the_readmes_verbs_are_those_of_help():
    table = (ROOT / "README.md").read_text("utf-8")
    told = set()
    for cell in re.findall(r"^\| (`kette [^|]+) \|", table, re.MULTILINE):
        for call in re.findall(r"`kette ([a-z ]+?)(?: [A-Z-].*?)?`", cell):
            told.add(call.strip())
    assert told == set(_verbs())


def test_every_verb_has_json():
    assert {name for name, options in _verbs().items() if "--json" not in options} == set()


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["nonsense"], 2, "No such command"),
        (["run", "--nonsense"], 2, "No such option"),
        (["run", "--from", "nowhere"], 2, "There is no stage"),
        (["audit", "verify"], 2, "no project"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(tmp_path, words, code, text):
    where = ROOT if "nowhere" in words else tmp_path
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *words],
        cwd=where, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, text in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['kette', '--help']\n"
        "from flows.cli import main\n"
        "try:\n    main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'prefect', 'numpy', 'pydicom', 'monai', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.rule("PAR-1")
@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("nonsense: 1", "`nonsense`: is not known"),
        ("assess: {min_dices: 1}", "`assess.min_dices`: is not known"),
        ("annotate: {consensus: expert}", "expert"),
        ("package: {version: 1}", "twice"),
        ("train: [", "no YAML"),
    ],
)
def test_wrong_parameters_are_named_with_their_line(tmp_path, line, text):
    from audit.errors import WrongUse
    from flows.parameters import load

    lines = (ROOT / "params.yaml").read_text("utf-8").splitlines()
    path = tmp_path / "params.yaml"
    path.write_text("\n".join([*lines, line]), "utf-8")
    with pytest.raises(WrongUse) as caught:
        load(path)
    assert text in caught.value.what
    assert "line" in caught.value.what


@pytest.mark.rule("PAR-2")
def test_resolved_parameters_load_to_themselves(tmp_path):
    from flows.parameters import load

    first = load(ROOT / "params.yaml")
    path = tmp_path / "params.yaml"
    path.write_text(first.resolved(), "utf-8")
    assert load(path) == first


def test_the_page_of_parameters_is_what_the_models_say():
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "parameters.py")],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == (ROOT / "docs" / "parameters.md").read_text("utf-8")


def test_the_example_has_the_lock_of_the_product():
    example = ROOT / "docs" / "examples" / "hippocampus" / "constraints.txt"
    assert example.read_bytes() == (ROOT / "constraints.txt").read_bytes()
