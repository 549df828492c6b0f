"""Start-up: `kette --help` beside a bare interpreter and beside `dvc --help`."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time


def seconds(*command: str, runs: int = 7) -> float:
    """Median wall time of a command."""
    taken = []
    for _ in range(runs):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def main() -> None:
    """Print the figures."""
    bare = seconds(sys.executable, "-c", "pass")
    kette = seconds(sys.executable, "-m", "flows.cli", "--help")
    dvc = seconds(sys.executable, "-m", "dvc", "--help")
    print(f"kette --help {kette:.3f} s; bare interpreter {bare:.3f} s; dvc --help {dvc:.3f} s")
    print(f"ratio to dvc {kette / dvc:.2f}, to the interpreter {kette / bare:.1f}")


if __name__ == "__main__":
    main()
