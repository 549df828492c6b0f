"""A reader's annotation as DICOM Segmentation (PS3.3 Section A.51), both structures in one object.

Written by hand as workstations do, each with the slices that hold something; the class label of
the lesions stands in Segment Description (0062,0006).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.coding import Code
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage, SegmentationStorage

from stages.phantom import uids
from stages.phantom.headers import common, encode, item, mm
from stages.phantom.readers import LESION, ORGAN
from stages.phantom.site import Reader
from stages.phantom.study import Study
from stages.phantom.subject import Subject

_ANATOMY = Code("123037004", "SCT", "Anatomical Structure")
_ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
_LIVER = Code("10200004", "SCT", "Liver")
_MASS = Code("4147007", "SCT", "Mass")
_DERIVED = Code("113076", "DCM", "Segmentation")
_SOURCE = Code("121322", "DCM", "Source image for image processing operation")


def annotation_file(
    subject: Subject,
    study: Study,
    reader: Reader,
    labels: NDArray[np.uint8],
    verdict: str,
    *,
    orphan: bool = False,
) -> bytes:
    """The file of one reader's annotation.

    Args:
        subject: whose.
        study: which visit.
        reader: who drew it.
        labels: the label map (slices, rows, columns).
        verdict: the class label of the lesions.
        orphan: refer to a series that nobody exported, as another instance.
    """
    dataset = common(subject, study)
    series, instance, dimensions = uids.reader_uids(subject.number, study.index, reader.index)
    if orphan:
        series, instance = uids.orphan_uids(subject.number, study.index)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = SegmentationStorage, instance
    dataset.SeriesInstanceUID = series
    _series(dataset, study, reader)
    dataset.SegmentSequence = [
        _segment(1, "organ", "", _ANATOMY, _LIVER),
        _segment(2, "lesion", verdict, _ABNORMAL, _MASS),
    ]
    dataset.DimensionOrganizationSequence = [item(DimensionOrganizationUID=dimensions)]
    pointers = (("ReferencedSegmentNumber", "SegmentIdentificationSequence"),
                ("ImagePositionPatient", "PlanePositionSequence"))  # fmt: skip
    dataset.DimensionIndexSequence = [
        item(
            DimensionOrganizationUID=dimensions,
            DimensionIndexPointer=Tag(pointer),
            FunctionalGroupPointer=Tag(group),
            DimensionDescriptionLabel=pointer,
        )
        for pointer, group in pointers
    ]
    _frames(dataset, subject, study, labels, orphan=orphan)
    return encode(dataset, implicit_vr=False)


def _series(dataset: Dataset, study: Study, reader: Reader) -> None:
    """Series, equipment and content description."""
    dataset.Modality = "SEG"
    dataset.SeriesNumber = str(300 + reader.index)
    dataset.SeriesDescription = f"Befundung {reader.person.listed}"
    dataset.Manufacturer, dataset.ManufacturerModelName = "Kontur Software", "Kontur Draw"
    dataset.SoftwareVersions = "2.5"
    dataset.InstanceNumber = "1"
    day = f"{study.read_on(reader.index):%Y%m%d}"
    dataset.SeriesDate = dataset.ContentDate = day
    dataset.SeriesTime = dataset.ContentTime = f"{8 + reader.index:02d}4500"
    dataset.ContentLabel = "ANNOTATION"
    dataset.ContentDescription = f"gezeichnet von {reader.person.spoken}"
    dataset.ContentCreatorName = reader.person.pn
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.LossyImageCompression = "00"
    dataset.BurnedInAnnotation = "NO"
    dataset.SegmentationType, dataset.SegmentsOverlap = "BINARY", "NO"


def _segment(number: int, label: str, verdict: str, category: Code, kind: Code) -> Dataset:
    segment = item(
        SegmentNumber=number,
        SegmentLabel=label,
        SegmentAlgorithmType="MANUAL",
        SegmentedPropertyCategoryCodeSequence=[_code(category)],
        SegmentedPropertyTypeCodeSequence=[_code(kind)],
    )
    if verdict:
        segment.SegmentDescription = verdict
    return segment


def _frames(
    dataset: Dataset, subject: Subject, study: Study, labels: NDArray[np.uint8], *, orphan: bool
) -> None:
    """Pixels, functional groups, and the references to the images."""
    vendor, key = subject.site.vendor, (subject.number, study.index)
    count = len(labels)
    if orphan:
        images = [uids.absent_uid(*key, index) for index in range(count)]
        referenced = uids.absent_uid(*key)
    else:
        images = [uids.instance_uid(*key, index) for index in range(count)]
        referenced = uids.series_uid(*key)
    spacing = [mm(step) for step in vendor.space.spacing_um]
    dataset.SharedFunctionalGroupsSequence = [
        item(
            PixelMeasuresSequence=[
                item(
                    SliceThickness=spacing[0],
                    SpacingBetweenSlices=spacing[0],
                    PixelSpacing=spacing[1:],
                )
            ],
            PlaneOrientationSequence=[item(ImageOrientationPatient=["1", "0", "0", "0", "1", "0"])],
        )
    ]
    x, y, z = vendor.origin_um
    derived, source = _code(_DERIVED), _code(_SOURCE)
    groups, planes = [], []
    for number, value in ((1, ORGAN), (2, LESION)):
        for index in np.flatnonzero((labels == value).any(axis=(1, 2))).tolist():
            image = item(
                ReferencedSOPClassUID=CTImageStorage,
                ReferencedSOPInstanceUID=images[index],
                SpatialLocationsPreserved="YES",
                PurposeOfReferenceCodeSequence=[source],
            )
            corner = [mm(x), mm(y), mm(z + index * vendor.space.spacing_um[0])]
            groups.append(
                item(
                    FrameContentSequence=[item(DimensionIndexValues=[number, index + 1])],
                    PlanePositionSequence=[item(ImagePositionPatient=corner)],
                    SegmentIdentificationSequence=[item(ReferencedSegmentNumber=number)],
                    DerivationImageSequence=[
                        item(SourceImageSequence=[image], DerivationCodeSequence=[derived])
                    ],
                )
            )
            planes.append(labels[index] == value)
    dataset.PerFrameFunctionalGroupsSequence = groups
    dataset.ReferencedSeriesSequence = [
        item(
            SeriesInstanceUID=referenced,
            ReferencedInstanceSequence=[
                item(ReferencedSOPClassUID=CTImageStorage, ReferencedSOPInstanceUID=uid)
                for uid in images
            ],
        )
    ]
    dataset.NumberOfFrames = str(len(planes))
    dataset.Rows, dataset.Columns = labels.shape[1:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 1
    dataset.HighBit = dataset.PixelRepresentation = 0
    packed = np.packbits(np.stack(planes).ravel(), bitorder="little").tobytes()
    dataset.add_new("PixelData", "OB", packed + b"\0" * (len(packed) % 2))


def _code(code: Code) -> Dataset:
    return item(
        CodeValue=code.value,
        CodingSchemeDesignator=code.scheme_designator,
        CodeMeaning=code.meaning,
    )
