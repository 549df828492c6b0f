"""A record of the ledger, read: a statement and its place, with names for what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Record:
    """Fields that a record has not (an event has no stage) are None or empty."""

    index: int
    statement: Json

    @property
    def subjects(self) -> tuple[tuple[str, str], ...]:
        """Name and SHA-256 of each subject, in order."""
        return tuple((item["name"], item["digest"]["sha256"]) for item in self.statement["subject"])

    @property
    def stage(self) -> str | None:
        return self._external.get("stage")

    @property
    def unit(self) -> str | None:
        return self._external.get("unit")

    @property
    def parameters(self) -> Json:
        parameters: Json = self._external.get("parameters", {})
        return parameters

    @property
    def key(self) -> str | None:
        return self._internal.get("key")

    @property
    def environment(self) -> Json:
        environment: Json = self._internal.get("environment", {})
        return environment

    @property
    def inputs(self) -> Mapping[str, str]:
        """Label → SHA-256, `lock` among them."""
        return {
            item["name"]: item["digest"]["sha256"]
            for item in self._definition.get("resolvedDependencies", ())
            if "sha256" in item["digest"]
        }

    @property
    def commit(self) -> str | None:
        for item in self._definition.get("resolvedDependencies", ()):
            if "gitCommit" in item["digest"]:
                return str(item["digest"]["gitCommit"])
        return None

    @property
    def status(self) -> str | None:
        return self._own.get("status")

    @property
    def findings(self) -> Json:
        findings: Json = self._own.get("findings", {})
        return findings

    @property
    def measured(self) -> Json:
        measured: Json = self._own.get("measured", {})
        return measured

    @property
    def gate(self) -> Json | None:
        return self._own.get("gate")

    @property
    def kind(self) -> str | None:
        """What an event is about; None for a stage's run."""
        return self._predicate.get("kind")

    @property
    def details(self) -> Json:
        details: Json = self._predicate.get("details", {})
        return details

    @property
    def time(self) -> str:
        """When it ended or happened, by the clock of its machine (UTC, RFC 3339)."""
        metadata = self._predicate.get("runDetails", {}).get("metadata", {})
        return str(metadata.get("finishedOn") or self._predicate.get("at", ""))

    @property
    def _predicate(self) -> Json:
        predicate: Json = self.statement["predicate"]
        return predicate

    @property
    def _definition(self) -> Json:
        definition: Json = self._predicate.get("buildDefinition", {})
        return definition

    @property
    def _external(self) -> Json:
        external: Json = self._definition.get("externalParameters", {})
        return external

    @property
    def _internal(self) -> Json:
        internal: Json = self._definition.get("internalParameters", {})
        return internal

    @property
    def _own(self) -> Json:
        own: Json = self._predicate.get("kette_stage", {})
        return own
