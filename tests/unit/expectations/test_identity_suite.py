"""Every truth about identity holds on a good map and is broken by one mistake of its own."""

from collections.abc import Callable

import pytest

from expectations.bridge import validate
from expectations.suites.identity import SUITE
from expectations.truths import Suite
from segmentation import contracts
from segmentation.identity.tables import create_candidate_tables
from segmentation.run import Run
from segmentation.warehouse import Connection

Check = Callable[[Connection, Suite], set[str]]

CUSTOMERS = "identity.candidate_customers"
MEMBERS = "identity.candidate_identifier_map"
IDENTIFIERS = "identity.candidate_identifiers"
LOOKUP = "identity.candidate_identifier_lookup"
ALIASES = "identity.candidate_customer_aliases"
CONSENTS = "identity.candidate_customer_consents"
FIGURES = "identity.candidate"

MISTAKES = {
    "customers_exist": f"update {FIGURES} set n_customers = 0, retired = 20",
    "customers_are_unique": f"insert into {CUSTOMERS} select * from {CUSTOMERS} where customer_id = 'c_1'",
    "customers_have_a_known_status": f"update {CUSTOMERS} set status = 'lost' where status = 'retired'",
    "identifiers_are_unique": f"insert into {IDENTIFIERS} select * from {IDENTIFIERS} where node_id = 1",
    "identifiers_belong_to_one_customer": (
        f"insert into {MEMBERS} select * from {MEMBERS} where node_id = 1; delete from {LOOKUP} where node_id = 1; "
        f"update {CUSTOMERS} set n_nodes = 3 where customer_id = 'c_1'"
    ),
    "identifiers_belong_to_active_customers": (
        f"insert into {MEMBERS} select 7, 'c_merged', 'run-1', timestamp '2026-11-01'"
    ),
    "active_customers_have_identifiers": f"update {CUSTOMERS} set n_nodes = 5 where customer_id = 'c_1'",
    "customer_ids_never_vanish": f"delete from {CUSTOMERS} where status = 'retired'",
    "erased_customers_stay_erased": f"update {CUSTOMERS} set status = 'retired' where status = 'erased'",
    "identifiers_keep_their_number": f"update {IDENTIFIERS} set id_value = 'other' where node_id = 1",
    "old_ids_lead_to_active_customers": f"update {ALIASES} set customer_id = 'c_retired'",
    "old_ids_lead_to_one_customer": f"insert into {ALIASES} select * replace ('c_1' as customer_id) from {ALIASES}",
    "raw_values_find_the_customer_of_their_identifier": f"update {LOOKUP} set customer_id = 'c_2' where node_id = 1",
    "raw_values_find_one_customer": f"insert into {LOOKUP} select * from {LOOKUP} where node_id = 1",
    "only_active_identifiers_find_customers": f"update {IDENTIFIERS} set status = 'shared' where node_id = 1",
    "customers_stay_within_their_size": f"update {FIGURES} set max_customer_nodes = 101",
    "consent_is_decided_once": f"insert into {CONSENTS} select * replace (false as is_allowed) from {CONSENTS}",
    "consent_is_never_from_the_future": f"update {CONSENTS} set decided_at = timestamp '2026-11-02'",
    "consent_is_given_by_active_customers": f"update {CONSENTS} set customer_id = 'c_retired'",
    # Twenty new customers who allowed a purpose, and no longer do.
    "few_customers_withdraw_consent": (
        f"insert into {CUSTOMERS} by name select c.* replace ('n_' || i as customer_id, 1 as n_nodes) "
        f"from {CUSTOMERS} as c, range(20) as r(i) where c.customer_id = 'c_2'; "
        f"insert into {MEMBERS} by name select m.* replace (100 + i as node_id, 'n_' || i as customer_id) "
        f"from {MEMBERS} as m, range(20) as r(i) where m.node_id = 3; "
        f"insert into identity.customer_consents by name select c.* replace ('n_' || i as customer_id) "
        f"from {CONSENTS} as c, range(20) as r(i)"
    ),
    "edges_name_their_ends_in_order": "update identity.candidate_edges set node_a = 2, node_b = 1",
    "largest_raw_component_is_known": f"update {FIGURES} set raw_max_component = 101",
    "known_customers_keep_their_id": f"update {FIGURES} set known_moved = 21",
    "merges_are_usual": f"update {FIGURES} set merges = 26",
    "refused_links_are_usual": f"update {FIGURES} set rejected_edge_ratio = 0.17",
    "automatic_matches_are_shown_to_be_right": f"update {FIGURES} set match_precision_low = 0.98",
    "automatic_matches_are_few": f"update {FIGURES} set n_match_links_new = 20",
    "no_label_is_contradicted": f"update {FIGURES} set n_labels_contradicted = 1",
    "few_customers_retire": f"update {FIGURES} set retired = 20, n_customers = 79",
    "few_links_are_refused": (
        f"update {FIGURES} set rejected_edge_ratio = 0.3, rejected_edge_ratio_allowed = null, merges_allowed = null"
    ),
    "sources_reuse_no_id": f"update {FIGURES} set n_reused_ids = 3",
    "most_rows_belong_to_somebody": f"update {FIGURES} set attributable_row_ratio = 0.4",
}


