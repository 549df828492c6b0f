"""Running a release's own code on its own data, in a process that knows nothing of this machine.

The contract between versions is the command `kette run --rebuild FOLDER --json` and the files of
the release's folder; nothing of the old code is imported here.

Rules:

- RBD-1  The code is the release's: its `kette.zip` stands first on the path, neither the work tree
         nor the working folder does.
- RBD-2  The run has a home, keys and a ledger of its own. Of this machine's settings it gets those
         alone that say how much it may use.
- RBD-3  A rebuild that ends early is told with what it said last, never as a result.
"""

from __future__ import annotations

import re
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from audit.errors import Fault
from stages.project import Machine

Say = Callable[[str, float], None]

_OTHERS = ("KETTE_", "PREFECT_", "PYTHON", "GIT_", "DVC_", "VIRTUAL_ENV")
_YAML = re.compile(r"\s*(-|[\w\"'.-]+:( |$))")
"""Lines of the parameters, which a run prints before its progress."""


@dataclass(frozen=True)
class Rebuilt:
    """How a rebuild ended."""

    code: int
    """Of the exit: 0, or 1 where a gate refused."""
    candidate: Path
    """The folder that it made, if it came so far."""
    told: str
    """The last line that it said."""


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a release's `kette.zip`.

    Raises:
        Fault: it is damaged.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            zipped.extractall(folder)  # it keeps every member inside the folder
    except (OSError, zipfile.BadZipFile):
        raise Fault(
            "The release's own code (`kette.zip`) cannot be unpacked.",
            "Fetch the release again from where it was published.",
        ) from None
    return folder


def variables(own: Mapping[str, str], code: Path, home: Path, machine: Machine) -> dict[str, str]:
    """The environment variables of the rebuild (RBD-1, RBD-2).

    Args:
        own: variables of this process.
        code: folder of the release's code.
        home: KETTE_HOME of the rebuild.
        machine: says how many processes it may use.
    """
    kept = {name: value for name, value in own.items() if not name.startswith(_OTHERS)}
    return kept | {
        "KETTE_HOME": str(home),
        "KETTE_WORKERS": str(machine.workers),
        "KETTE_LOADER_WORKERS": str(machine.loader_workers),
        "PYTHONPATH": str(code),
        "PYTHONSAFEPATH": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip


def rebuild(
    python: Path,
    project: Path,
    release: Path,
    environment: Mapping[str, str],
    say: Say,
    *,
    without_missing: bool,
) -> Rebuilt:
    """Run the chain again from `data/` and the release's folder.

    Args:
        python: the release's interpreter.
        project: the release's commit, with `data/` laid.
        release: the release's folder.
        environment: of the process, from `variables`.
        say: progress.
        without_missing: go on without the subjects of whom `data/` holds nothing.
    """
    command = [str(python), "-m", "flows.cli", "run", "--rebuild", str(release), "--json"]
    command += ["--without-missing"] if without_missing else []
    told = ""
    with (
        (project.parent / "rebuild.log").open("w", encoding="utf-8") as log,
        subprocess.Popen(
            command, cwd=project, env=dict(environment), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace",
            close_fds=False,  # it holds the lock of its folder, also when this process was killed
        ) as process,
    ):  # fmt: skip
        assert process.stderr is not None  # noqa: S101 - narrows the type
        try:
            for line in process.stderr:
                log.write(line)
                told = line.strip().removeprefix("kette: ") or told
                if line.strip() and not _YAML.match(line):
                    say(f"rebuild: {told}", 0.5)
        except BaseException:
            process.terminate()
            raise
    return Rebuilt(process.returncode, project / "releases" / "candidate", told)
