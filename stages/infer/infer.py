"""`infer`: a released model on a DICOM study; answers with one DICOM SEG.

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
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from audit.errors import Fault, Refused, Unreadable, WrongUse

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from stages.bundle import Target
    from stages.infer.release import Release
    from stages.series import Series
    from stages.volume import Prepared


@dataclass(frozen=True)
class InferResult:
    """What came of one study."""

    output: Path | None
    """The DICOM SEG; None if refused."""
    refused: str | None
    """Why there is no answer, and what to do; None if there is one."""
    seconds: float
    """From opening the release to the written file."""


def infer(release: Path, study: Path, out: Path, *, target: str | None = None) -> InferResult:
    """Segment a study.

    Args:
        release: the bundle's archive, or the folder that holds it.
        study: a folder or a zip of DICOM instances; other series and files may lie in it.
        out: the DICOM SEG to write.
        target: a CPU runtime of the bundle; None takes the first that the bundle names.

    Raises:
        WrongUse: release or study are not there, `out` is a folder, or the bundle has no such
            target.
        Fault: the answer cannot be written.
    """
    from stages.infer.release import open_release
    from stages.infer.study import choose_series

    started = time.perf_counter()
    if out.is_dir():
        raise WrongUse("The output is a folder.", "Name the file to write, e.g. `--out seg.dcm`.")
    refused = None
    try:
        opened = open_release(release)
        runtime = _target(opened, target)
        series = choose_series(study, opened.config)
        prepared = _prepared(opened, series)
        series = replace(series, voxels=None)  # as long as all that labeling holds of the volume
        _write(out, _segment(opened, runtime, prepared), series, opened, runtime)
    except (Refused, Unreadable) as error:
        refused = error.diagnostics()
    seconds = round(time.perf_counter() - started, 3)
    return InferResult(None if refused else out, refused, seconds)


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


def _prepared(release: Release, series: Series) -> Prepared:
    from stages.volume import prepare

    if series.voxels is None:
        raise TypeError("a series that was read with its pixels has none")
    return prepare(series.voxels, series.geometry.spacing_mm, release.config.volume)


def _segment(release: Release, target: Target, prepared: Prepared) -> NDArray[np.uint8]:
    """The label map on the series' own grid (INF-4)."""
    from stages.runtime import predictor
    from stages.volume import restore
    from stages.windows import predict_labels

    config = release.config
    member = config.models[target]
    predict = predictor(target, member, release.models.__getitem__, config.numerics.threads)
    return restore(predict_labels(predict, prepared.array, config.volume, config.task), prepared)


def _write(
    out: Path, labels: NDArray[np.uint8], series: Series, release: Release, target: Target
) -> None:
    """Write the SEG beside its place and move it there (INF-5, INF-6)."""
    from stages.segmentation import write_labels

    config = release.config
    content = hashlib.sha256(labels.tobytes()).hexdigest()
    part = out.with_name(f".{out.name}.part")
    try:
        write_labels(
            part,
            labels,
            series,
            config.task,
            seed=f"infer/{release.digest}/{target}/{series.uid}/{content}",
            epoch=_date(series.headers[0]) or config.epoch,
            description=f"{config.name} {config.version}"[:64],
            algorithm=f"{config.name} {config.version}",
            creator=config.name,
        )
        part.replace(out)
    except OSError as error:
        raise Fault(
            f"The answer cannot be written ({type(error).__name__}).",
            "Choose another `--out`, or free space on the disk.",
        ) from None
    except Exception as error:  # noqa: BLE001 - any header may be malformed; messages quote values
        raise Unreadable(
            f"The series' headers cannot be carried into a DICOM SEG ({type(error).__name__}).",
            "Export the series again with its patient, study and frame of reference modules.",
        ) from None
    finally:
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