@pytest.fixture
def good(con: Connection, run: Run) -> Connection:
    contracts.ensure_schema(con, "identity")
    create_candidate_tables(con)
    contracts.stamp_candidate(con, "identity", run)
    con.execute(
        f"create table {FIGURES} as select 2 as max_customer_nodes, 100 as max_nodes_allowed, 1 as known_moved, "
        "9 as known_before, 20 as known_moved_allowed, 9 as n_identifiers, 100 as raw_max_component, "
        "100 as raw_max_component_allowed, 25 as merges, 25 as merges_allowed, "
        "0.16 as rejected_edge_ratio_allowed, 1 as n_edges_rejected, 10 as n_edges, 2 as n_customers, "
        "0.1 as rejected_edge_ratio, 9 as rows_attributable, 10 as rows_read, 0.9 as attributable_row_ratio, "
        "1 as retired, 2 as n_reused_ids, 500 as n_match_links_automatic, "
        "19 as n_match_links_new, 0 as n_labels_contradicted, "
        "0.99 as match_precision_low, 0.99 as match_precision_least"
    )
    stamps = "'run-1' as run_id, timestamp '2026-11-01' as recorded_at"
    for table in ("identity.customers", CUSTOMERS):
        con.execute(
            f"insert into {table} by name select customer_id, row_number() over () as customer_seq, "
            "1 as anchor_node_id, 0 as anchor_priority, status, merged_into, 'deterministic' as match_basis, n_nodes, "
            f"timestamp '2026-01-01' as created_at, created_at as first_seen_at, {stamps} from (values "
            "('c_1', 'active', null, 2), ('c_2', 'active', null, 1), ('c_merged', 'merged', 'c_2', 0), "
            "('c_retired', 'retired', null, 0), ('c_erased', 'erased', null, 0)) "
            "as t(customer_id, status, merged_into, n_nodes)"
        )
    for table in ("identity.identifiers", IDENTIFIERS):
        con.execute(
            f"insert into {table} by name select i as node_id, 'user_id' as id_type, '' as id_namespace, "
            "'u' || i as id_value, 'active' as status, false as is_verified, timestamp '2026-01-01' as first_seen_at, "
            f"first_seen_at as last_seen_at, {stamps} from range(1, 4) as r(i)"
        )
    con.execute(
        f"insert into {MEMBERS} by name select unnest([1, 2, 3]) as node_id, unnest(['c_1', 'c_1', 'c_2']) "
        f"as customer_id, {stamps}"
    )
    con.execute(
        f"insert into {LOOKUP} by name select 'user_id' as id_type, '' as id_namespace, 'U' || node_id as raw_value, "
        f"node_id, customer_id from {MEMBERS}"
    )
    con.execute(f"insert into {ALIASES} by name select 'c_merged' as old_customer_id, 'c_2' as customer_id, {stamps}")
    con.execute(
        f"insert into {CONSENTS} by name select 'c_1' as customer_id, 'analytics' as purpose, true as is_allowed, "
        f"timestamp '2026-11-01' as decided_at, {stamps}"
    )
    con.execute(
        "insert into identity.candidate_edges by name select 1 as node_a, 2 as node_b, 'crm' as source, "
        "'record' as evidence, 1 as tier, 1 as n_obs, timestamp '2026-01-01' as first_seen_at, "
        f"first_seen_at as last_seen_at, true as admitted, {stamps}"
    )
    return con


def test_a_good_map_passes(good: Connection, check: Check) -> None:
    assert check(good, SUITE) == set()


def test_an_erased_identifier_may_lose_its_value(good: Connection, check: Check) -> None:
    good.execute(f"update {IDENTIFIERS} set status = 'erased', id_value = '' where node_id = 3")
    good.execute(f"delete from {LOOKUP} where node_id = 3")
    assert check(good, SUITE) == set()


@pytest.mark.parametrize("truth", [truth.name for truth in SUITE.truths])
def test_one_mistake_breaks_one_truth(good: Connection, check: Check, truth: str) -> None:
    good.execute(MISTAKES[truth])
    assert check(good, SUITE) == {truth}


@pytest.mark.parametrize(("n_before", "n_refusing", "is_held"), [(200, 21, True), (200, 20, False), (30, 19, False)])
def test_refusals_are_held_back_where_they_are_many_and_a_large_share(
    good: Connection, check: Check, n_before: int, n_refusing: int, is_held: bool
) -> None:
    """What counts is one purpose, and who allowed it: as many grants of others, or of something else, hide nothing."""
    good.execute(f"delete from {CONSENTS}")
    good.execute(
        f"insert into {CUSTOMERS} by name select c.* replace ('n_' || i as customer_id, 1 as n_nodes) "
        f"from {CUSTOMERS} as c, range({2 * n_before}) as r(i) where c.customer_id = 'c_2'"
    )
    good.execute(
        f"insert into {MEMBERS} by name select m.* replace (100 + i as node_id, 'n_' || i as customer_id) "
        f"from {MEMBERS} as m, range({2 * n_before}) as r(i) where m.node_id = 3"
    )
    facts = "timestamp '2026-10-31' as decided_at, 'run-1' as run_id, timestamp '2026-11-01' as recorded_at"
    good.execute(
        "insert into identity.customer_consents by name select 'n_' || i as customer_id, purpose, "
        f"i < {n_before} or purpose = 'analytics' as is_allowed, {facts} "
        f"from range({2 * n_before}) as r(i), unnest(['marketing', 'analytics']) as p(purpose)"
    )
    good.execute(
        f"insert into {CONSENTS} by name select customer_id, purpose, "
        f"purpose = 'analytics' or substr(customer_id, 3)::int >= {n_refusing} as is_allowed, {facts} "
        "from identity.customer_consents"
    )
    assert check(good, SUITE) == ({"few_customers_withdraw_consent"} if is_held else set())
    assert validate(good, SUITE).passed is not is_held
