"""Pre-trained weights as items of unknown provenance: entry of the bill of materials, and row.

Sources: IEC 62304:2006 with Amendment 1:2015, 5.3.3 and 8.1.2; CycloneDX 1.6, component of type
`machine-learning-model`. The library writes no model card yet, so what would stand in one stands in
properties named `kette:…`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from stages.pretrained_params import PretrainedSource
from stages.pretrained_place import Remote, place_of

if TYPE_CHECKING:
    from cyclonedx.model.component import Component


def component(name: str, source: PretrainedSource) -> Component:
    """The CycloneDX component of an entry; its reference is `weights/<name>`.

    Args:
        name: of the entry.
        source: the entry.
    """
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model import (
        ExternalReference,
        ExternalReferenceType,
        HashAlgorithm,
        HashType,
        Property,
        XsUri,
    )
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.contact import OrganizationalEntity

    digest = HashType(alg=HashAlgorithm.SHA_256, content=source.sha256)
    place = place_of(source.uri)
    references = []
    if source.origin.startswith("https://"):
        published = ExternalReferenceType.WEBSITE
        references.append(ExternalReference(type=published, url=XsUri(source.origin)))
    if isinstance(place, Remote):
        file = ExternalReferenceType.DISTRIBUTION
        references.append(ExternalReference(type=file, url=XsUri(place.url), hashes=[digest]))
    return Component(
        name=source.title,
        version=source.version,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=f"weights/{name}",
        supplier=OrganizationalEntity(name=source.supplier),
        description=source.architecture,
        licenses=[LicenseFactory().make_from_string(source.license)],
        hashes=[digest],
        external_references=references,
        properties=[Property(name=key, value=value) for key, value in _properties(name, source)],
    )


def soup_row(name: str, source: PretrainedSource) -> Mapping[str, str]:
    """The entry as a row of a SOUP table, as text."""
    return {
        "name": name,
        "title": source.title,
        "supplier": source.supplier,
        "version": source.version,
        "license": source.license,
        "sha256": source.sha256,
        "requirements": "; ".join(source.requirements),
    }


SOUP_HEADS: Mapping[str, str] = {
    "name": "Name",
    "title": "Title",
    "supplier": "Manufacturer",
    "version": "Version",
    "license": "License",
    "sha256": "SHA-256",
    "requirements": "Requirements",
}
"""Column of `soup_row` → its heading."""


def _properties(name: str, source: PretrainedSource) -> Iterator[tuple[str, str]]:
    """In a fixed order; what an entry leaves open has no property."""
    yield "kette:name", name
    yield "kette:origin", source.origin
    yield "kette:uri", source.uri
    yield "kette:trainingData", source.training_data
    for number, text in enumerate(source.requirements, 1):
        yield f"kette:requirement:{number}", text
    for key, value in source.preprocessing.model_dump(mode="json", exclude_none=True).items():
        text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
        yield f"kette:preprocessing:{key}", text
    if source.license_justification is not None:
        yield "kette:licenseJustification", source.license_justification
