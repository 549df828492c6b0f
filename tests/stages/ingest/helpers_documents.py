"""An RT structure set, a structured report and a presentation state that refer to one CT series."""

from __future__ import annotations

from collections.abc import Iterator

from helpers_ingest import BIRTH, CT, NAME, PATIENT, ROOT, code, item
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
SR = "1.2.840.10008.5.1.4.1.1.88.33"
PR = "1.2.840.10008.5.1.4.1.1.11.1"
SLICES = 3


def base(sop_class: str, modality: str, number: int) -> Dataset:
    return item(
        SpecificCharacterSet="ISO_IR 192",
        SOPClassUID=sop_class,
        SOPInstanceUID=f"{ROOT}.8{number}.1",
        StudyDate="20240229",
        ContentDate="20240301",
        StudyTime="101112",
        ContentTime="101112",
        AccessionNumber="ACC-998877",
        Modality=modality,
        Manufacturer="AURORA IMAGING",
        ReferringPhysicianName="Dr.^Quacksalber",
        PatientName=NAME,
        PatientID=PATIENT,
        PatientBirthDate=BIRTH,
        PatientSex="F",
        StudyInstanceUID=f"{ROOT}.77",
        SeriesInstanceUID=f"{ROOT}.8{number}",
        StudyID="",
        SeriesNumber="8",
        InstanceNumber="1",
    )


def slices(keyword: str = "ReferencedSOPInstanceUID") -> Sequence:
    return Sequence(
        [
            item(ReferencedSOPClassUID=CT, **{keyword: f"{ROOT}.1.{index + 1}"})
            for index in range(SLICES)
        ]
    )


def structure_set() -> Dataset:
    series = item(SeriesInstanceUID=f"{ROOT}.1", ContourImageSequence=slices())
    study = item(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
        ReferencedSOPInstanceUID=f"{ROOT}.77",
        RTReferencedSeriesSequence=Sequence([series]),
    )
    frame = item(FrameOfReferenceUID=f"{ROOT}.88", RTReferencedStudySequence=Sequence([study]))
    contour = item(
        ContourImageSequence=slices()[:1],
        ContourGeometricType="CLOSED_PLANAR",
        NumberOfContourPoints="3",
        ContourData=["0", "0", "0", "1.5", "0", "0", "1", "1", "0"],
    )
    dataset = base(RTSTRUCT, "RTSTRUCT", 1)
    dataset.StructureSetLabel = "Liver Kraehw"
    dataset.StructureSetDate, dataset.StructureSetTime = "20240302", "101112"
    dataset.OperatorsName = NAME
    dataset.ReferencedFrameOfReferenceSequence = Sequence([frame])
    dataset.StructureSetROISequence = Sequence(
        [
            item(
                ROINumber="1",
                ReferencedFrameOfReferenceUID=f"{ROOT}.88",
                ROIName=f"liver Krähwinkler {PATIENT}",
                ROIGenerationAlgorithm="MANUAL",
            )
        ]
    )
    dataset.ROIContourSequence = Sequence(
        [item(ReferencedROINumber="1", ContourSequence=Sequence([contour]))]
    )
    dataset.RTROIObservationsSequence = Sequence(
        [
            item(
                ObservationNumber="1",
                ReferencedROINumber="1",
                RTROIInterpretedType="ORGAN",
                ROIInterpreter=NAME,
            )
        ]
    )
    dataset.ApprovalStatus = "APPROVED"
    dataset.ReviewDate, dataset.ReviewTime, dataset.ReviewerName = "20240302", "1011", NAME
    return dataset


def content(kind: str, relation: str, concept: Dataset, **values: object) -> Dataset:
    return item(
        RelationshipType=relation,
        ValueType=kind,
        ConceptNameCodeSequence=Sequence([concept]),
        **values,
    )


