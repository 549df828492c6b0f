"""The environment of a past release: used again, kept, or made of archived wheels offline."""

from __future__ import annotations

import base64
import hashlib
import os
import platform
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from audit.errors import Fault, WrongUse
from flows import environment_archive
from flows.environment import Environment, environment_for
from stages.archive import write_zip
from stages.lock import lock_digest, read_lock

PYTHON = platform.python_version()


def wheel(folder: Path, name: str, version: str) -> Path:
    """A wheel of one module, as small as one can be."""
    folder = folder / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    members = {
        f"{name}.py": f'VERSION = "{version}"\n',
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    rows = [f"{path},sha256={_digest(text)},{len(text)}" for path, text in members.items()]
    members[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,", ""])
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in members.items():
            archive.writestr(member, text)
    return path


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "constraints.txt"
    path.write_text("kette_tiny==1.0  # of the archive\nkette-other==2.0\n")
    return path


def find(
    lock: Path, tmp_path: Path, archive: Path | None, *, running: Path | None = None,
    python: str = PYTHON, told: list[str] | None = None,
) -> Environment:  # fmt: skip
    said = told if told is not None else []
    return environment_for(
        lock,
        running=running or tmp_path / "no-lock",
        python=python,
        home=tmp_path / "home",
        archive=lambda: archive,
        say=lambda text, fraction: said.append(text),
    )


def test_the_running_environment_is_used_where_the_locks_are_equal(tmp_path: Path) -> None:
    lock, running = tmp_path / "then.txt", tmp_path / "now.txt"
    pins = [f"{name}=={version}" for name, version in _installed().items()]
    running.write_text("\n".join(pins))
    lock.write_text("# a comment and another order change nothing\n" + "\n".join(reversed(pins)))
    found = find(lock, tmp_path, None, running=running)
    assert (found.how, found.python) == ("running", Path(sys.executable))
    assert found.lock == lock_digest(read_lock(lock))
    assert not (tmp_path / "home").exists()


def _installed() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name).split("+")[0] for name in ("numpy", "pydantic", "torch")}


@pytest.mark.slow
@pytest.mark.rule("ENV-2")
@pytest.mark.rule("ENV-3")
@pytest.mark.rule("MKE-1")
def test_archived_wheels_make_the_environment_once_without_a_network(
    lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")
    archive = tmp_path / "archive"
    wheel(archive, "kette_tiny", "1.0")
    wheel(archive, "kette_other", "2.0")
    wheel(archive, "kette_stray", "3.0")  # not of the lock
    made: list[Environment] = []
    told: list[str] = []

    def work() -> None:
        made.append(find(lock, tmp_path, archive, told=told))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.how for one in made) == ["archive", "kept"]
    assert len(told) == 1
    code = "import kette_tiny, kette_other; print(kette_tiny.VERSION, kette_other.VERSION)"
    done = subprocess.run([made[0].python, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1.0 2.0\n"
    stray = subprocess.run(
        [made[0].python, "-c", "import kette_stray"], capture_output=True, check=False
    )
    assert stray.returncode == 1
    # Cut off before its stamp: made again.
    (made[0].python.parents[2] / "kette-lock").unlink()
    assert find(lock, tmp_path, archive).how == "archive"


@pytest.mark.slow
@pytest.mark.rule("MKE-2")
def test_the_archived_interpreter_runs_what_was_made_with_another_one(
    lock: Path, tmp_path: Path
) -> None:
    wheel(tmp_path / "archive", "kette_tiny", "1.0")
    parts = ((name, path.read_bytes) for name, path in environment_archive._parts())
    write_zip(tmp_path / "archive" / "interpreter.zip", parts)
    found = find(lock, tmp_path, tmp_path / "archive", python="3.2.6")
    code = "import sys, ssl, kette_tiny; print(sys.base_prefix)"
    done = subprocess.run(
        [found.python, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, **found.variables},
    )  # fmt: skip
    assert done.stdout.strip() == str(found.python.parents[2] / "interpreter")


def test_an_archive_without_the_locks_wheels_is_told(lock: Path, tmp_path: Path) -> None:
    wheel(tmp_path / "archive", "kette_tiny", "9.9")
    with pytest.raises(Fault, match="none that its lock pins"):
        find(lock, tmp_path, tmp_path / "archive")


def test_an_absent_interpreter_is_named(lock: Path, tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match=r"made with Python 3\.2, and there is no `python3\.2`"):
        find(lock, tmp_path, None, python="3.2.6")
