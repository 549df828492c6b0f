"""Checkpoints of a project's ledger that were kept elsewhere: what a ledger must extend."""

from __future__ import annotations

import yaml

from audit.mirror import checkpoints
from stages.elsewhere import mirror_of
from stages.project import Machine, Place


def known_checkpoints(place: Place, machine: Machine) -> dict[str, bytes]:
    """Where from → signed note: of the mirror, if there is one, and of each release's manifest.

    Raises:
        Fault: the mirror cannot be reached.
    """
    url = mirror_of(place, machine)
    found = {f"the mirror ({name})": note for name, note in checkpoints(url).items()} if url else {}
    for path in sorted((place.project / "releases").glob("*.yaml")):
        manifest = yaml.safe_load(path.read_text("utf-8"))
        found[f"release {manifest['version']}"] = manifest["checkpoint"].encode()
    return found
