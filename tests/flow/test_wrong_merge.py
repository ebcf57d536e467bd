"""Two customers are merged wrongly: a steward sees why, takes them apart, and everything downstream follows."""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from orchestration.settings import LANDING_MANIFEST
from segmentation.sync.lookup import lookup

pytestmark = pytest.mark.timeout(1800)

MERGED, SPLIT = "2026-11-02T00:00:00", "2026-11-03T00:00:00"

#: The borrower is known to the CRM alone, the lender has a user account and no CRM record: nothing but people can tell
#: that they are two.
_PEOPLE = """
with kinds as (
    select m.customer_id, list(distinct concat(i.id_type, i.id_namespace)) as held
    from identity.identifier_map as m join identity.identifiers as i using (node_id) group by 1
)
select k.customer_id, p.email, min(u.id_value) as user_id
from kinds as k join identity.profiles as p using (customer_id)
join features.customer_features as f using (customer_id)
join identity.identifier_map as m using (customer_id) join identity.identifiers as u using (node_id)
where f.orders_total > 0 and p.email is not null and {condition}
group by all order by 1 limit 1
"""
_BORROWER = "list_contains(k.held, 'source_customer_idcrm') and not list_contains(k.held, 'user_id') "
_BORROWER += "and not list_contains(k.held, 'source_customer_idshop')"
_LENDER = "u.id_type = 'user_id' and not list_contains(k.held, 'source_customer_idcrm')"


def _ticket(user_id: str, email: str) -> str:
    times = {"opened": "2026-11-01 15:00:00", "updated": "2026-11-01 15:00:00", "solved": None}
    facts = {"ticket": "HD-900000001", "requester_user": user_id, "requester_email": email, "organisation": None}
    told = {"category": "delivery", "priority": "low", "status": "open", "satisfaction": None}
    return json.dumps({**facts, **told, **times}) + "\n"


def _move_clock(landing: Path, moment: str) -> None:
    manifest = landing / LANDING_MANIFEST
    told = json.loads(manifest.read_text(encoding="utf-8")) | {"as_of": f"{moment}Z"}
    manifest.write_text(json.dumps(told), encoding="utf-8")


def _answers(house: Any, *arguments: str) -> Any:
    done = house.strata(*arguments, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def _members(house: Any, *customers: str) -> list[tuple[object, ...]]:
    named = ", ".join(f"'{one}'" for one in customers)
    return house.sql(
        f"select customer_id, segment_key from segments.membership where customer_id in ({named}) order by all"
    )


def _revenue(house: Any, *customers: str) -> dict[str, int]:
    named = ", ".join(f"'{one}'" for one in customers)
    found = house.sql(
        f"select customer_id, revenue_micros_total from features.customer_features where customer_id in ({named})"
    )
    return {str(customer): int(str(micros)) for customer, micros in found}


def _causes(house: Any, run_id: str) -> set[object]:
    return {row[0] for row in house.sql(f"select cause from segments.membership_changes where run_id = '{run_id}'")}


def _told(house: Any, customer: str, moment: str) -> tuple[str | None, dict[str, int] | None]:
    url = f"sqlite:///{house.settings.data / 'online_store.db'}"
    answer = lookup(url, customer, datetime.fromisoformat(moment), destination="online_store")
    return answer.customer_id, answer.segments


def test_a_borrowed_login_is_undone(company: Path, install: Callable[..., Any]) -> None:
    house = install(copy_of=company)
    (borrower, borrower_email, _), (lender, lender_email, user_id) = (
        tuple(map(str, house.sql(_PEOPLE.format(condition=condition))[0])) for condition in (_BORROWER, _LENDER)
    )
    assert borrower != lender
    revenue = _revenue(house, borrower, lender)
    landing = house.settings.landing_folder
    (landing / "helpdesk_tickets" / "tickets_20261102.ndjson").write_text(_ticket(user_id, borrower_email))

    _move_clock(landing, MERGED)
    merging = house.run(MERGED)
    assert merging.success, merging.errors
    kept, gone = sorted((borrower, lender))
    assert house.sql("select customer_id, merged_into from identity.customers where status = 'merged'") == [
        (gone, kept)
    ]
    assert _revenue(house, borrower, lender) == {kept: sum(revenue.values())}
    assert "identity_merge" in _causes(house, merging.run_id)
    assert {customer for customer, _ in _members(house, borrower, lender)} == {kept}
    assert gone not in house.online_store() or _told(house, gone, MERGED)[0] == kept

    why = _answers(house, "identity", "why", f"email:{borrower_email}", f"email:{lender_email}")
    assert why["is_one_customer"]
    assert "helpdesk" in {one["source"] for step in why["steps"] for one in step["evidence"]}

    warehouse = house.settings.warehouse.path.read_bytes()
    foretold = _answers(house, "identity", "plan", "--with-rule", f"split {kept} --away {gone}")
    assert (foretold["counts"]["unmerge"], foretold["counts"]["merge"]) == (1, 0)
    assert foretold["revenue"]["revenue_moved_micros"] == revenue[gone]
    assert house.settings.warehouse.path.read_bytes() == warehouse
    assert not list(house.settings.data.glob("plan-*"))

    signed = ("--author", "jo", "--reason", "case 12: asked from a borrowed account")
    rule = _answers(house, "identity", "split", kept, "--away", gone, *signed)
    assert (rule["kind"], rule["state"]) == ("must_not_link", "pending")

    _move_clock(landing, SPLIT)
    splitting = house.run(SPLIT)
    assert splitting.success, splitting.errors
    assert house.sql(
        "select event, customer_id, other_customer_id, cause_rule from identity.events order by seq desc limit 1"
    ) == [("unmerge", gone, kept, f"R2 {rule['rule_id']}")]
    assert _revenue(house, borrower, lender) == revenue
    causes = _causes(house, splitting.run_id)
    assert "identity_split" in causes
    assert "identity_merge" not in causes
    for customer in (borrower, lender):
        told, segments = _told(house, customer, SPLIT)
        assert told == customer
        assert segments is not None
        assert set(segments) == {segment for owner, segment in _members(house, customer) if owner == customer}
    assert {customer for customer, _ in _members(house, borrower, lender)} == {borrower, lender}
    # History keeps both: the spells that the merge ended, and those that the split began.
    spells = house.sql(
        "select valid_from, valid_to is null, cause, exit_cause from segments.membership_history "
        f"where customer_id = '{gone}' and superseded_at is null order by all"
    )
    merged_at, split_at = datetime.fromisoformat(MERGED), datetime.fromisoformat(SPLIT)
    assert "identity_merge" in {exit_cause for begin, _, _, exit_cause in spells if begin < merged_at}
    assert {(begin, cause) for begin, is_open, cause, _ in spells if is_open} == {(split_at, "identity_split")}
    assert house.sql(
        "select valid_from, customer_id from identity.identifier_map_history as h "
        f"join identity.identifiers as i using (node_id) where i.id_value = '{lender_email}' order by 1"
    ) == [
        (datetime(2026, 11, 1), lender),
        *([(merged_at, kept), (split_at, lender)] if lender == gone else []),
    ]

    whole = _answers(house, "audit", "verify")
    assert (whole["rows"], whole["problem"]) == (1, None)
    why = _answers(house, "identity", "why", f"email:{borrower_email}", f"email:{lender_email}")
    assert not why["is_one_customer"]
    assert why["separations"] == [f"{rule['rule_id']} of jo: case 12: asked from a borrowed account"]
