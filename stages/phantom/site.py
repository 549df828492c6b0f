"""Three hospitals with their staff, and the six readers: who writes into a study's headers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from stages.phantom.chance import Chance
from stages.phantom.identity import Person, address, person, phone, plain, town
from stages.phantom.scanner import VENDORS, Vendor

_KINDS: Final = ("Kreisklinikum ", "Hospital ", "Stiftungsklinik ")
_SCRIPTS: Final = ("latin", "kanji", "latin")


@dataclass(frozen=True)
class Site:
    """One hospital; it has one scanner."""

    index: int
    vendor: Vendor
    institution: str
    department: str
    address: str
    phone: str
    station: str
    serial: str
    referring: Person
    performing: Person
    operator: Person
    readers: tuple[int, int, int]
    """Indexes of `READERS`: who reads this hospital's studies."""

    @property
    def planted(self) -> tuple[str, ...]:
        staff = (self.referring, self.performing, self.operator)
        return (
            self.institution,
            self.department,
            self.address,
            self.phone,
            self.station,
            self.serial,
            *(form for member in staff for form in member.forms),
        )


@dataclass(frozen=True)
class Reader:
    """A person who outlines structures, with habits."""

    index: int
    person: Person
    bias_um: int
    """How far outside the true outline this reader draws."""
    rough_um: int
    """Random deviation of the outline: about twice its SD."""
    misses_below_um: int
    """Lesions of a smaller mean radius are overlooked."""
    errs_percent: int
    """How often the class label is the wrong one."""


def _site(index: int) -> Site:
    chance = Chance("site", index)
    place = town(chance)
    script, vendor = _SCRIPTS[index], VENDORS[index]
    staff = [
        person(chance, script, female=bool(chance.between(0, 1)), title=title)
        for title in ("Dr.", "Dr.", "")
    ]
    return Site(
        index=index,
        vendor=vendor,
        institution=_KINDS[index] + (plain(place) if script == "kanji" else place),
        department="Radiologie " + chance.digits(4),
        address=plain(address(chance)) if script == "kanji" else address(chance),
        phone=phone(chance),
        station="CT-" + plain(place)[:4].upper() + "-" + chance.digits(3),
        serial="SN" + chance.digits(8),
        referring=staff[0],
        performing=staff[1],
        operator=staff[2],
        readers=((2 * index) % 6, (2 * index + 1) % 6, (2 * index + 2) % 6),
    )


def _reader(index: int) -> Reader:
    chance = Chance("reader", index)
    script = ("latin", "latin", "kanji", "han", "latin", "latin")[index]
    return Reader(
        index=index,
        person=person(chance, script, female=bool(chance.between(0, 1)), title="Dr."),
        bias_um=(0, 0, 150, 900, -200, 0)[index],
        rough_um=(1000, 1300, 1200, 1400, 1200, 1600)[index],
        misses_below_um=(0, 5200, 0, 0, 0, 5200)[index],
        errs_percent=(4, 10, 6, 8, 12, 8)[index],
    )


SITES: Final = tuple(_site(index) for index in range(3))
READERS: Final = tuple(_reader(index) for index in range(6))
