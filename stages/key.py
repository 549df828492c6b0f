"""The key of a unit: everything that decides its bits, in one digest.

Rules:

- KEY-1  The code of a stage is its package's files and the shared modules of `stages/` that they
         import, followed transitively; `audit/` and the orchestration are not part of it.
- KEY-2  Any byte of these files counts, a comment's too.
- KEY-3  A class named in the parameters is keyed by the sources of its package, unless the lock
         pins its distribution.
"""

from __future__ import annotations

import ast
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

from audit.canonical import digest_json
from audit.errors import WrongUse
from stages.artifact import Digest, digest_file
from stages.lock import normal_name
from stages.stage import Stage, Unit

ROOT = Path(__file__).parent


def code_digest(stage: str) -> Digest:
    """Digest of a stage's code and data tables (KEY-1, KEY-2)."""
    return digest_json(code_files(stage))


@cache
def code_files(stage: str) -> dict[str, Digest]:
    """Path below `stages/` → SHA-256, of all that a stage's code consists of."""
    files = {
        path
        for path in (ROOT / stage).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    todo = [path for path in files if path.suffix == ".py"]
    while todo:
        for module in _shared(todo.pop()):
            if module not in files:
                files.add(module)
                todo.append(module)
    return {path.relative_to(ROOT).as_posix(): digest_file(path) for path in sorted(files)}


def _shared(path: Path) -> set[Path]:
    """Modules directly in `stages/` that a module imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    found = set()
    for name in names:
        first, _, rest = name.partition(".")
        candidate = ROOT / f"{rest.split('.', 1)[0]}.py"
        if first == "stages" and rest and candidate.is_file():
            found.add(candidate)
    return found


def class_digests(names: tuple[str, ...], project: Path, pins: dict[str, str]) -> dict[str, str]:
    """Source digests of the classes that parameters name (KEY-3).

    Raises:
        WrongUse: a class is neither of a pinned distribution nor of a module in the project.
    """
    found = {}
    for name in names:
        top = name.split(".", 1)[0]
        owners = packages_distributions().get(top, [])
        if any(normal_name(owner) in pins for owner in owners):
            continue
        sources = [*sorted((project / top).rglob("*.py")), project / f"{top}.py"]
        sources = [path for path in sources if path.is_file()]
        if not sources:
            raise WrongUse(
                f"The class {name} is neither in a pinned library nor in the project.",
                "Put its module into the project's folder, or pin its distribution.",
            )
        found[name] = digest_json({str(p.relative_to(project)): digest_file(p) for p in sources})
    return found


def key_parts(
    stage: Stage[Any], unit: Unit, parameters: Any, lock: Digest, classes: dict[str, str]
) -> dict[str, Any]:
    """What the key of a unit is made of, part by part."""
    return {
        "stage": stage.name,
        "unit": unit.name,
        "code": code_digest(stage.name),
        "classes": classes,
        "parameters": parameters.model_dump(mode="json", by_alias=True),
        "inputs": dict(sorted(unit.inputs.items())),
        "facts": unit.facts,
        "lock": lock,
    }
