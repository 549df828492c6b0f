"""The software bill of materials, in CycloneDX 1.6: the release, its model, what both need.

The components are `kette` and every distribution that it needs, found by following the
requirements of what is installed: a run starts only when that is what the lock pins. Pre-trained
weights that the parameters declare are components too, and the model depends on them.

Rules:

- SBM-1  The same environment and release give the same bytes: serial number from a digest, time
         from the project's epoch, everything sorted.
- SBM-2  Every requirement whose marker holds is followed; one that is not installed is an error.
- SBM-3  A license stands as its distribution declares it, never guessed.
- SBM-4  Every entry of the pre-trained weights is listed: maker, version, license, digest, place,
         and what IEC 62304 asks of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Any
from uuid import UUID

from audit.canonical import digest_json
from audit.errors import Fault
from stages.artifact import Digest
from stages.pretrained_params import PretrainedSource
from stages.pretrained_soup import component

ROOT = "kette"
_LONGEST = 400
"""Characters of a license's name or expression; a longer field holds the license's text."""
Closure = Mapping[str, tuple[Distribution, tuple[str, ...]]]
"""Normalized name → distribution and the normalized names that it requires, sorted by name."""


def closure(extras: Sequence[str] = ()) -> Closure:
    """`kette` and all that it needs here (SBM-2).

    Args:
        extras: of `kette` that the release used.

    Raises:
        Fault: a required distribution is not installed.
    """
    from packaging.utils import canonicalize_name

    found: dict[str, tuple[Distribution, set[str]]] = {}
    done = set()
    todo = [(ROOT, frozenset(extras))]
    while todo:
        name, wanted = todo.pop()
        if (name, wanted) in done:
            continue
        done.add((name, wanted))
        try:
            dist = distribution(name)
        except PackageNotFoundError:
            raise Fault(
                f"The distribution {name} is required, but not installed.",
                "Install the lock: `pip install -r constraints.txt`.",
            ) from None
        _, needs = found.setdefault(name, (dist, set()))
        for required, its_extras in _requirements(dist, wanted):
            needs.add(canonicalize_name(required))
            todo.append((canonicalize_name(required), its_extras))
    return {name: (dist, tuple(sorted(needs))) for name, (dist, needs) in sorted(found.items())}


def bill(
    name: str,
    version: str,
    epoch: datetime,
    models: Mapping[str, Digest],
    parts: Closure,
    *,
    weights: Mapping[str, PretrainedSource] | None = None,
) -> bytes:
    """`sbom.cdx.json`.

    Args:
        name: of the project.
        version: of the release.
        epoch: the bill's time.
        models: member → SHA-256 of each file of the model.
        parts: of `closure`.
        weights: name → entry of the pre-trained weights.
    """
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.dependency import Dependency
    from cyclonedx.output.json import JsonV1Dot6
    from packageurl import PackageURL

    release = Component(
        name=name,
        version=version,
        type=ComponentType.APPLICATION,
        bom_ref="release",
    )
    model = Component(
        name=f"{name}-model",
        version=version,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref="model",
        components=[
            Component(
                name=path,
                type=ComponentType.FILE,
                bom_ref=path,
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
            )
            for path, digest in sorted(models.items())
        ],
    )
    libraries = {
        key: Component(
            name=dist.name,
            version=dist.version,
            type=ComponentType.LIBRARY,
            bom_ref=key,
            purl=PackageURL("pypi", name=key, version=dist.version),
            licenses=licenses(dist),
        )
        for key, (dist, _) in parts.items()
    }
    pretrained = [component(key, source) for key, source in sorted((weights or {}).items())]
    dependencies = [
        *(
            [Dependency(model.bom_ref, [Dependency(part.bom_ref) for part in pretrained])]
            if pretrained
            else []
        ),
        Dependency(
            release.bom_ref, [Dependency(model.bom_ref), Dependency(libraries[ROOT].bom_ref)]
        ),
        *(
            Dependency(libraries[key].bom_ref, [Dependency(libraries[n].bom_ref) for n in needs])
            for key, (_, needs) in parts.items()
        ),
    ]
    pins = {key: dist.version for key, (dist, _) in parts.items()}
    told = {key: source.model_dump(mode="json") for key, source in (weights or {}).items()}
    digest = digest_json([name, version, dict(models), pins, *([told] if told else [])])
    bom = Bom(
        serial_number=UUID(digest[:32], version=5),
        metadata=BomMetaData(component=release, timestamp=epoch),
        components=[model, *pretrained, *libraries.values()],
        dependencies=dependencies,
    )
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False).encode()


def missing(document: bytes) -> tuple[list[str], int]:
    """Distributions required here that a bill lacks, and how many distributions it lists."""
    components = json.loads(document)["components"] if document else []
    listed = {(c["bom-ref"], c["version"]) for c in components if c["type"] == "library"}
    required = {(name, dist.version) for name, (dist, _) in closure().items()}
    return [f"{name} {version}" for name, version in sorted(required - listed)], len(listed)


def licenses(dist: Distribution) -> list[Any]:
    """What a distribution declares: expression, short field, or classifiers (SBM-3)."""
    from cyclonedx.contrib.license.factories import LicenseFactory

    make = LicenseFactory()
    meta = dist.metadata
    for field in ("License-Expression", "License"):
        text = (meta[field] or "").strip() if field in meta else ""
        if text and "\n" not in text and len(text) <= _LONGEST:
            return [make.make_from_string(text)]
    named = [
        classifier.rpartition(" :: ")[2]
        for classifier in meta.get_all("Classifier") or ()
        if classifier.startswith("License ::")
    ]
    return [make.make_with_name(text) for text in sorted(set(named))]


def _requirements(
    dist: Distribution, extras: frozenset[str]
) -> Iterator[tuple[str, frozenset[str]]]:
    from packaging.requirements import Requirement

    for line in dist.requires or ():
        need = Requirement(line)
        holds = need.marker is None or any(
            need.marker.evaluate({"extra": extra}) for extra in ("", *sorted(extras))
        )
        if holds:
            yield need.name, frozenset(need.extras)
