"""Every truth about membership holds on a good proposal and is broken by one mistake of its own."""

from collections.abc import Callable

import pytest

from expectations.suites.segments import SUITE
from expectations.truths import Suite
from segmentation.warehouse import Connection

Check = Callable[[Connection, Suite], set[str]]

MEMBERS = "segments.candidate_membership"
CATALOG = "segments.candidate_catalog"
CHANGES = "segments.candidate_changes"
SIZES = "segments.candidate_sizes"

MISTAKES = {
    "canaries_are_no_worse": "update segments.candidate_canaries set state = 'paused', reason = 'fewer orders'",
    "segments_are_defined": "; ".join(
        f"delete from segments.candidate_{table}"
        for table in ("catalog", "membership", "effective", "conflicts", "changes", "sizes")
    ),
    "segments_are_defined_once": f"insert into {CATALOG} select * replace ([] as purposes) from {CATALOG} limit 1",
    "memberships_are_unique": f"insert into {MEMBERS} select * from {MEMBERS} where segment_key = 'vip'",
    "members_have_features": "delete from features.customer_features where customer_id = 'c_2'",
    "members_are_in_segments_in_force": f"update {CATALOG} set is_evaluated = false where segment_key = 'reachable'",
    "members_have_consented": "update features.customer_features set consented_purposes = null",
    "excluded_customers_are_out": "update segments.candidate_overrides set customer_id = 'c_1'",
    "exclusive_groups_have_one_winner": (
        "insert into segments.candidate_effective values ('c_1', 'tier', 'reachable')"
    ),
    "winners_are_members": "insert into segments.candidate_effective values ('c_2', 'tier', 'core')",
    "losers_are_not_members": f"insert into {MEMBERS} values ('c_1', 'core', 'rule')",
    "changes_are_entries_or_exits": f"update {CHANGES} set change = 'stay'",
    "every_change_has_a_cause": f"update {CHANGES} set cause = 'whim'",
    "customers_change_once_per_segment": f"insert into {CHANGES} select * from {CHANGES}",
    "changes_explain_the_sizes": f"update {SIZES} set members_after = 9 where segment_key = 'vip'",
    "guards_are_kept": f"update {SIZES} set are_guards_kept = false where segment_key = 'vip'",
    "pins_hold_whom_they_name": f"insert into {MEMBERS} values ('c_3', 'reachable', 'pin')",
    "guards_are_kept_by_pins": (
        f"update {SIZES} set are_guards_kept = false, are_guards_waived = true where segment_key = 'vip'"
    ),
    "segments_follow_their_rules": "insert into segments.candidate_pins values ('vip', 'p7', 'freeze')",
    "pins_overrule_no_exclusion": (
        f"insert into {MEMBERS} values ('c_3', 'vip', 'pin'); "
        "insert into segments.candidate_pinned values ('vip', 'c_3')"
    ),
    "accounts_are_in_a_segment_once": (
        "insert into segments.candidate_account_membership select unnest(['a_1', 'a_1']), 'vip'"
    ),
    "inherited_members_belong_to_the_account": f"insert into {MEMBERS} values ('c_2', 'core', 'account')",
    "membership_is_stable": f"update {SIZES} set members_before = 200, entering = 0, leaving = 70, members_after = 130",
    "listed_customers_are_known": "update segments.candidate_overrides set status = 'unknown'",
    "changes_are_approved": (
        "insert into segments.candidate_held values ('group:tier', 'vip', 'changed', 'breaking', ['its rule'])"
    ),
    "no_list_entry_is_outdated": "update segments.candidate_overrides set status = 'expired'",
}


@pytest.fixture
def good(con: Connection) -> Connection:
    con.execute(
        """
        create schema segments; create schema features;
        create table features.customer_features as
            select unnest(['c_1', 'c_2', 'c_3']) as customer_id, ['marketing'] as consented_purposes;
        create table segments.candidate_catalog as
            select unnest(['vip', 'core', 'reachable', 'draft']) as segment_key,
                unnest([true, true, true, false]) as is_evaluated,
                unnest([[], [], ['marketing'], []]) as purposes;
        create table segments.candidate_membership as
            select unnest(['c_1', 'c_1', 'c_2']) as customer_id, unnest(['vip', 'reachable', 'reachable'])
                as segment_key, 'rule' as via;
        create table segments.candidate_effective as
            select 'c_1' as customer_id, 'tier' as group_key, 'vip' as segment_key;
        create table segments.candidate_conflicts as
            select 'c_1' as customer_id, 'tier' as group_key, 'vip' as winner_key, 'core' as loser_key;
        create table segments.candidate_changes as
            select 'c_1' as customer_id, 'vip' as segment_key, 'enter' as change, 'data' as cause;
        create table segments.candidate_sizes as
            select unnest(['vip', 'reachable']) as segment_key, unnest([0, 2]) as members_before,
                unnest([1, 0]) as entering, 0 as leaving, unnest([1, 2]) as members_after, 0.0 as churn_ratio,
                true as are_guards_kept, false as are_guards_waived, null::varchar as pin_id;
        create table segments.candidate_pins (segment_key varchar, pin_id varchar, kind varchar);
        create table segments.candidate_pinned (segment_key varchar, customer_id varchar);
        create table segments.candidate_overrides as
            select 'vip' as segment_key, 'c_3' as customer_id, 'exclude' as side, 'applied' as status,
                date '2026-12-01' as until_date, 'lists.csv:2' as listed_in;
        create table segments.candidate_account_membership (account_id varchar, segment_key varchar);
        create table segments.candidate_summary as select timestamp '2026-11-01' as as_of;
        create schema identity;
        create table identity.customer_accounts (customer_id varchar, account_id varchar, valid_to timestamp);
        create table segments.candidate_held (
            unit_key varchar, subject varchar, what varchar, change_class varchar, reasons varchar[]
        );
        create table segments.candidate_canaries as
            select 'vip' as segment_key, 20 as percent, 'running' as state, null::varchar as reason;
        """
    )
    return con


def test_a_good_proposal_passes(good: Connection, check: Check) -> None:
    assert check(good, SUITE) == set()


def test_nobody_being_in_any_segment_is_possible(good: Connection, check: Check) -> None:
    for table in ("membership", "effective", "conflicts", "changes", "sizes"):
        good.execute(f"delete from segments.candidate_{table}")
    assert check(good, SUITE) == set()


@pytest.mark.parametrize("truth", [truth.name for truth in SUITE.truths])
def test_one_mistake_breaks_one_truth(good: Connection, check: Check, truth: str) -> None:
    good.execute(MISTAKES[truth])
    assert check(good, SUITE) == {truth}
