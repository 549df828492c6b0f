"""A candidate release: what the chain made, with the digests that a release names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flows.chain import Chain, Summary
from flows.manifest import StageMade
from stages.artifact import Digest, digest_file
from stages.key import code_files
from stages.stage import Gate


@dataclass(frozen=True)
class Candidate:
    """`releases/candidate/`, and the chain behind it."""

    folder: Path
    bundle: str
    """File name of the archive."""
    sha256: Digest
    """Of the archive."""
    stages: Mapping[str, StageMade]
    gates: Mapping[str, Gate]
    lock: Digest
    cohort: Digest
    """Digest of the dataset's tree."""
    indexes: tuple[int, ...]
    """Of the records that it stands on."""
    code: Mapping[str, Digest]
    """Path below `stages/` → SHA-256, of all code that its keys name."""


def candidate_of(chain: Chain, summary: Summary) -> Candidate:
    """What a whole chain ended with."""
    run = chain.run
    folder, bundle = summary.release, summary.bundle
    assert folder is not None and bundle is not None  # noqa: S101, PT018 - of a whole chain
    return Candidate(
        folder=folder,
        bundle=bundle.name,
        sha256=digest_file(bundle),
        stages={
            name: StageMade(key=result.key, artifact=result.artifact.digest)
            for name, result in run.results.items()
        },
        gates={name: result.gate for name, result in run.results.items()},
        lock=run.lock,
        cohort=run.results["dataset"].artifact.units["cohort"],
        indexes=tuple(run.recorder.indexes(run.keys)),
        code={path: digest for name in run.results for path, digest in code_files(name).items()},
    )
