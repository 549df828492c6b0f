"""CT Image Storage instances (DICOM PS3.3 Section A.3), each vendor in its own manner."""

from __future__ import annotations

from io import BytesIO

from numpy import int64
from numpy.typing import NDArray
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from stages.phantom import uids
from stages.phantom.study import Study
from stages.phantom.subject import Subject
from stages.phantom_root import UID_ROOT

_STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"
_STEP_CLASS = "1.2.840.10008.3.1.2.3.3"


def encode(dataset: Dataset, *, implicit_vr: bool) -> bytes:
    """A DICOM file (PS3.10) of a dataset."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit_vr else ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(f"{UID_ROOT}.0")
    meta.ImplementationVersionName = "KETTE_PHANTOM"
    dataset.file_meta = meta
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def common(subject: Subject, study: Study) -> Dataset:
    """Patient, study, equipment: what a study's instances share."""
    key = subject.number, study.index
    dataset = Dataset()
    dataset.SpecificCharacterSet = list(subject.site.vendor.character_set)
    for keyword, value in subject.texts(study).items():
        setattr(dataset, keyword, value)
    dataset.StudyInstanceUID = uids.study_uid(*key)
    dataset.FrameOfReferenceUID = uids.frame_of_reference_uid(*key)
    dataset.PositionReferenceIndicator = ""
    dataset.StudyDate = study.da
    dataset.StudyTime = f"{study.hour:02d}1500"
    dataset.PatientBirthDate = f"{subject.birth:%Y%m%d}"
    dataset.PatientSex = subject.sex
    dataset.PatientAge = f"{(study.taken - subject.birth).days // 365:03d}Y"
    dataset.PatientWeight = str(50 + subject.number % 40)
    dataset.OtherPatientIDsSequence = [
        item(PatientID=subject.other_id, TypeOfPatientID="TEXT", IssuerOfPatientID="KASSE")
    ]
    dataset.ReferencedStudySequence = [
        item(
            ReferencedSOPClassUID=_STUDY_CLASS,
            ReferencedSOPInstanceUID=uids.requested_study_uid(*key),
        )
    ]
    return dataset


def slice_file(subject: Subject, study: Study, index: int, stored: NDArray[int64]) -> bytes:
    """The file of one slice.

    Args:
        subject: whose.
        study: which visit.
        index: the slice, 0 the lowest.
        stored: pixel values (rows, columns).
    """
    vendor = subject.site.vendor
    dataset = common(subject, study)
    _series(dataset, subject, study)
    _private(dataset, subject, study)
    count = vendor.space.shape[0]
    order = count - index if vendor.head_first else index + 1
    x, y, z = vendor.origin_um
    z += index * vendor.space.spacing_um[0]
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = uids.instance_uid(subject.number, study.index, index)
    dataset.InstanceNumber = str(order)
    dataset.ImagePositionPatient = [mm(x), mm(y), mm(z)]
    dataset.SliceLocation = mm(z)
    dataset.AcquisitionTime = dataset.ContentTime = f"{study.hour:02d}21{order:02d}"
    dataset.AcquisitionDateTime = f"{study.da}{study.hour:02d}21{order:02d}.000000"
    sample = "<i2" if vendor.signed else "<u2"
    dataset.add_new("PixelData", "OW", stored.astype(sample).tobytes())
    return encode(dataset, implicit_vr=vendor.implicit_vr)


def scout_file(subject: Subject, study: Study, stored: NDArray[int64]) -> bytes:
    """A planning image of its own series."""
    dataset = dcmread(BytesIO(slice_file(subject, study, 0, stored)))
    dataset.SeriesInstanceUID, dataset.SOPInstanceUID = uids.scout_uids(subject.number, study.index)
    dataset.SeriesNumber, dataset.InstanceNumber = "1", "1"
    dataset.SeriesDescription = "Scout"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    return encode(dataset, implicit_vr=subject.site.vendor.implicit_vr)


