"""Run every benchmark, each figure beside its peer, as a ratio: `python -m benchmarks`."""

from __future__ import annotations

from benchmarks import again, ledger, start, trace

for module in (start, again, trace, ledger):
    module.main()
