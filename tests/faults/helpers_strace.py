"""Faults of the disk and of the process at one system call, by strace's real injection.

A forked child does the work; strace attaches to it before its first call, so that only the work's
own calls count and nothing is imported again. Recorded once, then done again for each fault:

    for call in recorded(work, folder):
        for fault in FAULTS:
            ended = run(work, call.inject(fault))

Rules:

- STR-1  A fault is at one call: the n-th of its name in the child's main thread. An error leaves
         the call undone; SIGKILL ends the child before the call is done.
- STR-2  What the child says goes through a pipe before it goes on: it stands for what a caller was
         told.
- STR-3  A fault that was asked for and not met is an error of the test (`Ended.met`).

Source: strace(1), section Tampering.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from audit.errors import KetteError

Say = Callable[[str], None]
Work = Callable[[Say], None]

CALLS = (
    "openat", "creat", "write", "writev", "pwrite64", "fsync", "fdatasync", "sync_file_range",
    "rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "unlink",
    "unlinkat", "rmdir", "mkdir", "mkdirat", "ftruncate", "truncate", "fallocate", "chmod",
    "fchmod", "fchmodat", "copy_file_range", "sendfile", "ioctl", "flock", "utimensat",
)  # fmt: skip
"""Calls that change files or hold others off."""
FAULTS = ("error=EIO", "error=ENOSPC", "signal=SIGKILL")

_WRITING = re.compile(r"O_(WRONLY|RDWR|CREAT|TRUNC)")
_LINE = re.compile(r"(?P<thread>\d*) *(?P<name>[a-z0-9_]+)\((?P<rest>.*)")
_FROM_HERE = re.compile(r'AT_FDCWD<[^>]*>, (?="/)')
_PR_SET_PTRACER = 0x59616D61


@dataclass(frozen=True)
class Call:
    """One system call of the work."""

    name: str
    occurrence: int
    """Counted from 1, among the calls of this name."""
    text: str
    """As strace shows it."""

    @property
    def file(self) -> str:
        """The first file or folder that it names."""
        found = re.search(r'<(…[^>]*)>|"(…[^"]*)"', self.text)
        return found[1] or found[2] if found else self.text

    def inject(self, fault: str) -> str:
        """strace's expression for a fault at this call and no other."""
        return f"{self.name}:{fault}:when={self.occurrence}"

    def __str__(self) -> str:
        return f"{self.name} {self.occurrence} ({self.text})"


@dataclass(frozen=True)
class Ended:
    """How the child ended."""

    said: list[str]
    error: str | None
    """What a `KetteError` said; None where there was none."""
    killed: bool
    met: bool
    """Whether the fault was met; without one, whether the work was done."""
    trace: str

    def __str__(self) -> str:
        return f"said {self.said}, error {self.error}, killed {self.killed}, met {self.met}"


def recorded(work: Work, folder: Path) -> list[Call]:
    """The work's calls below a folder that change files, in order; nothing is injected."""
    ended = run(work, None)
    assert ended.met, ended
    return calls_in(ended.trace, folder)


def calls_in(trace: str, folder: Path) -> list[Call]:
    """The calls below a folder that change files; each thread has a count of its own."""
    found, counts = [], Counter[tuple[str, str]]()
    for line in trace.splitlines():
        match = _LINE.match(line)
        if match is None or match["name"] not in CALLS:
            continue
        name, thread = match["name"], match["thread"]
        counts[thread, name] += 1
        arguments = _FROM_HERE.sub("", match["rest"].rpartition(" = ")[0].rstrip()[:-1])
        if str(folder) in arguments and _changes(name, arguments):
            text = arguments.replace(str(folder), "…")
            found.append(Call(name, counts[thread, name], text))
    return found


def ends_of_runs(calls: Sequence[Call]) -> list[Call]:
    """Of each row of the same call on the same file, the first and the last."""
    rows = [list(row) for _, row in groupby(calls, lambda call: (call.name, call.file))]
    return [call for row in rows for call in (row[:1] + row[1:][-1:])]


def run(work: Work, inject: str | None, *, traced: bool = True) -> Ended:
    """Do the work in a child, with or without a fault.

    Args:
        work: gets a function that says a line to this process.
        inject: as `Call.inject` gives it.
        traced: have strace attached; without it there is no fault from here.
    """
    go_read, go_write = os.pipe()
    said_read, said_write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(go_write)
        os.close(said_read)
        _child(work, go_read, said_write)
    os.close(go_read)
    os.close(said_write)
    with tempfile.NamedTemporaryFile(prefix="strace-") as trace, os.fdopen(said_read, "rb") as pipe:
        tracer = _attach(child, trace.name, inject) if traced else None
        os.close(go_write)
        lines = pipe.read().decode().splitlines()
        _, status = os.waitpid(child, 0)
        if tracer is not None:
            tracer.communicate()
        text = Path(trace.name).read_text("utf-8", "replace")
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    broken = "\n".join(line[2:] for line in lines if line.startswith("!!"))
    if not killed and status:
        injected = [line for line in text.splitlines() if "(INJECTED)" in line]
        raise AssertionError(f"the work failed with no error of its own: {injected}\n{broken}")
    errors = [line[1:] for line in lines if line.startswith("!")]
    met = killed or "(INJECTED)" in text if inject else not errors
    said = [line for line in lines if not line.startswith("!")]
    return Ended(said, errors[0] if errors else None, killed, met, text)


def _changes(name: str, arguments: str) -> bool:
    if name == "openat":
        return _WRITING.search(arguments) is not None
    return name != "ioctl" or "FICLONE" in arguments


def _attach(child: int, trace: str, inject: str | None) -> subprocess.Popen[bytes]:
    """Trace a process from its next call on."""
    options: Iterable[str] = () if inject is None else ("-e", f"inject={inject}")
    command = ["strace", "-y", "-s", "0", "-e", f"trace={','.join(CALLS)}", "-e", "signal=none"]
    tracer = subprocess.Popen(
        [*command, *options, "-o", trace, "-p", str(child)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert tracer.stderr is not None
    first = tracer.stderr.readline()
    assert b"attached" in first, first + tracer.stderr.read()
    return tracer


def _child(work: Work, go: int, pipe: int) -> None:
    """The child's whole life."""
    status = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)
        os.read(go, 1)
        try:
            work(lambda line: os.write(pipe, f"{line}\n".encode()) and None)
        except KetteError as error:
            os.write(pipe, f"!{error.what}\n".encode())
        status = 0
    except BaseException:  # noqa: BLE001 - it must end here, whatever it was
        os.write(pipe, ("!!" + traceback.format_exc().replace("\n", "\n!!") + "\n").encode())
    finally:
        os._exit(status)
