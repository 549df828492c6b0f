"""The archived environment: what ran, made once, and an interpreter that starts from it."""

from __future__ import annotations

import json
import subprocess

import pytest
from helpers_wheels import INSTALLED, WHEEL, only_these_wheels

from audit.errors import Fault, WrongUse
from flows.environment_archive import (
    FACTS,
    INTERPRETER,
    archive_environment,
    archive_path,
    unpack_interpreter,
)
from stages.lock import lock_digest

PINS = {"packaging": INSTALLED, "not-installed-here": "1.0"}


@pytest.mark.rule("ARC-1")
def test_the_archive_holds_what_ran_and_its_interpreter_starts(tmp_path, monkeypatch):
    only_these_wheels(tmp_path / "wheels", monkeypatch)
    name = archive_environment(tmp_path, PINS)
    assert name == archive_path(lock_digest(PINS))
    folder = tmp_path / name
    assert [path.name for path in (folder / "wheels").iterdir()] == [WHEEL]
    assert json.loads((folder / FACTS).read_bytes())["installed"] == {"packaging": INSTALLED}
    executable = unpack_interpreter(folder / INTERPRETER, tmp_path / "python")
    code = "import ssl, sqlite3, ctypes, zlib, sys; print(sys.prefix); print(ssl.__file__)"
    done = subprocess.run(
        [executable, "-c", code], capture_output=True, text=True, check=True,
        env={"LD_LIBRARY_PATH": str(tmp_path / "python" / "lib")},
    )  # fmt: skip
    prefix, module = done.stdout.split()
    assert prefix == str(tmp_path / "python")
    assert module.startswith(prefix)


@pytest.mark.rule("ARC-2")
def test_it_is_made_once_and_whole(tmp_path, monkeypatch):
    only_these_wheels(tmp_path / "wheels", monkeypatch)
    (tmp_path / "releases" / "environments").mkdir(parents=True)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    with pytest.raises(Fault, match="could not be archived"):
        archive_environment(tmp_path, PINS)
    folder = tmp_path / archive_path(lock_digest(PINS))
    assert not folder.exists()
    folder.mkdir()
    assert archive_environment(tmp_path, PINS) == archive_path(lock_digest(PINS))


@pytest.mark.rule("ARC-2")
def test_an_archive_that_is_not_checked_out_is_not_made_anew(tmp_path):
    folder = tmp_path / archive_path(lock_digest(PINS))
    folder.parent.mkdir(parents=True)
    folder.with_name(f"{folder.name}.dvc").write_text("outs: []\n")
    with pytest.raises(WrongUse, match="archived already"):
        archive_environment(tmp_path, PINS)