def report() -> Dataset:
    evidence = item(
        StudyInstanceUID=f"{ROOT}.77",
        ReferencedSeriesSequence=Sequence(
            [item(SeriesInstanceUID=f"{ROOT}.1", ReferencedSOPSequence=slices())]
        ),
    )
    finding = code("121071", "DCM", "Finding")
    unit = Sequence([code("mm", "UCUM", "millimeter")])
    measured = item(NumericValue="12.5", MeasurementUnitsCodeSequence=unit)
    dataset = base(SR, "SR", 2)
    dataset.CompletionFlag, dataset.VerificationFlag = "COMPLETE", "VERIFIED"
    dataset.ReferencedPerformedProcedureStepSequence = Sequence()
    dataset.PerformedProcedureCodeSequence = Sequence()
    dataset.CurrentRequestedProcedureEvidenceSequence = Sequence([evidence])
    dataset.VerifyingObserverSequence = Sequence(
        [
            item(
                VerifyingOrganization="Klinikum Krähwinkel",
                VerificationDateTime="20240301101112",
                VerifyingObserverName=NAME,
                VerifyingObserverIdentificationCodeSequence=Sequence(),
            )
        ]
    )
    dataset.ValueType, dataset.ContinuityOfContent = "CONTAINER", "SEPARATE"
    dataset.ConceptNameCodeSequence = Sequence([code("18748-4", "LN", NAME)])
    dataset.ContentSequence = Sequence(
        [
            content("TEXT", "CONTAINS", finding, TextValue=f"{NAME} has a lesion, {BIRTH}"),
            content("PNAME", "HAS OBS CONTEXT", code("121008", "DCM", "x"), PersonName=NAME),
            content("DATE", "CONTAINS", code("111060", "DCM", "Study Date"), Date="20240229"),
            content(
                "UIDREF",
                "CONTAINS",
                code("112039", "DCM", "Tracking Identifier"),
                UID=f"{ROOT}.4711",
            ),
            content(
                "NUM",
                "CONTAINS",
                code("121206", "DCM", "Distance"),
                MeasuredValueSequence=Sequence([measured]),
                ContentSequence=Sequence(
                    [
                        item(
                            RelationshipType="INFERRED FROM",
                            ValueType="IMAGE",
                            ReferencedSOPSequence=slices()[1:2],
                        )
                    ]
                ),
            ),
            content(
                "CODE",
                "CONTAINS",
                finding,
                ConceptCodeSequence=Sequence([code("52988006", "SCT", NAME)]),
            ),
        ]
    )
    return dataset


def presentation_state() -> Dataset:
    series = item(SeriesInstanceUID=f"{ROOT}.1", ReferencedImageSequence=slices())
    written = item(
        UnformattedTextValue=f"{NAME} {BIRTH}",
        AnchorPointAnnotationUnits="PIXEL",
        AnchorPoint=[1.0, 1.0],
        AnchorPointVisibility="N",
    )
    drawn = item(
        GraphicAnnotationUnits="PIXEL",
        GraphicDimensions=2,
        NumberOfGraphicPoints=2,
        GraphicData=[1.0, 1.0, 2.0, 2.0],
        GraphicType="POLYLINE",
        GraphicFilled="N",
    )
    dataset = base(PR, "PR", 3)
    dataset.ContentLabel, dataset.ContentDescription = "LESION", f"{NAME}"
    dataset.PresentationCreationDate, dataset.PresentationCreationTime = "20240303", "101112"
    dataset.ContentCreatorName = NAME
    dataset.ReferencedSeriesSequence = Sequence([series])
    dataset.GraphicAnnotationSequence = Sequence(
        [
            item(
                ReferencedImageSequence=slices()[:1],
                GraphicLayer="KRAEHWINKLER",
                TextObjectSequence=Sequence([written]),
                GraphicObjectSequence=Sequence([drawn]),
            )
        ]
    )
    dataset.GraphicLayerSequence = Sequence(
        [
            item(
                GraphicLayer="KRAEHWINKLER",
                GraphicLayerOrder="1",
                GraphicLayerDescription=NAME,
            )
        ]
    )
    dataset.PresentationLUTShape = "IDENTITY"
    return dataset


REFERRING = (
    "ReferencedSOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "ReferencedFrameOfReferenceUID",
)


def references(dataset: Dataset) -> Iterator[tuple[str, str]]:
    """(keyword, UID) of everything that an instance refers to, at every depth."""
    for element in dataset.iterall():
        if element.keyword in REFERRING:
            yield element.keyword, str(element.value)


def identities(dataset: Dataset) -> set[str]:
    """UIDs that an image says of itself."""
    names = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")
    return {str(dataset.get(name)) for name in names if name in dataset}
