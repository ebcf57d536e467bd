"""One row of figures about a candidate: what its gate judges and people look at first.

Belongs here: measuring the candidate. Does not belong here: what is good enough (the gate's suite).
"""

from segmentation.identity.acknowledgements import find_allowances
from segmentation.identity.catalog import IdentifierRules
from segmentation.run import Run
from segmentation.warehouse import Connection

#: Figures by name; each is one query with one value over candidate and published tables.
_QUERIES = {
    "n_identifiers": "select count(*) from identity.candidate_identifiers",
    "n_identifiers_active": "select count(*) from identity.candidate_identifiers where status = 'active'",
    "n_identifiers_blocked": "select count(*) from identity.candidate_identifiers where status = 'blocked'",
    "n_identifiers_shared": "select count(*) from identity.candidate_identifiers where status = 'shared'",
    "n_edges": "select count(*) from identity.candidate_edges",
    "n_edges_rejected": "select count(*) from identity.candidate_edges where not admitted",
    "n_customers": "select count(*) from identity.candidate_customers where status = 'active'",
    "n_customers_known": "select count(*) from identity.candidate_profiles where is_known",
    "n_contradictions": "select count(*) from identity.candidate_profile_conflicts where value_rank = 1",
    "max_customer_nodes": "select coalesce(max(n_nodes), 0) from identity.candidate_customers",
    "n_lookup_values": "select count(*) from identity.candidate_identifier_lookup",
    "n_consents": "select count(*) from identity.candidate_customer_consents",
    "n_consents_allowed": "select count(*) from identity.candidate_customer_consents where is_allowed",
    "n_accounts": "select count(*) from identity.candidate_customer_accounts",
    "creates": "select count(*) from identity.candidate_events where event = 'create'",
    "merges": "select count(*) from identity.candidate_events where event = 'merge'",
    "splits": "select count(*) from identity.candidate_events where event in ('split', 'unmerge')",
    "moves": "select count(*) from identity.candidate_events where event = 'move'",
    "retired": "select count(*) from identity.candidate_events where event = 'retire'",
    "duplicate_members": "select count(*) - count(distinct node_id) from identity.candidate_identifier_map",
    "members_without_active_customer": (
        "select count(*) from identity.candidate_identifier_map where customer_id not in "
        "(select customer_id from identity.candidate_customers where status = 'active')"
    ),
    "known_before": (
        "select count(*) from identity.identifier_map as o join identity.candidate_identifier_map as n using (node_id) "
        "join nodes as i using (node_id) where i.id_type in ('source_customer_id', 'user_id')"
    ),
    "known_moved": (
        "select count(*) from identity.identifier_map as o join identity.candidate_identifier_map as n using (node_id) "
        "join nodes as i using (node_id) where i.id_type in ('source_customer_id', 'user_id') "
        "and o.customer_id <> n.customer_id"
    ),
}

#: Shares of these figures, in one; null where there is nothing to take a share of.
_RATIOS = {
    "raw_max_component_ratio": ("raw_max_component", "n_identifiers"),
    "rejected_edge_ratio": ("n_edges_rejected", "n_edges"),
    "known_id_churn_ratio": ("known_moved", "known_before"),
    "attributable_row_ratio": ("rows_attributable", "rows_read"),
}


def write_figures(
    con: Connection, run: Run, rules: IdentifierRules, counted: dict[str, int | float]
) -> dict[str, int | float]:
    """Write ``identity.candidate``: one row, one column per figure; return the row.

    Args:
        con: The warehouse, all candidate tables filled.
        run: What was published before its ``as_of`` says what is usual.
        rules: Give the limits, which the row repeats as ``…_allowed`` so that a gate can compare.
        counted: Figures that earlier steps counted on the way.
    """
    integers = {name: value for name, value in counted.items() if isinstance(value, int)}
    for name, query in _QUERIES.items():
        integers[name] = int(con.execute(query).fetchall()[0][0])
    ratios = {
        name: integers[part] / integers[whole] if integers[whole] else 0.0 for name, (part, whole) in _RATIOS.items()
    }
    ratios |= {name: value for name, value in counted.items() if isinstance(value, float)}
    columns = [f"{value}::bigint as {name}" for name, value in integers.items()]
    columns += [f"{value!r}::double as {name}" for name, value in ratios.items()]
    allowed = find_allowances(con, run, rules, {**integers, **ratios})
    # Null where nothing is unusual yet.
    columns += [f"{'null' if value is None else repr(value)}::double as {name}" for name, value in allowed.items()]
    con.execute(f"create table identity.candidate as select {', '.join(columns)}")
    return {**integers, **ratios, **{name: value for name, value in allowed.items() if value is not None}}
