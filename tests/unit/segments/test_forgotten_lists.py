"""A forgotten customer is in no list that was recorded, and the catalog's files are told that still name them."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from orchestration.settings import ROOT
from segmentation import contracts
from segmentation.erasure.catalog_lists import Recogniser, forget_in_definitions, look_at_catalog
from segmentation.erasure.requests import Erasure
from segmentation.erasure.subject import suppressed_hash
from segmentation.identity.catalog import load_identifier_rules
from segmentation.pseudonyms import PseudonymKey
from segmentation.segments.live_catalog import read_live
from segmentation.warehouse import Connection, literal

from .conftest import Company

AT = datetime(2026, 11, 2, 9)
KEY = PseudonymKey("suppression-v1", b"k" * 32)
RULES = load_identifier_rules(ROOT / "catalog")
ERASURE = Erasure("erasure-1", "c_a", ("c_old",), 2, "dpo", "T-1", KEY.key_id, AT, AT)

SUPPRESSED = (("email", "", "ana@shop.example"), ("phone", "", "+34600048313"), ("source_customer_id", "crm", "A-1"))


@pytest.fixture
def recogniser(con: Connection) -> Recogniser:
    """Ana is erased: her address, her number, her id at one source."""
    contracts.ensure_schema(con, "identity")
    for parts in SUPPRESSED:
        hashed = suppressed_hash(KEY, *map(literal, parts))
        con.execute(
            "insert into identity.suppressions (value_hmac, id_type, key_id, reason, erasure_id, suppressed_at) "
            f"select {hashed}, ?, ?, 'T-1', ?, ?",
            [parts[0], KEY.key_id, ERASURE.erasure_id, AT],
        )
    con.execute("insert into identity.normalised_values values ('phone', '', 'ES', '600048313', 1, null)")
    return Recogniser(con, ERASURE, KEY, RULES)


@pytest.mark.parametrize(
    ("customer_id", "id_type", "namespace", "value", "is_theirs"),
    [
        ("c_a", None, "", None, True),
        ("c_old", None, "", None, True),
        ("c_b", None, "", None, False),
        (None, "email", "", " Ana@SHOP.example", True),
        (None, "email", "", "bob@shop.example", False),
        (None, "phone", "", "600 04 83 13", True),
        (None, "source_customer_id", "crm", "A-1", True),
        (None, "source_customer_id", "shop", "A-1", False),
        (None, "email", "", "no address", False),
    ],
)
def test_entries_are_recognised_however_they_are_written(
    recogniser: Recogniser, customer_id: str | None, id_type: str | None, namespace: str, value: str, is_theirs: bool
) -> None:
    assert recogniser.names(customer_id, id_type, namespace, value) is is_theirs


def _entry(value: str, **more: Any) -> str:
    return json.dumps({"identifier": {"type": "email", "value": value}, "reason": f"asked by {value}", **more})


def test_what_was_recorded_of_a_list_is_forgotten_and_the_files_are_told(
    company: Company, recogniser: Recogniser
) -> None:
    ana, bob = "Ana@shop.example", "bob@shop.example"
    company.features({"customer_id": "c_a"}, {"customer_id": "c_b"})
    company.write(
        "vip", "mrr_micros > 5", kind="hybrid", include=f"[{_entry(ana)}, {_entry(bob)}, {{file: lists/vip.csv}}]"
    )
    company.write("calm", exclude="[{customer: c_a, reason: asked}, {customer: c_b, reason: asked}]")
    company.write_list("vip.csv", f"id_type,id_value,reason\nemail,{bob},x\nemail,{ana.lower()},x\n")
    company.decide()
    company.write(
        "vip", "mrr_micros > 6", kind="hybrid", include=f"[{_entry(ana)}, {_entry(bob)}, {{file: lists/vip.csv}}]"
    )
    company.decide(days=1)
    texts = (
        "select definition::varchar from segments.versions union all select definition::varchar from segments.catalog"
    )
    held = sum("Ana@shop" in text for (text,) in company.con.execute(texts).fetchall())
    assert held == 3

    blanked = forget_in_definitions(company.con, recogniser)
    # Three versions, what is live of two segments, and the candidate that it was.
    assert blanked == 7
    found = [text for (text,) in company.con.execute(texts).fetchall()]
    assert not any(
        "ana@shop" in text.lower() or '"c_a","identifier":null,"file":null,"reason":"asked"' in text for text in found
    )
    # What was live can still be brought back, as while a change of it waits for approval.
    live = read_live(company.con, company.folder, company.types)
    assert [one.customer for one in live.segments["calm"].definition.exclude] == ["c_a", "c_b"]
    assert live.segments["vip"].definition.include[0].reason == "its customer was erased"
    assert sum(bob in text for text in found) == 3
    assert forget_in_definitions(company.con, recogniser) == 0

    told = look_at_catalog(recogniser, company.folder, company.types, blanked)
    assert told.state == "partial"
    vip, calm = (
        _line(company.folder / "segments" / f"{key}.yml", side)
        for key, side in (("vip", "include"), ("calm", "exclude"))
    )
    assert told.detail["entries"] == sorted(
        ["catalog/lists/vip.csv:3", f"catalog/segments/vip.yml:{vip}", f"catalog/segments/calm.yml:{calm}"]
    )
    company.write("vip", "mrr_micros > 6", kind="hybrid", include=f"[{_entry(bob)}]")
    company.remove("calm")
    assert look_at_catalog(recogniser, company.folder, company.types, 0).state == "finished"


def _line(path: Path, key: str) -> int:
    lines = path.read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.startswith(f"{key}:"))
