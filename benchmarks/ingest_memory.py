"""Peak memory of ingestion with 2,000 and 20,000 instances (`python -m benchmarks.ingest_memory`).

The instances are small (16 × 16), so that what is kept for each shows; subjects have a
thousand each. The peak is of a process of its own, planning, units and merging included.
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
    peaks = []
    for files in (FEW, MANY):
        with tempfile.TemporaryDirectory() as folder:
            command = (sys.executable, "-m", "benchmarks.ingest_memory", str(files), folder)
            done = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks.append(float(done.stdout))
        print(f"{files} instances: peak {peaks[-1]:.0f} MiB")
    print(f"ratio {peaks[1] / peaks[0]:.2f}")


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
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
