"""Run every benchmark, each figure beside its peer, as a ratio: `python -m benchmarks`."""

from __future__ import annotations

from benchmarks import (
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
    train_step,
):
    module.main()
