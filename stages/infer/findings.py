"""Class answers as a DICOM structured report: TID 1500, a measurement group a case.

Each group names the images that were seen, the algorithm, the most probable class as its Finding
(121071, DCM), and the Probability (122157, DCM) of every class, whose concept modifier is the
class. Probabilities are numbers without a unit, from 0 to 1.

Rules:

- FND-1  An object's bytes depend on its arguments alone: UIDs are digests of the seed, dates and
         times are the epoch's.
- FND-2  The report is complete and unverified: no observer is named but the device.

Source: DICOM PS3.16 TID 1500, 1501, 300.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset

from stages.params import ClassLabel, Task
from stages.segmentation_writer import completed_patient, digest_uid

if TYPE_CHECKING:
    import highdicom as hd


@dataclass(frozen=True)
class Finding:
    """What was answered about one case."""

    images: tuple[Dataset, ...]
    """Headers of the instances that the network saw."""
    probabilities: tuple[float, ...]
    """Of the task's classes, in their order."""

    @property
    def chosen(self) -> int:
        """Index of the most probable class, the first of equals."""
        return max(range(len(self.probabilities)), key=lambda place: self.probabilities[place])


def write_findings(
    path: Path,
    findings: Sequence[Finding],
    task: Task,
    *,
    seed: str,
    epoch: datetime,
    name: str,
    version: str,
) -> None:
    """Write one Comprehensive SR; the same arguments give the same bytes (FND-1).

    Args:
        path: the file; its folder is made.
        findings: at least one; all of one study.
        task: its classes.
        seed: what makes the object unique.
        epoch: content, series and observation time.
        name: of the released model.
        version: of the release.
    """
    import highdicom as hd  # takes half a second
    from pydicom.sr.codedict import codes

    moment = epoch.astimezone(UTC)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings quote values
        device = hd.sr.DeviceObserverIdentifyingAttributes(
            uid=digest_uid(f"{name} {version}", "device"),
            name=name,
            manufacturer_name="Kette",
            model_name=f"{name} {version}",
        )
        observer = hd.sr.ObserverContext(
            observer_type=codes.DCM.Device, observer_identifying_attributes=device
        )
        algorithm = hd.sr.AlgorithmIdentification(name=name, version=version)
        report = hd.sr.MeasurementReport(
            observation_context=hd.sr.ObservationContext(observer_device_context=observer),
            procedure_reported=codes.SCT.ImagingProcedure,
            imaging_measurements=[
                _group(finding, task, algorithm, f"{number}", digest_uid(seed, f"case {number}"))
                for number, finding in enumerate(findings, start=1)
            ],
            title=codes.DCM.ImagingMeasurementReport,
        )
        images = [image for finding in findings for image in finding.images]
        sr = hd.sr.ComprehensiveSR(
            evidence=[completed_patient(images[0]), *images[1:]],
            content=report,
            series_instance_uid=digest_uid(seed, "series"),
            series_number=901,
            sop_instance_uid=digest_uid(seed, "instance"),
            instance_number=1,
            manufacturer="Kette",
            is_complete=True,
        )
        _fix(sr, moment, f"{name} {version}"[:64])
        path.parent.mkdir(parents=True, exist_ok=True)
        sr.save_as(path)


def _group(
    finding: Finding,
    task: Task,
    algorithm: hd.sr.AlgorithmIdentification,
    number: str,
    uid: str,
) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    import highdicom as hd

    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=uid, identifier=f"Case {number}"),
        finding_type=_concept(task.classes[finding.chosen]),
        algorithm_id=algorithm,
        measurements=[
            _probability(label, value)
            for label, value in zip(task.classes, finding.probabilities, strict=True)
        ],
        source_images=[
            hd.sr.SourceImageForMeasurementGroup(str(image.SOPClassUID), str(image.SOPInstanceUID))
            for image in finding.images
        ],
    )


def _probability(label: ClassLabel, value: float) -> hd.sr.Measurement:
    """The probability of a class: TID 300, row 2 says which class by a concept modifier."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    measurement = hd.sr.Measurement(
        name=codes.DCM.Probability, value=value, unit=codes.UCUM.NoUnits
    )
    modifier = hd.sr.CodeContentItem(
        name=codes.DCM.Finding,
        value=_concept(label),
        relationship_type=hd.sr.RelationshipTypeValues.HAS_CONCEPT_MOD,
    )
    number = measurement[0]
    if "ContentSequence" not in number:
        number.ContentSequence = hd.sr.ContentSequence()
    number.ContentSequence.append(modifier)
    return measurement


def _concept(label: ClassLabel) -> hd.sr.CodedConcept:
    import highdicom as hd

    return hd.sr.CodedConcept(label.code.value, label.code.scheme, label.code.meaning)


def _fix(sr: Dataset, moment: datetime, description: str) -> None:
    """Replace what highdicom takes from the clock (FND-1)."""
    date, time = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
    sr.SeriesDescription = description
    for keyword in ("SeriesDate", "ContentDate", "InstanceCreationDate"):
        setattr(sr, keyword, date)
    for keyword in ("SeriesTime", "ContentTime", "InstanceCreationTime"):
        setattr(sr, keyword, time)
    for item in sr.get("ContributingEquipmentSequence", []):
        item.ContributionDateTime = f"{date}{time}"
    for element in sr.iterall():
        if element.keyword == "ObservationDateTime":
            element.value = f"{date}{time}"
