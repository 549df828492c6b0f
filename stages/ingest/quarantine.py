"""Why a file is not taken in: fixed sentences, so that no value of a file can be among them."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """What stands in `quarantine.parquet` beside a file's digest."""

    UNREADABLE = "the file cannot be opened"
    NOT_DICOM = "not a DICOM file"
    CORRUPT = "damaged or cut off: the data set cannot be parsed"
    TOO_LARGE = "larger than the limit"
    TOO_DEEP = "sequences are nested deeper than the limit"
    TOO_MANY = "more elements or more bytes of header than the limit"
    ARCHIVE = "the archive cannot be trusted: a climbing path, a link, damage or a limit exceeded"
    NIFTI = "NIfTI: damaged, not one 3-D image with a place, or without a sidecar that says enough"
    TRANSFER_SYNTAX = "the transfer syntax is not accepted: neither native nor of a known codec"
    SOP_CLASS = "the SOP class is not accepted, or the option that cleans it is off"
    NO_PATIENT = "no patient ID"
    NO_UID = "a study, series or instance UID is missing or malformed"
    SUPPRESSED = "suppressed: the subject was erased, and is not taken in again"
    NOT_PHANTOM = "not a phantom: the public demo key serves phantoms alone"
    CONFLICT = "another instance with the same UID differs"
    BURNED_IN = "burned-in annotation, or a screen save"
    TEXT = "text was found in the pixels, or in those of the series"
    UNSEEN = "the pixels could not be looked at for text"
    OVERLAY = "an overlay within the pixel data that cannot be cleared"
    FACE = "the face cannot be taken away: pixels or a segmentation cannot be read"
    SIZE = "rows, columns or frames beyond the limit, or missing"
    PIXELS = "the pixel data has another length than the header says, or is missing"
    DECODE = "compressed pixels that are no image of the header's size, or not within the limits"
    LOCALIZER = "a localizer: by its image type, or by how it stands on the other slices"
    FEW_SLICES = "the series has fewer than three slices"
    NO_GEOMETRY = "position, orientation or spacing is missing or malformed"
    MIXED = "the series mixes orientations, shapes, spacings or frames of reference"
    DOUBLE_SLICE = "the series has two slices at one position"
    UNEVEN = "the series is unevenly spaced: a slice is missing or misplaced"
    TILTED = "the series has slices shifted in their plane (a tilted gantry)"
    STUDIES = "one series UID in several studies"
    KINDS = "one series UID for images, annotations and documents"
    NO_REFERENCE = "the segmentation refers to no series of that subject that is kept"
    LABEL_TABLE = "a table of labels that is malformed or larger than the limit"
    LABEL_CLASS = "a table of labels with one that is no class of the task"
    SEVERAL = "the annotation series has more than one instance"


class Quarantined(Exception):
    """Raised where a file turns out to be one that is not taken in."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason
