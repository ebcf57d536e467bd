"""What must be true of who is who before the next stages attribute anything to anybody.

Belongs here: truths over `identity.candidate` (one row of figures) and the candidates of the published
tables. Does not belong here: the rules of resolution (`catalog/identifiers.yml`, `segmentation/identity`).
Samples show ids of ours only, never an identifier's value.
"""

from expectations.truths import Suite, Truth, holds_nowhere, is_one_of, is_unique

FIGURES = "candidate"
CUSTOMERS = "candidate_customers"
MEMBERS = "candidate_identifier_map"
IDENTIFIERS = "candidate_identifiers"
LOOKUP = "candidate_identifier_lookup"
ALIASES = "candidate_customer_aliases"
CONSENTS = "candidate_customer_consents"
EDGES = "candidate_edges"

_BUG = "report it with the sample rows: resolution must keep its own rules"
_RULES = "undo the last edit of catalog/identifiers.yml, or see which source sends other identifiers than before"
_ACTIVE = "(select customer_id from identity.candidate_customers where status = 'active')"


def _is_usual(name: str, query: str, *, expected: str) -> Truth:
    """State that a figure is not more than is usual or acknowledged (rule R7); ``query`` selects both numbers."""
    repair = (
        f"{_RULES}; where it is right: strata identity acknowledge {name} --author YOU --reason WHY, "
        "then strata run --from identity"
    )
    return holds_nowhere(name, FIGURES, query, expected=expected, repair=repair)


