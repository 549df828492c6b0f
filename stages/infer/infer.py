"""`infer`: a released model on a DICOM study; answers with DICOM SEG, SR, or both.

Not a stage of the chain but its product at work. It needs no training framework, and nothing that
only POSIX has.

Rules:

- INF-1  Nothing of a bundle is used before every member's digest is what the manifest says; who
         made the manifest is `kette verify`'s question.
- INF-2  A study is answered if exactly one of its series is suitable: of the task's modality, one
         evenly spaced volume (or resampled to one, where the network learned from such), within the
         bundle's limits. None is refused; several are refused too,
         since a guess between them would look like an answer.
- INF-3  A refusal says which figure and which limit, and shows no identifier.
- INF-4  What computes is what `optimize` proved equal: same runtime, precision, threads, volumes.
- INF-5  The same bundle, study and target give the same bytes: UIDs are digests, and the dates are
         the series' own (else the study's, else the bundle's epoch), never the clock's.
- INF-6  The answer appears whole or not at all; a refusal leaves an older file as it was.
- INF-7  A task of structures is answered with a SEG, one of classes with a structured report
         (`findings.py`), one of both with both, the report beside the SEG. A release that learned
         classes of pictures answers every suitable picture of the study in one report.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from audit.canonical import digest_json
from audit.errors import Fault, Refused, Unreadable, WrongUse

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from stages.bundle import Target
    from stages.infer.findings import Finding
    from stages.infer.release import Release
    from stages.series import Series
    from stages.volume import Prepared

Writer = Callable[[Path], None]


@dataclass(frozen=True)
class InferResult:
    """What came of one study."""

    output: Path | None
    """The DICOM SEG, or the SR of a task of classes alone; None if refused."""
    refused: str | None
    """Why there is no answer, and what to do; None if there is one."""
    seconds: float
    """From opening the release to the written files."""
    outputs: tuple[Path, ...] = ()
    """All that was written."""


def infer(release: Path, study: Path, out: Path, *, target: str | None = None) -> InferResult:
    """Segment or classify a study.

    Args:
        release: the bundle's archive, or the folder that holds it.
        study: a folder or a zip of DICOM instances; other series and files may lie in it.
        out: the DICOM SEG to write, or the SR for a task of classes alone; for both, the SR lies
            beside the SEG, as `<stem>.sr.dcm`.
        target: a CPU runtime of the bundle; None takes the first that the bundle names.

    Raises:
        WrongUse: release or study are not there, `out` is a folder, or the bundle has no such
            target.
        Fault: the answer cannot be written.
    """
    from stages.infer.release import open_release

    started = time.perf_counter()
    if out.is_dir():
        raise WrongUse("The output is a folder.", "Name the file to write, e.g. `--out seg.dcm`.")
    refused, writers = None, {}
    try:
        opened = open_release(release)
        runtime = _target(opened, target)
        writers = _answers(opened, runtime, study, out)
        _publish(writers)
    except (Refused, Unreadable) as error:
        refused = error.diagnostics()
    seconds = round(time.perf_counter() - started, 3)
    if refused:
        return InferResult(None, refused, seconds)
    return InferResult(out, None, seconds, tuple(writers))


def _answers(release: Release, target: Target, study: Path, out: Path) -> dict[Path, Writer]:
    """File → what writes it, for everything that the task asks (INF-7)."""
    from stages.infer.findings import Finding
    from stages.infer.study import choose_series, read_pictures

    config = release.config
    if config.pictures:
        answer = _classifier(release, target)
        found = [
            Finding(
                (picture.header,), answer(_prepared(release, picture.pixels, picture.spacing_mm))
            )
            for picture in read_pictures(study, config)
        ]
        return {out: _report(found, release, target)}
    series = choose_series(study, config)
    prepared = _prepared(release, series.voxels, series.geometry.spacing_mm)
    series = replace(series, voxels=None)  # as long as all that labeling holds of the volume
    writers: dict[Path, Writer] = {}
    if config.task.structures:
        labels = _segment(release, target, prepared)
        writers[out] = _segmentation(labels, series, release, target)
    if config.task.classes:
        finding = Finding(series.headers, _classifier(release, target)(prepared))
        place = out.with_name(f"{out.stem}.sr.dcm") if writers else out
        writers[place] = _report([finding], release, target)
    return writers


def _target(release: Release, wanted: str | None) -> Target:
    here = [name for name in release.config.models if name.endswith("-cpu")]
    for name in here:
        if wanted in (None, name):
            return name
    raise WrongUse(
        f"The bundle has no target {wanted} for this machine's processor."
        if wanted
        else "The bundle has no target for this machine's processor.",
        f"It has: {', '.join(here) or 'none'}.",
    )


def _prepared(
    release: Release, voxels: NDArray[np.float32] | None, spacing_mm: tuple[float, float, float]
) -> Prepared:
    from stages.volume import prepare

    if voxels is None:
        raise TypeError("a series that was read with its pixels has none")
    return prepare(voxels, spacing_mm, release.config.volume)


def _segment(release: Release, target: Target, prepared: Prepared) -> NDArray[np.uint8]:
    """The label map on the series' own grid (INF-4)."""
    from stages.runtime import predictor
    from stages.volume import restore
    from stages.windows import predict_labels

    config = release.config
    member = config.models[target]
    predict = predictor(target, member, release.models.__getitem__, config.numerics.threads)
    return restore(predict_labels(predict, prepared.array, config.volume, config.task), prepared)


