"""Run every benchmark: `python -m benchmarks`. Each prints its figure beside its peer, as a ratio."""

from __future__ import annotations

from benchmarks import again, start

for module in (start, again):
    module.main()
