"""What a trial may see of the cohort."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from audit.errors import Refused, WrongUse
from stages.cohort import Sample
from stages.params import Task
from stages.train.source import Purpose, Source, generator


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

    def with_labels(self, count: int, seed: int, task: Task) -> Data:
        """The same with the labels of so many subjects alone; more of them hold those of fewer.

        Subjects come in an order of the seed's own; where the task has classes, these take turns.

        Raises:
            WrongUse: there are not so many labeled subjects.
            Refused: they do not show all of the task.
        """
        subjects = sorted({source.subject for source in self.labeled})
        if count > len(subjects):
            raise WrongUse(
                f"Labels of {count} subjects are asked for, and {len(subjects)} are labeled.",
                "Take smaller numbers in `train.comparison.label_counts`.",
            )
        order = generator(seed, Purpose.LABELED_SUBJECTS).permutation(len(subjects))
        drawn = _in_turns([subjects[index] for index in order], self._classes())
        kept = frozenset(drawn[:count])
        fewer = replace(self, labeled=[s for s in self.labeled if s.subject in kept])
        check_shown(fewer.labeled, task)
        return fewer

    def _classes(self) -> dict[str, int]:
        return {source.subject: source.label for source in self.labeled}


def check_shown(labeled: Iterable[Source], task: Task) -> None:
    """Refuse to train on series that lack a structure or a class of the task altogether (TRN-8).

    Raises:
        Refused: naming what is absent.
    """
    sources = list(labeled)
    channels = {channel for source in sources for channel in source.channels}
    classes = {source.label for source in sources}
    absent = [s.name for n, s in enumerate(task.structures, start=1) if n not in channels]
    absent += [label.name for n, label in enumerate(task.classes) if n not in classes]
    if absent:
        raise Refused(
            f"No training series shows: {', '.join(absent)}.",
            "Annotate subjects that do, or take the structure or class out of `task`.",
        )


def _in_turns(subjects: Sequence[str], classes: dict[str, int]) -> list[str]:
    """The subjects so that their classes take turns, each in the given order."""
    queues: dict[int, list[str]] = {}
    for subject in subjects:
        queues.setdefault(classes[subject], []).append(subject)
    longest = max(map(len, queues.values()), default=0)
    return [
        queues[label][turn]
        for turn in range(longest)
        for label in sorted(queues)
        if turn < len(queues[label])
    ]
