"""The ten actions of MIDI-B on the planted phantom cohort: `python -m benchmarks.midi`.

The scorer is `tests/stages/ingest/helpers_midi.py`; a missing instance fails all its checks.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path += [str(ROOT / "tests" / "stages" / "ingest"), str(ROOT / "tests" / "stages")]
SUBJECTS = 6


def main() -> None:
    """Print the table, and what failed."""
    from helpers_cohort_planted import pairs
    from helpers_midi import score

    from stages.ingest.header import quiet

    with tempfile.TemporaryDirectory() as folder, quiet():
        found, planted = pairs(Path(folder), SUBJECTS)
        result = score(found, planted)
    missing = sum(pair.output is None for pair in found)
    print(f"{len(found)} instances of {SUBJECTS} subjects, {missing} missing in the output")
    print(f"{'action':17}{'checks':>9}{'passed':>9}")
    print(*result.lines(), sep="\n")
    for (action, keyword), times in result.failed.most_common():
        print(f"failed: {action} {keyword}: {times}")


if __name__ == "__main__":
    main()
