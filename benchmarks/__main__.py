"""Run the benchmarks, each figure beside its peer, as a ratio: `python -m benchmarks`.

Those that train for an hour keep what is done in a folder, and are run alone: `ultrasound`,
`hippocampus`.
"""

from __future__ import annotations

from benchmarks import (
    adaptation,
    again,
    burned_in,
    canary,
    inference_memory,
    ingest,
    ingest_memory,
    ledger,
    midi,
    start,
    trace,
    train_step,
)

for module in (
    start,
    again,
    trace,
    ledger,
    ingest,
    ingest_memory,
    canary,
    midi,
    burned_in,
    inference_memory,
    adaptation,
    train_step,
):
    module.main()
