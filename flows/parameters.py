"""`params.yaml`: every section, resolved, checked, frozen.

Rules:

- PAR-1  An unknown, missing, ill-typed or contradictory key is refused by its name and line.
- PAR-2  What a run used is what `resolved` prints: defaults included, nothing else.
- PAR-3  The section `release` decides no bits: no stage, report or archive sees it. So approvals
         and tolerances can be declared without another candidate coming out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError, model_validator

from audit.errors import WrongUse
from flows.release_params import ReleaseParams
from stages.annotate.params import AnnotateParams
from stages.assess.params import AssessParams
from stages.dataset.params import DatasetParams
from stages.ingest.params import IngestParams
from stages.optimize.params import OptimizeParams
from stages.package.params import PackageParams
from stages.params import Network, Numerics, Params, Project, Task, Volume
from stages.pretrained_params import Weights
from stages.train.params import TrainParams


class Parameters(Params):
    """All sections of `params.yaml`."""

    schema_version: int = 1
    project: Project
    task: Task
    numerics: Numerics = Numerics()
    volume: Volume
    network: Network = Network()
    weights: Weights = Weights()
    ingest: IngestParams = IngestParams()
    annotate: AnnotateParams = AnnotateParams()
    dataset: DatasetParams = DatasetParams()
    train: TrainParams = TrainParams()
    assess: AssessParams = AssessParams()
    optimize: OptimizeParams = OptimizeParams()
    package: PackageParams
    release: ReleaseParams = ReleaseParams()

    @model_validator(mode="after")
    def _known_version(self) -> Parameters:
        if self.schema_version != 1:
            raise ValueError("schema_version: this Kette reads version 1")
        return self

    def sections(self) -> dict[str, Params]:
        """Section name → its model, of all that may decide bits (PAR-3)."""
        return {
            name: value
            for name in type(self).model_fields
            if isinstance(value := getattr(self, name), Params) and name != "release"
        }

    def resolved(self) -> str:
        """All parameters as YAML, defaults included (PAR-2)."""
        text: str = yaml.safe_dump(
            self.model_dump(mode="json", by_alias=True), sort_keys=False, allow_unicode=True
        )
        return text


def load(path: Path) -> Parameters:
    """Read a project's parameters.

    Raises:
        WrongUse: naming the key and the line of the first that is wrong.
    """
    try:
        text = path.read_text("utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise WrongUse(
            f"`params.yaml` is no YAML: {error.problem} on line {line}.", "Mend that line."
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        raise WrongUse("`params.yaml` cannot be read.", "Write it as YAML in UTF-8.") from None
    if double := _duplicate(root):
        raise WrongUse(
            f"`params.yaml` has the key `{double[0]}` twice, again on line {double[1]}.",
            "Keep one of the two.",
        )
    try:
        return Parameters.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "(the whole)"
        what = "is not known" if first["type"] == "extra_forbidden" else first["msg"]
        others = f" ({error.error_count()} errors in all.)" if error.error_count() > 1 else ""
        raise WrongUse(
            f"`params.yaml`, line {_line(root, first['loc'])}, `{key}`: {what}.{others}",
            "Mend it; `docs/parameters.md` lists every key.",
        ) from None


def _duplicate(node: Any) -> tuple[str, int] | None:
    """The first key that a mapping holds twice, and the line where it stands again."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                return key.value, key.start_mark.line + 1
            seen.add(key.value)
            if found := _duplicate(value):
                return found
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            if found := _duplicate(item):
                return found
    return None


def _line(node: Any, place: Sequence[int | str]) -> int:
    """Line of the deepest node on the way to a place, counted from 1."""
    line = 1
    for part in place:
        if isinstance(node, yaml.MappingNode):
            pair = next((pair for pair in node.value if pair[0].value == part), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line