def _classifier(release: Release, target: Target) -> Callable[[Prepared], tuple[float, ...]]:
    """A prepared image → probabilities of the classes (INF-4)."""
    import numpy as np

    from stages.classify import classify
    from stages.runtime import answerer

    config = release.config
    member = config.models[target]
    answer = answerer(target, member, release.models.__getitem__, config.numerics.threads)

    def probabilities(prepared: Prepared) -> tuple[float, ...]:
        found = classify(answer, prepared.array, config.volume)
        if not np.isfinite(found).all():
            raise Refused(
                "The network's answer to an image is not made of numbers.",
                "Check the images' pixel values and rescale slope.",
            )
        return tuple(found.tolist())

    return probabilities


def _segmentation(
    labels: NDArray[np.uint8], series: Series, release: Release, target: Target
) -> Writer:
    """What writes the SEG (INF-5)."""
    from stages.segmentation import write_labels

    config = release.config
    content = hashlib.sha256(labels.tobytes()).hexdigest()

    def write(path: Path) -> None:
        write_labels(
            path,
            labels,
            series,
            config.task,
            seed=f"infer/{release.digest}/{target}/{series.uid}/{content}",
            epoch=_date(series.headers[0]) or config.epoch,
            description=f"{config.name} {config.version}"[:64],
            algorithm=f"{config.name} {config.version}",
            creator=config.name,
        )

    return write


def _report(found: Sequence[Finding], release: Release, target: Target) -> Writer:
    """What writes the structured report (INF-5)."""
    from stages.infer.findings import write_findings

    config = release.config
    content = digest_json(
        [
            {
                "images": [str(image.get("SOPInstanceUID", "")) for image in one.images],
                "probabilities": [f"{value:.6f}" for value in one.probabilities],
            }
            for one in found
        ]
    )

    def write(path: Path) -> None:
        write_findings(
            path,
            found,
            config.task,
            seed=f"infer/{release.digest}/{target}/{content}",
            epoch=_date(found[0].images[0]) or config.epoch,
            name=config.name,
            version=config.version,
        )

    return write


def _publish(writers: Mapping[Path, Writer]) -> None:
    """Write every file beside its place, then move all of them there (INF-6)."""
    parts = {out: out.with_name(f".{out.name}.part") for out in writers}
    try:
        for out, write in writers.items():
            write(parts[out])
        for out, part in parts.items():
            part.replace(out)
    except OSError as error:
        raise Fault(
            f"The answer cannot be written ({type(error).__name__}).",
            "Choose another `--out`, or free space on the disk.",
        ) from None
    except Exception as error:  # noqa: BLE001 - any header may be malformed; messages quote values
        raise Unreadable(
            f"The series' headers cannot be carried into the answer ({type(error).__name__}).",
            "Export the series again with its patient, study and frame of reference modules.",
        ) from None
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def _date(header: Dataset) -> datetime | None:
    """When the series was made, else when the study was; None if neither says (INF-5)."""
    for level in ("Series", "Study"):
        day = str(header.get(f"{level}Date") or "")
        clock = str(header.get(f"{level}Time") or "").partition(".")[0].ljust(6, "0")
        try:
            return datetime.strptime(f"{day}{clock}", "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        except ValueError:
            continue
    return None
