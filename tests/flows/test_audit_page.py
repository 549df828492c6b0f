"""The evidence as a page: what it shows, and that no value of a record becomes markup."""

from __future__ import annotations

import hashlib
import shutil
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest
from securesystemslib.signer import CryptoSigner

from audit import key_events
from audit.ledger import Ledger
from audit.statement import event, statement
from flows.audit_page import audit_page

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EVIL = "<script>alert('x')</script>"
MACHINE, PERSON = CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519()


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


def made(stage, unit, verdict="passed", version="1.0.0"):
    label = f"{stage}/{unit}" if unit else stage
    check = {
        "rule": "ASS-4", "figure": EVIL, "limit": "0.8", "verdict": verdict, "remedy": "",
    }  # fmt: skip
    return statement(
        subjects=[(label, sha(f"{label} {version}")), (f"{label}/x.zip", sha(f"zip {version}"))],
        stage=stage, unit=unit, key=sha(f"key {label} {version}"), parameters={}, inputs={},
        commit=None, lock=sha("lock"), environment={}, findings={}, measured={},
        gate=None if unit else {"checks": [check]}, status="ran",
        started=NOW, finished=NOW + timedelta(minutes=1),
    )  # fmt: skip


def happened(kind, **details):
    return event(kind, at=NOW, details=details)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    """Two packaged versions, a signature over each, a hold, a person's key that was revoked."""
    ledger = Ledger(tmp_path_factory.mktemp("page") / "ledger", "kette/page")
    ledger.append([made("package", "bundle"), made("package", "")], MACHINE)
    roles = ["approver"]
    ledger.append(key_events.enrolled(PERSON.public_key, roles, "Ada <Byron>", NOW), MACHINE)
    for version in ("1.0.0", "2.0.0"):
        signed = key_events.signature(
            [("x.zip", sha(f"zip {version}"))], "approved", "approver",
            signer="Ada <Byron>", comment=f"{EVIL} {version}", at=NOW,
        )  # fmt: skip
        ledger.append(signed, PERSON)
    kept = {"years": 15, "until": "2041-01-01", "legal_hold": False}
    ledger.append(
        [
            happened("released", version="1.0.0", tag="page@v1.0.0", retention=kept),
            happened("legal_hold", version="1.0.0", on=True, reason="a claim"),
            happened("finding.raised", rule="MIR-3", what="off", version=None),
            key_events.revoked(PERSON.public_key.keyid, "phone stolen", NOW),
        ],
        MACHINE,
    )
    last = [made("package", "bundle", version="2.0.0"), made("package", "", version="2.0.0")]
    ledger.append(last, MACHINE)
    ledger.checkpoint(MACHINE)
    return ledger


def keys():
    return {MACHINE.public_key.keyid: MACHINE.public_key}


@pytest.fixture(scope="module")
def page(ledger):
    return audit_page(ledger, keys()).decode()


class Tags(HTMLParser):
    """Names of all tags, and the text between them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        self.text.append(data)


def test_no_value_becomes_markup(page):
    parsed = Tags(page)
    assert "script" not in parsed.tags
    assert any(EVIL in text for text in parsed.text)


@pytest.mark.parametrize(
    "said",
    [
        "The ledger holds.",
        "1.0.0 as page@v1.0.0, kept until 2041-01-01",
        "1.0.0: legal hold on: a claim",
        "MIR-3: off",
        "phone stolen",
        "revoked",
        "Ada <Byron>",
        "approved",
    ],
)
def test_it_tells_what_the_records_say(page, said):
    assert any(said in text for text in Tags(page).text)


def test_a_releases_page_shows_its_own_records_and_the_signatures_over_them(ledger):
    first = Tags(audit_page(ledger, keys(), [1, 2]).decode())
    text = "\n".join(first.text)
    assert f"{EVIL} 1.0.0" in text
    assert f"{EVIL} 2.0.0" not in text
    assert "Evidence of a release" in text


def test_a_ledger_of_another_key_is_said_not_to_hold(ledger):
    other = CryptoSigner.generate_ed25519().public_key
    text = "\n".join(Tags(audit_page(ledger, {other.keyid: other}).decode()).text)
    assert "The ledger does not hold: checkpoint." in text


def test_records_behind_the_checkpoint_are_told(ledger, tmp_path):
    shutil.copytree(ledger.folder, tmp_path / "copy")
    later = Ledger(tmp_path / "copy", ledger.origin)
    later.append(happened("look", number=1), MACHINE)
    text = "\n".join(Tags(audit_page(later, keys()).decode()).text)
    assert "1 of them came after the signed checkpoint" in text


def test_the_same_ledger_gives_the_same_bytes(ledger, page):
    assert audit_page(Ledger(ledger.folder, ledger.origin), keys()).decode() == page
