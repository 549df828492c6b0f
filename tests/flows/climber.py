"""The chain or a rebuild without Prefect, in one process: `climber.py [run|rebuild FOLDER] …`.

The same stages, workers and records as `kette run`; only the scheduler is left out, which decides
nothing and takes seconds.
"""

from __future__ import annotations

import sys
from pathlib import Path

from audit.errors import KetteError
from flows import console
from flows.chain import open_chain


def main() -> int:
    verb, *words = sys.argv[1:]
    folder = Path(words[0]) if verb == "rebuild" else None
    missing = "--without-missing" in words
    try:
        with open_chain(Path.cwd(), rebuild=folder, without_missing=missing) as chain:
            for name in chain.stages:
                if chain.cites(name):
                    chain.cite()
                    continue
                planned = chain.plan(name)
                for unit in planned.todo:
                    chain.run.execute(planned, unit)
                chain.finish(planned)
            chain.summary()
    except KetteError as error:
        return console.fail(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
