"""`kette.zip`: whole, the same bytes each time, and it runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile

import pytest

from audit.errors import Fault
from flows.source_archive import ROOT, write_source
from stages.artifact import digest_file
from stages.key import code_files


@pytest.fixture
def copy(tmp_path):
    """The packages in another folder, with what editors and interpreters leave there."""
    for package in ("flows", "stages", "audit"):
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    (tmp_path / "audit" / "__pycache__").mkdir()
    (tmp_path / "audit" / "__pycache__" / "x.pyc").write_bytes(b"x")
    (tmp_path / "audit" / ".x.swp").write_bytes(b"x")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_x.py").write_bytes(b"x")
    return tmp_path


@pytest.mark.rule("SRC-2")
def test_the_bytes_depend_on_the_code_alone(tmp_path, copy):
    write_source(copy / "one.zip", {}, copy)
    (copy / "flows" / "cli.py").touch()
    (copy / "flows" / "cli.py").chmod(0o755)
    write_source(copy / "two.zip", {}, copy)
    assert digest_file(copy / "one.zip") == digest_file(copy / "two.zip")
    (copy / "flows" / "cli.py").write_text("# another\n")
    write_source(copy / "three.zip", {}, copy)
    assert digest_file(copy / "one.zip") != digest_file(copy / "three.zip")


@pytest.mark.rule("SRC-1")
def test_it_holds_code_tables_and_metadata_and_nothing_else(copy):
    write_source(copy / "kette.zip", {}, copy)
    names = zipfile.ZipFile(copy / "kette.zip").namelist()
    assert {"flows/template.yaml", "stages/ingest/vocabulary.csv", "audit/ledger.py"} <= set(names)
    assert {name.split("/")[1] for name in names if name.startswith("kette-")} == {
        "METADATA",
        "entry_points.txt",
    }
    tops = {name.split("/")[0] for name in names if not name.startswith("kette-")}
    assert tops == {"flows", "stages", "audit"}
    assert not [name for name in names if "pycache" in name or "/." in name]


@pytest.mark.rule("SRC-3")
def test_code_that_was_edited_while_the_chain_ran_is_found(copy):
    code = code_files("train")
    write_source(copy / "kette.zip", code, copy)
    edited = copy / "stages" / "train" / "loop.py"
    edited.write_text(edited.read_text() + "# edited\n")
    with pytest.raises(Fault, match=r"stages/train/loop\.py"):
        write_source(copy / "kette.zip", code, copy)


@pytest.mark.rule("SRC-1")
def test_the_unpacked_source_runs(tmp_path):
    write_source(tmp_path / "kette.zip", code_files("train"))
    zipfile.ZipFile(tmp_path / "kette.zip").extractall(tmp_path / "code")
    code = (
        "import flows.chain, importlib.metadata as m;"
        "print(flows.chain.__file__); print(m.distribution('kette').locate_file(''));"
        "print(len(m.requires('kette')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(tmp_path / "code"), "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    place, found, requirements = done.stdout.split()
    assert place.startswith(str(tmp_path / "code"))
    assert found.rstrip("/") == str(tmp_path / "code")
    assert int(requirements) > 10
