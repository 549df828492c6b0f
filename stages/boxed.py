"""Inside the box: what a process gives up before it looks at foreign bytes.

Rules:

- BOX-3  It opens no file, writes none beyond a size, leaves no core, and dies beyond its memory and
         processor time.
- BOX-4  Where it needs no more imports and threads, it starts none, and no process either; whatever
         Python calls an event of files, processes, sockets or code ends it at once. A hook of the
         interpreter cannot be taken off.
"""

from __future__ import annotations

import os
import resource
import sys
from typing import Any, Final

BROKE_OUT: Final = 86
"""Exit code of a process that did what it had given up."""
_FORBIDDEN: Final = (
    *("open", "os.", "subprocess.", "socket.", "ctypes.", "shutil.", "pty.", "fcntl.", "mmap."),
    *("import", "exec", "compile", "pickle.find_class", "marshal.", "code.__new__"),
    *("function.__new__", "sys.addaudithook", "sys.setprofile", "sys.settrace", "signal."),
)
"""Beginnings of the names of audit events (Python documentation, *Audit events table*)."""


def close_in(*, memory: int, written: int = 0) -> None:
    """Give up files, core dumps and memory beyond a size (BOX-3).

    Args:
        memory: bytes of data that the process may hold.
        written: bytes that it may write into each open file; pipes are not counted.
    """
    for what, most in (
        (resource.RLIMIT_FSIZE, written),
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_DATA, memory),
    ):
        resource.setrlimit(what, (most, most))


def more_seconds(seconds: int) -> None:
    """Set what is left of processor time, from now (BOX-3)."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    until = int(used.ru_utime + used.ru_stime) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (until, resource.RLIM_INFINITY))


def lock_down() -> None:
    """End this process at the first event that reading bytes never needs (BOX-4)."""
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    forbidden, end = _FORBIDDEN, os._exit

    def hook(event: str, _arguments: Any) -> None:
        if event.startswith(forbidden):
            end(BROKE_OUT)

    sys.addaudithook(hook)
