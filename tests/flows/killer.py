"""Run `kette` and kill it with SIGKILL at one place: `killer.py PLACE STAGE WORDS…`.

Places: `work` (half a second into the stage's first job), `append` (between the store's rename
and the ledger's append of the stage's first record), `merge` (before the stage's merge).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

from flows import cli
from stages.pool import Workers
from stages.runner import Run


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    place, stage, *words = sys.argv[1:]
    do, settle, finish = Workers.do, Run._settle, Run.finish

    def dying_do(self: Workers, job: Any) -> Any:
        if place == "work" and job.stage == stage:
            threading.Timer(0.5, _die).start()
        return do(self, job)

    def dying_settle(self: Run, entry: Any, status: str) -> Any:
        if place == "append" and entry.stage == stage:
            _die()
        return settle(self, entry, status)

    def dying_finish(self: Run, planned: Any) -> Any:
        if place == "merge" and planned.stage.name == stage:
            _die()
        return finish(self, planned)

    Workers.do, Run._settle, Run.finish = dying_do, dying_settle, dying_finish  # type: ignore[method-assign]
    sys.argv = ["kette", *words]
    cli.main()


if __name__ == "__main__":
    main()
