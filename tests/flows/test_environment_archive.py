"""The archived environment: what ran, made once, and an interpreter that starts from it."""

from __future__ import annotations

import json
import subprocess
import zipfile
from importlib.metadata import version

import pytest

from audit.errors import Fault, WrongUse
from flows.environment_archive import (
    FACTS,
    INTERPRETER,
    archive_environment,
    archive_path,
    unpack_interpreter,
)
from stages.lock import lock_digest

INSTALLED = version("packaging")
PINS = {"packaging": INSTALLED, "not-installed-here": "1.0"}


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """A folder of wheels is all that pip may ask, and it holds a stand-in of one distribution."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    info = f"packaging-{INSTALLED}.dist-info"
    with zipfile.ZipFile(wheels / f"packaging-{INSTALLED}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("packaging/__init__.py", "")
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: packaging\nVersion: {INSTALLED}\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    for name, value in {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "PIP_CONFIG_FILE": "/dev/null",
    }.items():
        monkeypatch.setenv(name, value)
    return wheels


@pytest.mark.rule("ARC-1")
def test_the_archive_holds_what_ran_and_its_interpreter_starts(tmp_path, offline):
    name = archive_environment(tmp_path, PINS)
    assert name == archive_path(lock_digest(PINS))
    folder = tmp_path / name
    assert [path.name for path in (folder / "wheels").iterdir()] == [
        f"packaging-{INSTALLED}-py3-none-any.whl"
    ]
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
def test_it_is_made_once_and_whole(tmp_path, offline, monkeypatch):
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
