"""What must be so before a candidate is released: people's signatures, and gates.

Rules:

- APR-1  A signature counts for the very bytes that it names: another build needs another one.
- APR-2  The ledger was verified before: a signature in it is by a key that held its role there.
- APR-3  A chain whose gates passed with findings is released unless the parameters refuse it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from audit.errors import Refused
from audit.key_events import SIGNATURE
from audit.reading import Entry
from flows.manifest import Approval
from stages.artifact import Digest
from stages.stage import Gate, Verdict


def approvals(entries: Iterable[Entry], bundle: Digest) -> tuple[Approval, ...]:
    """The signatures over a bundle, in order.

    Args:
        entries: records of a verified ledger.
        bundle: SHA-256 of the bundle.
    """
    return tuple(
        Approval(
            meaning=entry.record.details["meaning"],
            role=entry.record.details["role"],
            signer=entry.record.details["signer"],
            keyid=entry.keyid,
            index=entry.record.index,
            at=entry.record.time,
        )
        for entry in entries
        if entry.record.kind == SIGNATURE
        and bundle in {digest for _, digest in entry.record.subjects}
    )


def require_approvals(found: Sequence[Approval], wanted: Sequence[str], bundle: str) -> None:
    """Hold the signatures against those that the parameters ask for.

    Args:
        found: over this bundle.
        wanted: meanings, of `release.approvals`.
        bundle: file name of the archive.

    Raises:
        Refused: naming the first that is missing.
    """
    have = {approval.meaning for approval in found}
    for meaning in wanted:
        if meaning not in have:
            raise Refused(
                f"{bundle} has no signature `{meaning}`, which `release.approvals` asks for.",
                f"Run `kette sign releases/candidate/{bundle} --meaning {meaning}`.",
            )


def require_gates(gates: Mapping[str, Gate], findings: str) -> None:
    """Refuse findings where the parameters do (APR-3).

    Raises:
        Refused: naming stage, rule and figure of the first finding.
    """
    for stage, gate in gates.items():
        for check in gate.checks:
            if findings == "refuse" and check.verdict is not Verdict.PASSED:
                raise Refused(
                    f"{stage} has a finding of {check.rule} ({check.figure}; limit: "
                    f"{check.limit}), and `release.findings` is `refuse`.",
                    check.remedy or "Look at the report.",
                )
