"""A git on PATH that is the real one, traced or failing at one call of one of its runs."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

from helpers_strace import CALLS, Call, calls_in

AND_CALLER = "signal=SIGKILL and its caller"
"""The whole program ends, as when the machine's memory does."""

_KILLED = 128 + signal.SIGKILL
_SCRIPT = """\
#!/bin/sh
number=$(( $(cat {folder}/count) + 1 ))
echo $number > {folder}/count
if [ "$FAULT_RUN" != all ] && [ "$FAULT_RUN" != $number ]; then exec {git} "$@"; fi
strace -f -y -s 0 -e trace={calls} -e signal=none ${{FAULT_INJECT:+-e inject=$FAULT_INJECT}} \\
  -o {folder}/trace.$number {git} "$@"
status=$?
echo $status > {folder}/status.$number
if [ $status = {killed} ] && [ -n "$FAULT_CALLER" ]; then kill -9 $PPID; fi
exit $status
"""


@dataclass(frozen=True)
class GitCall:
    """A system call of one run of git."""

    run: int
    call: Call

    def __str__(self) -> str:
        return f"git {self.run}: {self.call}"


class FaultyGit:
    """The script, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        git = shutil.which("git")
        (folder / "git").write_text(
            _SCRIPT.format(folder=folder, git=git, killed=_KILLED, calls=",".join(CALLS)), "utf-8"
        )
        (folder / "git").chmod(0o755)

    def use(self, run: str, inject: str = "", *, caller: bool = False) -> None:
        """Let this process and its children call it from now on."""
        for path in self.folder.glob("[ts]*.*"):
            path.unlink()
        (self.folder / "count").write_text("0")
        os.environ["PATH"] = f"{self.folder}{os.pathsep}{os.environ['PATH']}"
        os.environ |= {
            "FAULT_RUN": run, "FAULT_INJECT": inject, "FAULT_CALLER": "yes" if caller else "",
        }  # fmt: skip

    def fail(self, at: GitCall, fault: str) -> None:
        """Fail at one call."""
        inject = at.call.inject(fault.removesuffix(" and its caller"))
        self.use(str(at.run), inject, caller=fault == AND_CALLER)

    def met(self, at: GitCall) -> bool:
        """Whether the fault was met."""
        text = (self.folder / f"trace.{at.run}").read_text("utf-8", "replace")
        status = int((self.folder / f"status.{at.run}").read_text())
        return "(INJECTED)" in text or status == _KILLED

    def calls(self, below: Path) -> list[GitCall]:
        """All calls of all runs that changed files."""
        runs = {int(path.suffix[1:]): path for path in self.folder.glob("trace.*")}
        return [
            GitCall(number, call)
            for number, path in sorted(runs.items())
            for call in calls_in(path.read_text("utf-8", "replace"), below)
        ]
