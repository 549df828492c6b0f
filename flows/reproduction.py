"""Reproducing a past release: retrieve it, run its own code on its own data, compare, sign.

Rules:

- RPR-1  Nothing of the project's work tree decides the result: manifest, parameters, lock, data and
         code are the tag's.
- RPR-2  Every reproduction that came to a result leaves a page and a signed record, whatever the
         result is.
- RPR-3  A tag that is not signed, or signed for another manifest, or by a key that neither this
         machine nor the caller knows, is refused: its code would run here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path

from audit.errors import Refused
from audit.public_keys import load_public, public_keys
from audit.statement import event
from flows.expectation import Level, class_differences, expected
from flows.git import Repository
from flows.history import history, standing
from flows.ledger import open_ledger
from flows.machine_class import machine_class
from flows.manifest import ReleaseManifest
from flows.objects import Objects
from flows.rebuilt import Work, rebuilt
from flows.reference import Reference, resolve
from flows.reproduced import Reproduction
from flows.reproduction_page import page
from flows.retrieval import Retrieved, retrieve
from flows.tag_signature import signer_of
from flows.witness import testify
from flows.worktree import workplace
from stages.package.verify import verify_bundle

Say = Callable[[str, float], None]


def reproduce(
    project: Path,
    ref: str,
    *,
    asked: Level | None = None,
    key: Path | None = None,
    keep: bool = False,
    say: Say = lambda text, fraction: None,
) -> Reproduction:
    """Reproduce a release and record what came of it.

    Args:
        project: folder of the project.
        ref: version, tag or commit.
        asked: the level; default: R1 on a machine of the release's class, else R2.
        key: public key (PEM) of the releaser, where this machine does not know it.
        keep: leave the work tree and the retrieved release below `.kette/reproduce/`.
        say: progress.

    Raises:
        WrongUse: no such release; no interpreter of its version.
        Refused: its tag, manifest or ladder does not hold, or nobody here knows who signed it.
        Fault: git, DVC, pip or the rebuild failed.
    """
    ledger, place, machine = open_ledger(project)
    repository, known = Repository(place.project), history(ledger)
    reference = resolve(repository, place.name, ref)
    manifest = reference.manifest
    trusted = known.keys | public_keys(place.keys).keys()
    signer = signed_by(
        repository, reference, trusted | ({load_public(key).keyid} if key else set())
    )
    differs = class_differences(manifest.machine_class, machine_class())
    asked = expected(asked, differs)
    objects = Objects(place.project)
    with workplace(place.project, reference.version, keep=keep) as work:
        say("retrieving the release", 0.0)
        retrieved = retrieve(objects, manifest, work / "release")
        found = Reproduction(
            version=reference.version,
            tag=reference.tag,
            commit=reference.commit,
            asked=asked,
            standing=standing(repository, place.name, reference.version, known),
            signer=signer,
            lost=(*retrieved.problems, *_evidence(retrieved, manifest)),
            machine=differs,
            rebuild=None
            if asked == "R0"
            else rebuilt(
                Work(objects, reference, retrieved, work, machine, frozenset(known.erased), say)
            ),
        )
    shown = page(found)
    path = _keep_page(place.work / "reproductions", reference.version, shown)
    subjects = [
        (manifest.bundle.name, manifest.bundle.sha256),
        (path.name, hashlib.sha256(shown).hexdigest()),
    ]
    told = event("reproduced", at=datetime.now(UTC), details=found.details(), subjects=subjects)
    return found.kept(path, *testify(project, told))


def signed_by(repository: Repository, reference: Reference, known: Collection[str]) -> str:
    """Who signed a release's tag, in words (RPR-3).

    Raises:
        Refused: nobody did, the signature does not hold, or its key is not known.
    """
    raw = repository.ask("cat-file", "tag", f"refs/tags/{reference.tag}")
    key = signer_of(raw.encode()) if raw else None
    if raw is None or key is None:
        raise Refused(
            f"The tag {reference.tag} is not signed.",
            "Fetch it again from where the release was published: `kette release` signs its tags.",
        )
    if reference.manifest.digest not in raw:
        raise Refused(
            f"The tag {reference.tag} was signed for another manifest.",
            "Fetch the tag again from where the release was published.",
        )
    if key.keyid not in known:
        raise Refused(
            f"The tag {reference.tag} is signed by a key that nobody here knows: {key.keyid[:12]}.",
            "Get the releaser's public key from its owner and give it with `--key`: "
            "a release's own code runs when it is rebuilt.",
        )
    return f"Signed by the key {key.keyid[:12]}."


def _evidence(retrieved: Retrieved, manifest: ReleaseManifest) -> Iterator[str]:
    """What of the evidence does not hold, if it was retrieved."""
    folder = retrieved.folder
    bundle, evidence = folder / manifest.bundle.name, folder / "evidence"
    if bundle.is_file() and (evidence / "signer.pub").is_file():
        found = verify_bundle(bundle, evidence, evidence / "signer.pub")
        if not found["ok"]:
            yield f"the evidence does not hold at {found['first_bad']}: {found['reason']}"


def _keep_page(folder: Path, version: str, shown: bytes) -> Path:
    """Write a page under the next free number."""
    folder.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        path = folder / f"{version}-{number}.html"
        try:
            with path.open("xb") as file:
                file.write(shown)
        except FileExistsError:
            number += 1
        else:
            return path
