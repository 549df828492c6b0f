"""Peak memory of ingestion with 2,000 and 20,000 instances (`python -m benchmarks.ingest_memory`).

The instances are small (16 × 16), so that what is kept for each shows; subjects have a
thousand each. The peaks are of the process that plans and of the worker that shares planning, does
the units and merges.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.ingest import kette, make

FEW, MANY = 2_000, 20_000


def main() -> None:
    """Print the figures."""
    peaks: list[tuple[float, ...]] = []
    for files in (FEW, MANY):
        with tempfile.TemporaryDirectory() as folder:
            command = (sys.executable, "-m", "benchmarks.ingest_memory", str(files), folder)
            done = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks.append(tuple(map(float, done.stdout.split())))
        print(
            f"{files} instances: peak {peaks[-1][0]:.0f} MiB, of the worker {peaks[-1][1]:.0f} MiB"
        )
    print(f"ratio of both together {sum(peaks[1]) / sum(peaks[0]):.3f}", end="")
    own, worker = (many / few for few, many in zip(*peaks, strict=True))
    print(f"; of the first {own:.3f}, of the worker {worker:.3f}")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        work = Path(sys.argv[2])
        if len(sys.argv) == 3:
            again = (sys.executable, "-m", "benchmarks.ingest_memory", *sys.argv[1:], "measure")
            make(work / "in", int(sys.argv[1]), 16, subjects=int(sys.argv[1]) // 1000)
            subprocess.run(again, check=True)
        else:
            (work / "out").mkdir()
            kette(work / "in", work / "out")
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
                print(resource.getrusage(who).ru_maxrss / 1024)