def _series(dataset: Dataset, subject: Subject, study: Study) -> None:
    """Series, acquisition and image plane."""
    key, vendor = (subject.number, study.index), subject.site.vendor
    dataset.Modality = "CT"
    dataset.SeriesInstanceUID = uids.series_uid(*key)
    dataset.SeriesNumber = "2"
    dataset.SeriesDescription = f"Abdomen {vendor.kernel}"
    dataset.ProtocolName = "ABDOMEN PV"
    dataset.BodyPartExamined = "ABDOMEN"
    dataset.PatientPosition = "HFS"
    dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = study.da
    dataset.SeriesTime = f"{study.hour:02d}2000"
    dataset.DateOfLastCalibration = f"{study.calibrated:%Y%m%d}"
    dataset.Manufacturer = vendor.name
    dataset.ManufacturerModelName = vendor.model
    dataset.SoftwareVersions = vendor.software
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.AcquisitionNumber = "1"
    dataset.IrradiationEventUID = uids.irradiation_uid(*key)
    dataset.KVP = str(vendor.kvp)
    dataset.ConvolutionKernel = vendor.kernel
    rows, columns = vendor.space.shape[1:]
    spacing = vendor.space.spacing_um
    dataset.SliceThickness = mm(spacing[0])
    dataset.PixelSpacing = [mm(spacing[1]), mm(spacing[2])]
    dataset.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated, dataset.BitsStored = 16, vendor.bits_stored
    dataset.HighBit, dataset.PixelRepresentation = vendor.bits_stored - 1, int(vendor.signed)
    if vendor.padding is not None:
        dataset.PixelPaddingValue = vendor.padding
    dataset.RescaleIntercept, dataset.RescaleSlope = str(vendor.intercept), "1"
    dataset.RescaleType = "HU"
    dataset.BurnedInAnnotation = "YES" if study.burned_in else "NO"
    dataset.RequestAttributesSequence = [
        item(
            AccessionNumber=study.accession,
            ReferencedStudySequence=dataset.ReferencedStudySequence,
            RequestedProcedureID=study.study_id,
            RequestedProcedureDescription=f"CT fuer {subject.person.listed}",
            ReasonForTheRequestedProcedure=f"Kontrolle {subject.spoken}",
            ScheduledProcedureStepID=study.study_id,
        )
    ]
    dataset.ReferencedPerformedProcedureStepSequence = [
        item(
            ReferencedSOPClassUID=_STEP_CLASS,
            ReferencedSOPInstanceUID=uids.performed_step_uid(*key),
        )
    ]
    dataset.PerformedProcedureStepStartDate = study.da
    dataset.PerformedProcedureStepStartTime = f"{study.hour:02d}1900"
    dataset.IssueDateOfImagingServiceRequest = f"{study.ordered:%Y%m%d}"


def _private(dataset: Dataset, subject: Subject, study: Study) -> None:
    """The vendor's own elements: harmless ones, and some with the patient's name."""
    vendor = subject.site.vendor
    block = dataset.private_block(0x0019, vendor.creator, create=True)
    block.add_new(0x10, "LO", vendor.kernel)
    block.add_new(0x11, "DS", str(vendor.noise_hu))
    block.add_new(0x12, "DA", study.da)
    own = dataset.private_block(0x0029, vendor.creator + " 2", create=True)
    own.add_new(0x08, "PN", subject.person.pn)
    own.add_new(0x09, "LO", subject.patient_id)
    own.add_new(0x0A, "SQ", [item(PatientName=subject.person.pn, PatientID=subject.other_id)])
    own.add_new(0x10, "UI", uids.performed_step_uid(subject.number, study.index))


def item(**values: object) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def mm(length_um: int) -> str:
    """A decimal string of mm, by integers alone."""
    sign = "-" if length_um < 0 else ""
    whole, rest = divmod(abs(length_um), 1000)
    return f"{sign}{whole}.{rest:03d}"
