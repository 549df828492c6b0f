"""The chain again with nothing changed, beside an empty Prefect flow in the same warm home.

Runs in the checkout's own project after `kette demo`: `python -m benchmarks.again`.
"""

from __future__ import annotations

import subprocess
import sys

from benchmarks.start import seconds

EMPTY = """
from pathlib import Path
from flows import orchestrator
from flows.chain import place_of
from stages.project import Machine
place, _ = place_of(Path("."), Machine.here())
with orchestrator.api(place):
    from prefect import flow
    @flow
    def empty(): return 1
    empty()
"""


def main() -> None:
    """Print the figures."""
    demo = (sys.executable, "-m", "flows.cli", "demo", "--json")
    subprocess.run(demo, check=True, capture_output=True)
    empty = seconds(sys.executable, "-c", EMPTY, runs=3)
    again = seconds(*demo, runs=3)
    print(f"the chain again {again:.2f} s; an empty flow {empty:.2f} s")
    print(f"difference {again - empty:.2f} s, ratio {again / empty:.2f}")


if __name__ == "__main__":
    main()
