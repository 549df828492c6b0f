"""Print `docs/parameters.md` from the models: `python docs/parameters.py > docs/parameters.md`."""

from __future__ import annotations

import ast
import inspect
import sys
from itertools import pairwise
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from flows.parameters import Parameters

HEAD = """# Parameters

Every key of `params.yaml`, printed from the models by `python docs/parameters.py`. An unknown key
is refused with its line; a key without a default is required. `kette run` prints the resolved
parameters. A new `schema_version` comes with a note here on how an older file becomes the next.

| key | type | default | means |
| --- | --- | --- | --- |
"""


def _told(model: type[BaseModel]) -> dict[str, str]:
    """Field → the docstring below it."""
    found = {}
    for base in reversed(model.__mro__):
        if not issubclass(base, BaseModel) or base is BaseModel:
            continue
        node = ast.parse(inspect.getsource(base)).body[0]
        body = node.body if isinstance(node, ast.ClassDef) else []
        for field, text in pairwise(body):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
            ):
                found[field.target.id] = " ".join(str(text.value.value).split())
    return found


def _type(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(inner[0])
    if origin in (Union, UnionType):
        return " or ".join(_type(part) for part in inner)
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, inner))}]"
    if origin is not None:
        return f"{origin.__name__}[{', '.join(_type(part) for part in inner)}]"
    if annotation in (None, type(None), Ellipsis):
        return "..." if annotation is Ellipsis else "None"
    return str(getattr(annotation, "__name__", annotation))


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in getattr(annotation, "__args__", ()) for m in _models(part)]


def _many(annotation: Any) -> str:
    """How a key goes on to the models below it: one, a list of them, or some by name."""
    if isinstance(annotation, type):
        return ""
    return ".<name>" if get_origin(annotation) is dict else "[]"


def rows(model: type[BaseModel], prefix: str = "") -> list[tuple[str, str, str, str]]:
    """Key, type, default and meaning of every field, nested ones by their path."""
    told = _told(model)
    found = []
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        inner = _models(field.annotation)
        if inner:
            found += rows(inner[0], f"{key}{_many(field.annotation)}.")
            continue
        needed = field.default is PydanticUndefined and field.default_factory is None
        default = "required" if needed else f"`{field.get_default(call_default_factory=True)!r}`"
        found.append((f"`{key}`", _type(field.annotation), default, told.get(name, "")))
    return found


def render() -> str:
    """The whole page."""
    lines = ["| " + " | ".join(cell.replace("|", "or") for cell in row) + " |\n"
             for row in rows(Parameters)]  # fmt: skip
    return HEAD + "".join(lines)


if __name__ == "__main__":
    sys.stdout.write(render())
