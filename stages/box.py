"""A process that is trusted with nothing: how it is started.

It gets an environment of its own, this product's code and the pipes or files that it is handed;
what it may use up it gives away itself before it looks at foreign bytes (`boxed.py`).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

_CODE = Path(__file__).parents[1]


def start(
    module: str,
    *arguments: str,
    stdin: int | IO[bytes],
    stdout: int | IO[bytes],
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a module of this product by its dotted name, with one thread and nobody's settings."""
    return subprocess.Popen(
        [sys.executable, "-P", "-s", "-m", module, *arguments],
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.DEVNULL,
        pass_fds=tuple(pass_fds),
        cwd="/",
        env={"PYTHONPATH": str(_CODE), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