SUITE = Suite(
    "identity",
    (
        holds_nowhere(
            "customers_exist",
            FIGURES,
            "select n_customers from {batch} where n_customers = 0",
            expected="an active customer",
            repair="map the columns that identify customers in catalog/sources",
        ),
        is_unique("customers_are_unique", CUSTOMERS, "customer_id", repair=_BUG),
        is_one_of(
            "customers_have_a_known_status", CUSTOMERS, "status", "active", "merged", "retired", "erased", repair=_BUG
        ),
        is_unique("identifiers_are_unique", IDENTIFIERS, "node_id", repair=_BUG),
        is_unique("identifiers_belong_to_one_customer", MEMBERS, "node_id", repair=_BUG),
        holds_nowhere(
            "identifiers_belong_to_active_customers",
            MEMBERS,
            f"select node_id, customer_id from {{batch}} as members anti join {_ACTIVE} as active using (customer_id)",
            expected="an active customer for every identifier that has one",
            repair=_BUG,
        ),
        holds_nowhere(
            "active_customers_have_identifiers",
            CUSTOMERS,
            """
            select customers.customer_id, customers.n_nodes, coalesce(found.n, 0) as n_found from {batch} as customers
            left join (
                select customer_id, count(*) as n from identity.candidate_identifier_map group by customer_id
            ) as found using (customer_id)
            where customers.status = 'active' and (found.n is null or found.n <> customers.n_nodes)
            """,
            expected="as many identifiers as the customer's n_nodes, and one at least",
            repair=_BUG,
        ),
        holds_nowhere(
            "customer_ids_never_vanish",
            CUSTOMERS,
            """
            select published.customer_id from identity.customers as published
            anti join {batch} as customers using (customer_id)
            """,
            expected="every id ever published, as active, merged, retired or erased",
            repair="restore the state of identity from its last export, then run again",
        ),
        holds_nowhere(
            "erased_customers_stay_erased",
            CUSTOMERS,
            """
            select published.customer_id from identity.customers as published
            join {batch} as customers using (customer_id)
            where published.status = 'erased' and customers.status <> 'erased'
            """,
            expected="no erased customer comes back",
            repair=_BUG,
        ),
        holds_nowhere(
            "identifiers_keep_their_number",
            IDENTIFIERS,
            """
            select proposed.node_id from {batch} as proposed
            join identity.identifiers as published using (node_id)
            where published.status <> 'erased' and proposed.status <> 'erased'
                and (published.id_type <> proposed.id_type or published.id_namespace <> proposed.id_namespace
                    or published.id_value <> proposed.id_value)
            """,
            expected="a node_id means one identifier for ever",
            repair="restore the state of identity from its last export, then run again",
        ),
        holds_nowhere(
            "old_ids_lead_to_active_customers",
            ALIASES,
            f"select old_customer_id, customer_id from {{batch}} as aliases anti join {_ACTIVE} as active "
            "using (customer_id)",
            expected="an active customer behind every old id",
            repair=_BUG,
        ),
        is_unique("old_ids_lead_to_one_customer", ALIASES, "old_customer_id", repair=_BUG),
        holds_nowhere(
            "raw_values_find_the_customer_of_their_identifier",
            LOOKUP,
            """
            select lookup.node_id, lookup.customer_id from {batch} as lookup
            left join identity.candidate_identifier_map as members using (node_id)
            where members.customer_id is distinct from lookup.customer_id
            """,
            expected="the same customer by raw value and by identifier",
            repair=_BUG,
        ),
        is_unique("raw_values_find_one_customer", LOOKUP, "id_type", "id_namespace", "raw_value", repair=_BUG),
        holds_nowhere(
            "only_active_identifiers_find_customers",
            LOOKUP,
            """
            select lookup.node_id, identifiers.status from {batch} as lookup
            join identity.candidate_identifiers as identifiers using (node_id)
            where identifiers.status <> 'active'
            """,
            expected="no customer behind a blocked, shared or erased value",
            repair=_BUG,
        ),
        _is_usual(
            "customers_stay_within_their_size",
            "select max_customer_nodes, max_nodes_allowed from {batch} where max_customer_nodes > max_nodes_allowed",
            expected="at most max_nodes identifiers per customer",
        ),
        _is_usual(
            "largest_raw_component_is_known",
            "select raw_max_component, raw_max_component_allowed, n_identifiers from {batch} "
            "where raw_max_component > raw_max_component_allowed",
            expected="before the guards, no component larger than the share of all identifiers that "
            "publish_gate.raw_max_component_ratio allows, or than was acknowledged",
        ),
        is_unique("consent_is_decided_once", CONSENTS, "customer_id", "purpose", repair=_BUG),
        holds_nowhere(
            "consent_is_never_from_the_future",
            CONSENTS,
            """
            select customer_id, purpose, decided_at from {batch}
            where decided_at > (
                select max_by(as_of, candidate_seq) from ops.candidates where stage = 'identity'
            )
            """,
            expected="decisions up to as_of",
            repair=_BUG,
        ),
        holds_nowhere(
            "consent_is_given_by_active_customers",
            CONSENTS,
            f"select customer_id, purpose from {{batch}} as consents anti join {_ACTIVE} as active using (customer_id)",
            expected="an active customer behind every decision",
            repair=_BUG,
        ),
        # Destinations are told of withdrawals before any later gate, so that a mistaken import has to be noticed here.
        holds_nowhere(
            "few_customers_withdraw_consent",
            CONSENTS,
            f"""
            select before.purpose, count(*) as n_allowed_before,
                count(*) filter (kept.customer_id is null) as n_withdrawn
            from identity.customer_consents as before
            join {_ACTIVE} as active on active.customer_id = before.customer_id
            left join {{batch}} as kept
                on kept.customer_id = before.customer_id and kept.purpose = before.purpose and kept.is_allowed
            where before.is_allowed
            group by before.purpose having n_withdrawn >= 20 and n_withdrawn > 0.1 * n_allowed_before
            """,
            expected="at most 10 % of those who allowed a purpose no longer allow it after one run, or fewer than 20",
            repair="see which source sends refusals (consent_state in its mapping), and the last edit of "
            "catalog/purposes.yml; undo the mistake; where people did refuse: "
            "strata run --from identity --accept few_customers_withdraw_consent",
            may_be_accepted=True,
        ),
        holds_nowhere(
            "edges_name_their_ends_in_order",
            EDGES,
            "select node_a, node_b from {batch} where node_a >= node_b",
            expected="node_a below node_b",
            repair=_BUG,
        ),
        _is_usual(
            "known_customers_keep_their_id",
            "select known_moved, known_moved_allowed, known_before from {batch} "
            "where known_moved > known_moved_allowed",
            expected="in one run, no larger share of account and source ids moves to another customer than "
            "publish_gate.known_id_churn_ratio allows",
        ),
        _is_usual(
            "merges_are_usual",
            "select merges, merges_allowed from {batch} where merges > merges_allowed",
            expected="at most publish_gate.merges_factor times as many merges as runs usually make",
        ),
        _is_usual(
            "refused_links_are_usual",
            "select n_edges_rejected, n_edges, rejected_edge_ratio, rejected_edge_ratio_allowed from {batch} "
            "where rejected_edge_ratio > rejected_edge_ratio_allowed",
            expected="at most publish_gate.rejected_edge_factor times the usual share of refused links",
        ),
        holds_nowhere(
            "automatic_matches_are_shown_to_be_right",
            FIGURES,
            "select n_match_links_automatic, match_precision_low, match_precision_least from {batch} "
            "where n_match_links_automatic > 0 "
            "and (match_precision_least = 0 or match_precision_low < match_precision_least)",
            expected="automatic matches only where a labelled sample shows the precision that matching.yml asks for",
            repair=_BUG,
        ),
        holds_nowhere(
            "automatic_matches_are_few",
            FIGURES,
            "select n_match_links_new, n_match_links_automatic, n_customers from {batch} "
            "where n_match_links_new >= 20 and n_match_links_new > 0.1 * n_customers",
            expected="in one run, new automatic matches for at most 10 % of the customers "
            "(n_match_links_automatic counts those of earlier runs, too)",
            repair="raise automatic.from or lower automatic.max_links in catalog/matching.yml, "
            "or see which source sends its customers under new ids",
            may_be_accepted=True,
        ),
        holds_nowhere(
            "no_label_is_contradicted",
            FIGURES,
            "select n_labels_contradicted from {batch} where n_labels_contradicted > 0",
            expected="two customers wherever people call two records no match",
            repair="strata matching review lists them; strata identity split keeps them apart, "
            "strata matching unlabel takes the label back",
            severity="warning",
        ),
        holds_nowhere(
            "few_customers_retire",
            FIGURES,
            "select retired, n_customers from {batch} "
            "where retired >= 20 and retired > 0.2 * (n_customers + retired) and n_customers > 0",
            expected="at most 20 % of the active customers lose all of their identifiers in one run",
            repair=_RULES,
            may_be_accepted=True,
        ),
        holds_nowhere(
            "few_links_are_refused",
            FIGURES,
            "select n_edges_rejected, n_edges, rejected_edge_ratio from {batch} where rejected_edge_ratio > 0.2",
            expected="at most 20 % of the links between identifiers refused",
            repair="see identity.edges by reject_rule: a value that many people share links them all",
            severity="warning",
        ),
        holds_nowhere(
            "sources_reuse_no_id",
            FIGURES,
            "select n_reused_ids, n_customers from {batch} where n_reused_ids > greatest(2, 0.001 * n_customers)",
            expected="hardly any source customer id whose records differ in first name, last name and e-mail",
            repair="ask the source whether it gives ids again: then each is several people; keep them apart with "
            "strata identity split, or block the ids with strata identity block",
            severity="warning",
        ),
        holds_nowhere(
            "most_rows_belong_to_somebody",
            FIGURES,
            "select rows_attributable, rows_read, attributable_row_ratio from {batch} "
            "where rows_read > 0 and attributable_row_ratio < 0.5",
            expected="an identifier that links in at least half of the rows",
            repair="map more identifiers in catalog/sources, or see why so many are blocked or shared",
            severity="warning",
        ),
    ),
)
