"""The box: what its process has given up it cannot do, whoever asks it to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stages.box import start
from stages.boxed import BROKE_OUT

ROOT = Path(__file__).parents[2]
HEAD = """
import os, pickle, socket, subprocess, sys
from stages.boxed import close_in, lock_down, more_seconds
close_in(memory=2**28, written=10)
"""


def boxed(code: str, *, locked: bool = True) -> int:
    """Exit code of what is done in a box."""
    whole = HEAD + ("lock_down()\n" if locked else "") + code
    done = subprocess.run(
        [sys.executable, "-P", "-c", whole],
        env={"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        check=False,
    )
    return done.returncode


@pytest.mark.rule("BOX-4")
@pytest.mark.parametrize(
    "code",
    [
        "os.system('touch {canary}')",
        "subprocess.Popen(['touch', '{canary}'])",
        "os.posix_spawn('/bin/touch', ['touch', '{canary}'], {{}})",
        "os.execv('/bin/touch', ['touch', '{canary}'])",
        "os.fork()",
        "open('{canary}', 'w')",
        "os.open('{canary}', os.O_CREAT)",
        "os.mkdir('{canary}')",
        "os.remove('{here}')",
        "os.rename('{here}', '{canary}')",
        "socket.socket()",
        "eval('1')",
        "exec('1')",
        "import json.tool",
        "pickle.loads(b'cos\\nsystem\\n.')",
        "sys.addaudithook(print)",
    ],
)
def test_an_event_of_files_processes_or_code_ends_it(code: str, tmp_path: Path) -> None:
    here, canary = tmp_path / "here", tmp_path / "canary"
    here.touch()
    assert boxed(code.format(canary=canary, here=here)) == BROKE_OUT
    assert here.exists()
    assert not canary.exists()


@pytest.mark.rule("BOX-4")
def test_what_reads_bytes_goes_on() -> None:
    assert boxed("x = [len(str(i)) for i in range(99)]; os.write(1, b'ok'); sys.exit(7)") == 7


@pytest.mark.rule("BOX-3")
@pytest.mark.parametrize(
    ("code", "ends"),
    [
        ("try: open('/etc/hostname')\nexcept OSError: sys.exit(9)", 9),
        ("try: bytearray(2**29)\nexcept MemoryError: sys.exit(9)", 9),
        ("more_seconds(1)\nwhile True: pass", -24),
    ],
)
def test_files_memory_and_time_are_bounded(code: str, ends: int) -> None:
    assert boxed(code, locked=False) == ends


@pytest.mark.rule("BOX-3")
def test_no_more_is_written_than_a_size(tmp_path: Path) -> None:
    code = HEAD + "sys.exit(os.write(1, b'x' * 100))"
    with (tmp_path / "out").open("wb") as out:
        subprocess.run(
            [sys.executable, "-P", "-c", code],
            env={"PYTHONPATH": str(ROOT)},
            stdout=out,
            check=False,
        )
    assert (tmp_path / "out").stat().st_size <= 10


def test_a_child_has_this_code_and_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KETTE_SECRET", "x")
    child = start("platform", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    said, _ = child.communicate()
    assert (child.returncode, said != b"") == (0, True)
    assert b"KETTE" not in Path("/proc/self/environ").read_bytes()
