"""One row of figures about a candidate: what its gate judges and people look at first.

Belongs here: measuring the candidate. Does not belong here: what is good enough (the gate's suite).
"""

from segmentation.identity.acknowledgements import find_allowances
from segmentation.identity.catalog import IdentifierRules
from segmentation.run import Run
from segmentation.warehouse import Connection

#: Figures by name, over candidate and published tables: those of one relation are counted together.
_FIGURES = {
    "identity.candidate_identifiers": {
        "n_identifiers": "count(*)",
        "n_identifiers_active": "count(*) filter (status = 'active')",
        "n_identifiers_blocked": "count(*) filter (status = 'blocked')",
        "n_identifiers_shared": "count(*) filter (status = 'shared')",
    },
    "identity.candidate_edges": {
        "n_edges": "count(*)",
        "n_edges_rejected": "count(*) filter (not admitted)",
    },
    "identity.candidate_customers": {
        "n_customers": "count(*) filter (status = 'active')",
        "max_customer_nodes": "coalesce(max(n_nodes), 0)",
    },
    "identity.candidate_profiles where is_known": {"n_customers_known": "count(*)"},
    "identity.candidate_profile_conflicts where value_rank = 1": {"n_contradictions": "count(*)"},
    "identity.candidate_identifier_lookup": {"n_lookup_values": "count(*)"},
    "identity.candidate_customer_consents": {
        "n_consents": "count(*)",
        "n_consents_allowed": "count(*) filter (is_allowed)",
    },
    "identity.candidate_customer_accounts": {"n_accounts": "count(*)"},
    "identity.candidate_events": {
        "creates": "count(*) filter (event = 'create')",
        "merges": "count(*) filter (event = 'merge')",
        "splits": "count(*) filter (event in ('split', 'unmerge'))",
        "moves": "count(*) filter (event = 'move')",
        "retired": "count(*) filter (event = 'retire')",
    },
    "identity.candidate_identifier_map": {"duplicate_members": "count(*) - count(distinct node_id)"},
    "identity.candidate_identifier_map where customer_id not in "
    "(select customer_id from identity.candidate_customers where status = 'active')": {
        "members_without_active_customer": "count(*)"
    },
    "identity.identifier_map as o join identity.candidate_identifier_map as n using (node_id) "
    "join nodes as i using (node_id) where i.id_type in ('source_customer_id', 'user_id')": {
        "known_before": "count(*)",
        "known_moved": "count(*) filter (o.customer_id <> n.customer_id)",
    },
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
    for relation, figures in _FIGURES.items():
        [values] = con.execute(f"select {', '.join(figures.values())} from {relation}").fetchall()
        integers |= {name: int(value) for name, value in zip(figures, values, strict=True)}
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
