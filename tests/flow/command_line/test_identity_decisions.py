"""Decisions about who is who, by commands: what a plan foretells a run does, and what the gate held is acknowledged."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(1800)

Ask = Callable[..., Any]

SIGNED = ("--author", "jo", "--reason", "case 7")
AS_OF = "2026-11-01T00:00:00"

#: Customers with a CRM record each, the most segments first: a link of two is one that evidence would not make.
_KNOWN = """
select p.customer_id from identity.profiles as p join segments.membership using (customer_id)
where p.customer_id in (
    select customer_id from identity.identifier_map join identity.identifiers using (node_id)
    where id_type = 'source_customer_id' and id_namespace = 'crm'
)
group by all order by count(*) desc, 1 limit 2
"""


def _two_known(house: Any) -> tuple[str, str]:
    (one,), (other,) = house.sql(_KNOWN)
    return str(one), str(other)


def _members(house: Any) -> set[tuple[object, ...]]:
    return set(house.sql("select segment_key, customer_id from segments.membership"))


@pytest.mark.slow
def test_a_plan_with_segments_foretells_what_a_run_does(ask: Ask, company: Path, install: Callable[..., Any]) -> None:
    house = install(copy_of=company)
    data = house.settings.data
    one, other = _two_known(house)
    before = _members(house)
    warehouse = house.settings.warehouse.path.read_bytes()

    nothing = ask(data, "identity", "plan", "--segments", "--json")
    assert nothing.code == 0, nothing.err
    assert nothing.json["changes"] == []

    planned = ask(data, "identity", "plan", "--with-rule", f"link {one} {other}", "--segments", "--json")
    assert planned.code == 0, planned.err
    assert planned.json["counts"]["merge"] == 1
    assert list(planned.json["sentences"]) == ["r1"]
    foretold = {change["segment_key"]: (change["entering"], change["leaving"]) for change in planned.json["changes"]}
    assert sum(leaving for _, leaving in foretold.values()) > 0
    assert house.settings.warehouse.path.read_bytes() == warehouse
    assert not list(data.glob("plan-*"))

    assert ask(data, "identity", "link", one, other, *SIGNED).code == 0
    shown = ask(data, "identity", "plan", "--segments", COLUMNS="200")
    assert shown.code == 0
    assert "entering" in shown.out
    done = house.run(AS_OF)
    assert done.success, done.errors
    after = _members(house)
    entering = Counter(key for key, _ in after - before)
    leaving = Counter(key for key, _ in before - after)
    assert {key: (entering[key], leaving[key]) for key in {*entering, *leaving}} == foretold


def test_what_the_gate_held_back_is_acknowledged_and_published(
    ask: Ask, company: Path, install: Callable[..., Any], catalog: Path
) -> None:
    house = install(copy_of=company)
    data = house.settings.data
    one, other = _two_known(house)
    rules = catalog / "identifiers.yml"
    text = rules.read_text(encoding="utf-8")
    strict = text.replace("known_id_churn_ratio: 0.005", "known_id_churn_ratio: 0.0").replace(
        "known_ids_min: 20", "known_ids_min: 0"
    )
    assert strict != text
    rules.write_text(strict, encoding="utf-8")
    given = {"STRATA_CATALOG": str(catalog)}
    truth = "known_customers_keep_their_id"
    published = house.sql("select * from identity.identifier_map order by all")

    early = ask(data, "identity", "acknowledge", truth, *SIGNED, "--json", **given)
    assert early.code == 1
    assert "holds" in early.json["what"]

    assert ask(data, "identity", "link", one, other, *SIGNED, **given).code == 0
    foretold = ask(data, "identity", "plan", "--json", **given)
    assert [held["truth"] for held in foretold.json["held"]] == [truth]
    held = ask(data, "run", "--only", "identity", "--as-of", AS_OF, **given, COLUMNS="200")
    assert held.code == 3
    told = ask(data, "gates", COLUMNS="300", **given)
    assert told.code == 3
    assert house.sql("select * from identity.identifier_map order by all") == published

    wrong = ask(data, "identity", "acknowledge", "known_customers_keep_their_ids", *SIGNED, "--json", **given)
    assert wrong.code == 5
    assert truth in wrong.json["what"]
    done = ask(data, "identity", "acknowledge", truth, *SIGNED, "--json", **given)
    assert done.code == 0, done.err
    assert (done.json["truth"], done.json["is_size"]) == (truth, False)
    assert done.json["value"] > done.json["allowed"]
    again = ask(data, "run", "--only", "identity", "--as-of", AS_OF, **given, COLUMNS="200")
    assert again.code == 0, again.out + again.err
    assert house.sql("select customer_id from identity.customers where status = 'merged'") == [(max(one, other),)]
    # What was acknowledged was what that run did: it allows nothing more once that is published.
    spent = ask(data, "identity", "acknowledge", truth, *SIGNED, "--json", **given)
    assert "holds" in spent.json["what"]
    assert house.sql("select truth, author from identity.acknowledgements") == [(truth, "jo")]
    assert ask(data, "audit", "verify").code == 0
