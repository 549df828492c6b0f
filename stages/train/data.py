"""What a trial may see of the cohort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stages.cohort import Sample
from stages.train.source import Source


@dataclass(frozen=True)
class Data:
    """Training and validation; no test subject is in it (TRN-2)."""

    labeled: Sequence[Source]
    unlabeled: Sequence[Source]
    """Images whose labels are not looked at; those of the labeled are among them."""
    validation: Sequence[Sample]
    """Labeled samples that no weight is trained on; with a target, the target's alone."""
    target: Sequence[Source] = ()
    """Images of the vendors that `train.adaptation` names, without their labels (ADA-1)."""
    aside: Sequence[Sample] = ()
    """With a target: labeled samples of the other vendors that no weight is trained on."""
