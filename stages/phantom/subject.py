"""One subject on paper: identity, studies, findings and what goes wrong, before any voxel.

All follows from the subject's number, so that a longer cohort leaves the others' bytes alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from stages.phantom import uids
from stages.phantom.chance import Chance
from stages.phantom.identity import Person, address, person, phone, plain
from stages.phantom.site import READERS, SITES, Site
from stages.phantom.study import UNLABELED, Defect, Study, plan_study

_SCRIPTS: Final = (("latin",), ("kanji",), ("han", "latin"))


@dataclass(frozen=True)
class Subject:
    """A patient, as the hospital knows one."""

    number: int
    labeled: bool
    site: Site
    person: Person
    mother: Person
    sex: str
    birth: date
    patient_id: str
    other_id: str
    address: str
    phone: str
    malignant: bool
    studies: tuple[Study, ...]
    defect: Defect | None = None

    @property
    def folder(self) -> str:
        """Name of the export's folder or archive, as each hospital makes it."""
        if self.site.index == 0:
            return f"{self.person.filed.upper()}_{self.patient_id}"
        if self.site.index == 1:
            return f"{self.patient_id}_{self.person.filed}"
        own = self.person.ideographic
        return f"{''.join(own) if own else self.person.listed} {self.patient_id}"

    @property
    def prior(self) -> date:
        """An earlier study elsewhere, named in free text."""
        return self.studies[0].taken - timedelta(days=203)

    def texts(self, study: Study) -> dict[str, str]:
        """Identifying elements of a study's instances: keyword to value."""
        site, name = self.site, self.person
        return {
            "AccessionNumber": study.accession,
            "InstitutionName": site.institution,
            "InstitutionAddress": site.address,
            "InstitutionalDepartmentName": site.department,
            "StationName": site.station,
            "DeviceSerialNumber": site.serial,
            "ReferringPhysicianName": site.referring.pn,
            "ReferringPhysicianTelephoneNumbers": site.phone,
            "PerformingPhysicianName": site.performing.pn,
            "OperatorsName": site.operator.pn,
            "RequestingPhysician": site.referring.pn,
            "StudyDescription": f"CT Abdomen {plain(name.listed)}",
            "PatientName": name.pn,
            "PatientID": self.patient_id,
            "PatientAddress": self.address,
            "PatientTelephoneNumbers": self.phone,
            "PatientMotherBirthName": self.mother.pn,
            "StudyID": study.study_id,
            "PatientComments": f"Bitte Befund an {site.referring.spoken}, Tel. {site.phone}",
            "ImageComments": f"{self.spoken}: Voraufnahme vom {self.prior:%d.%m.%Y} liegt bei",
        }

    @property
    def spoken(self) -> str:
        """Name in free text; in ideographs where there are some."""
        return "".join(self.person.ideographic or ()) or self.person.spoken

    @property
    def planted(self) -> tuple[str, ...]:
        """What may not survive: this subject's and its staff's identifiers, as written."""
        readers = [READERS[index].person for index in self._readers]
        people = [self.person, self.mother, *readers]
        latin = [plain(self.person.family), plain(self.person.given)]
        return (
            *(form for one in people for form in one.forms),
            *(form for one in readers for form in (one.listed, one.spoken, one.filed)),
            *(part.upper() if self.site.index == 0 else part for part in latin),
            self.person.listed,
            plain(self.person.listed),
            *(value for study in self.studies for value in self.texts(study).values()),
            self.spoken,
            self.other_id,
            self.folder,
            self.site.referring.spoken,
            *self.site.planted,
        )

    @property
    def _readers(self) -> tuple[int, ...]:
        return tuple(sorted({reader for study in self.studies for reader in study.readers}))

    @property
    def dates(self) -> tuple[str, ...]:
        """All original dates of this subject, as DICOM writes them (DA)."""
        days = {self.birth}
        for study in self.studies:
            days |= {study.taken, study.ordered, study.calibrated}
            days |= {study.read_on(reader) for reader in study.readers}
        return tuple(sorted(f"{day:%Y%m%d}" for day in days))

    @property
    def uids(self) -> tuple[str, ...]:
        """All original UIDs that stand in this subject's files."""
        found: list[str] = []
        for study in self.studies:
            key = self.number, study.index
            found += [uids.study_uid(*key), uids.frame_of_reference_uid(*key)]
            found += [uids.series_uid(*key), uids.performed_step_uid(*key)]
            found += [uids.requested_study_uid(*key), uids.irradiation_uid(*key)]
            found += [uids.instance_uid(*key, index) for index in range(study.slices)]
            for reader in study.readers:
                found += uids.reader_uids(*key, reader)
        found += self._stray_uids()
        return tuple(found)

    def _stray_uids(self) -> tuple[str, ...]:
        """UIDs that a defect brings in."""
        key = self.number, 0
        if self.defect is Defect.TRUNCATED:
            return uids.scout_uids(*key)
        if self.defect is Defect.ORPHAN_ANNOTATION:
            count = range(-1, self.studies[0].slices)
            return (*uids.orphan_uids(*key), *(uids.absent_uid(*key, index) for index in count))
        return ()


def subject(number: int, *, defects: bool) -> Subject:
    """Invent one subject.

    Args:
        number: below `UNLABELED` a labeled one, else one without annotations.
        defects: whether the numbers named above get their defect.
    """
    defect = Defect(number) if defects and number in set(Defect) else None
    chance = Chance("subject", number)
    site = SITES[number % 3]
    script = chance.pick(_SCRIPTS[site.index])
    female = bool(chance.between(0, 1))
    name = person(chance, script, female=female)
    malignant = bool(chance.between(0, 1))
    first = date(2023, 1, 9) + timedelta(days=chance.between(0, 700))
    visits = 2 if number % 4 == 2 else 1
    studies = tuple(
        plan_study(number, index, first, malignant=malignant, defect=defect)
        for index in range(visits)
    )
    code = ("EB-", "K", "SRC.")[site.index]
    where = address(chance)
    return Subject(
        number=number,
        labeled=number < UNLABELED,
        site=site,
        person=name,
        mother=person(chance, script, female=True),
        sex="F" if female else "M",
        birth=first - timedelta(days=chance.between(9000, 30000)),
        patient_id=f"{code}{chance.digits(4)}{number:04d}",
        other_id=f"VERS-{chance.digits(9)}",
        address=plain(where) if site.index == 1 else where,
        phone=phone(chance),
        malignant=malignant,
        studies=studies,
        defect=defect,
    )
