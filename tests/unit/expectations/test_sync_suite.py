"""Every truth about deliveries holds on good ones and is broken by one mistake of its own."""

from collections.abc import Callable

import pytest

from expectations.gates import read_accepted
from expectations.suites.sync import SUITE
from expectations.truths import Suite
from segmentation.contracts import ensure_schema
from segmentation.warehouse import Connection

Check = Callable[[Connection, Suite], set[str]]

MISTAKES = {
    "nobody_is_delivered_without_consent": "update sync.candidate set consent_violations = 1",
    "nobody_is_delivered_outside_their_region": "update sync.candidate set residency_violations = 1",
    "members_are_known_customers": "update sync.candidate set unknown_customers = 1",
    "exclusive_groups_have_one_winner": "update sync.candidate set group_conflicts = 1",
    "delivered_segments_are_in_the_catalog": "update sync.candidate set unlisted_segments = 1",
    "positions_never_go_back": "delete from sync.candidate_changes; update sync.candidate set head_seq = 3",
    "destinations_are_not_emptied": "update sync.candidate set customers = 0",
    "customers_are_delivered_once": (
        "insert into sync.candidate_values select * from sync.candidate_values where kind = 'alias'"
    ),
    "values_are_json": "update sync.candidate_values set value = '{' where kind = 'alias'",
    "values_are_of_a_known_kind": "update sync.candidate_values set kind = 'account'",
    "changes_are_of_a_known_kind": "update sync.candidate_changes set op = 'upsert' where op = 'insert'",
    "only_deletions_have_no_value": "update sync.candidate_changes set value = null where op = 'insert'",
    "changes_have_their_own_place_in_the_log": "update sync.candidate_changes set seq = 6",
    "changes_follow_what_was_delivered": "update sync.candidate_changes set seq = 4 where op = 'delete'",
    "deliveries_carry_their_proof": "update sync.candidate_deliveries set is_proven = false",
    "deliveries_change_few_members": "update sync.candidate_deliveries set changed_ratio = 0.51",
    "somebody_is_served": "delete from sync.candidate; delete from sync.candidate_changes",
    "destinations_are_stable": "update sync.candidate set deletes = 31",
}


@pytest.fixture
def good(con: Connection) -> Connection:
    ensure_schema(con, "sync")
    con.execute(
        "create table sync.candidate as select 'online' as view_id, 'store' as destinations, 2 as customers, "
        "100 as previous_customers, 1 as deletes, 0 as consent_violations, 0 as residency_violations, "
        "0 as unknown_customers, "
        "0 as group_conflicts, 0 as unlisted_segments, 4 as base_seq, 6 as head_seq, false as is_snapshot"
    )
    con.execute(
        "create table sync.candidate_values as select 'online' as view_id, 'c_1' as customer_id, "
        """'{"segments":{}}' as value, 'customer' as kind union all select 'online', 'c_0', """
        """'{"merged_into":"c_1"}', 'alias' union all select 'online', '#segments', '{}', 'segments'"""
    )
    con.execute(
        "create table sync.candidate_changes as select 'online' as view_id, 5 as seq, 'delete' as op, "
        "'c_2' as customer_id, null::varchar as value union all select 'online', 6, 'insert', 'c_1', '{}'"
    )
    con.execute(
        "create table sync.candidate_deliveries as select 'store' as destination, 100 as members_held, "
        "50 as members_changed, 0.5::double as changed_ratio, 0.5::double as max_changed_ratio, true as is_delivered, "
        "4 as delivered_seq, 'r' as commit_ref, 'r' as log_ref, 0 as rows_wrong, true as is_proven"
    )
    return con


def test_what_only_a_delivery_can_repair_may_be_accepted() -> None:
    assert read_accepted("deliveries_carry_their_proof") == {"deliveries_carry_their_proof"}


def test_a_small_destination_may_change_as_it_likes(good: Connection, check: Check) -> None:
    good.execute("update sync.candidate_deliveries set members_held = 99, changed_ratio = 1")
    assert check(good, SUITE) == set()


def test_good_deliveries_pass(good: Connection, check: Check) -> None:
    assert check(good, SUITE) == set()


def test_a_snapshot_has_one_position(good: Connection, check: Check) -> None:
    good.execute("update sync.candidate set is_snapshot = true; update sync.candidate_changes set seq = 6")
    assert check(good, SUITE) == set()


@pytest.mark.parametrize("truth", [truth.name for truth in SUITE.truths])
def test_one_mistake_breaks_one_truth(good: Connection, check: Check, truth: str) -> None:
    good.execute(MISTAKES[truth])
    assert check(good, SUITE) == {truth}
