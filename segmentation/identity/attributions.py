"""Which identifier speaks for the rows of each source, which rows nobody is known for, and which changed hands (R6).

Belongs here: counting attribution over what was seen. Does not belong here: attributing single rows (`lookup.py`, and
the models of later stages, by the same order).
"""

from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.observations import filled_columns
from segmentation.run import Run
from segmentation.sources.entities import IDENTITY_COLUMNS
from segmentation.warehouse import Connection, count, has_rows, literal, scalar

#: Instead of a type of identifier: the row has none, or none that links anybody.
NO_IDENTIFIER, SHARED, BLOCKED = "no identifier", "shared identifiers", "blocked identifiers"

#: A row that one of these speaks for is a known customer's.
_KNOWN_TYPES = ("source_customer_id", "user_id", "email", "phone")


def write_attributions(con: Connection, run: Run, rules: IdentifierRules) -> dict[str, int]:
    """Fill ``identity.candidate_attributions`` from what was seen; the candidate map must be there.

    Returns:
        Rows that belong to any customer, rows of known customers, and rows that belonged to another
        customer before the run's moment.
    """
    _find_known(con)
    con.execute("create or replace temp table shared_nodes as select node_id from excluded where status = 'shared'")
    speaker = _speaker(con, rules)
    devices = " or ".join(
        f"(attributed_by = '{name}' and {name} in (select node_id from known_devices))"
        for name in IDENTITY_COLUMNS
        if name not in _KNOWN_TYPES
    )
    known = f"(attributed_by in ({', '.join(map(literal, _KNOWN_TYPES))}) or {devices})"
    con.execute(
        "insert into identity.candidate_attributions by name "
        "select k.entity, k.source, s.attributed_by, sum(s.n_obs)::bigint as n_rows, "
        f"coalesce(sum(s.n_obs) filter ({known}), 0)::bigint as n_rows_known, 0 as n_rows_reattributed, "
        "$run_id as run_id, $recorded_at as recorded_at "
        f"from (select *, {speaker} as attributed_by from node_observations) as s "
        "join identity.sighting_kinds as k on k.kind_code = s.evidence_code group by all",
        {"run_id": run.run_id, "recorded_at": run.recorded_at},
    )
    _count_reattributed(con, run, rules, speaker)
    nobody = ", ".join(map(literal, (NO_IDENTIFIER, SHARED, BLOCKED)))
    counted = con.execute(
        f"select coalesce(sum(n_rows) filter (attributed_by not in ({nobody})), 0)::bigint, "
        "coalesce(sum(n_rows_known), 0)::bigint, coalesce(sum(n_rows_reattributed), 0)::bigint "
        "from identity.candidate_attributions"
    ).fetchall()[0]
    con.execute("drop table known_devices; drop table shared_nodes")
    return dict(zip(("rows_attributable", "rows_of_known", "rows_reattributed"), counted, strict=True))


def _speaker(con: Connection, rules: IdentifierRules) -> str:
    """Return the SQL for which identifier speaks for an observation, or why none does."""
    seen = filled_columns(con, "node_observations")
    ordered = [name for name in rules.types_by_priority if name in seen]
    # Asking of each identifier whether it is excluded costs most; where none is, nobody is asked.
    is_any_excluded = has_rows(con, "excluded")
    links = "and {name} not in (select node_id from excluded)" if is_any_excluded else ""
    whens = [f"when {name} is not null {links.format(name=name)} then {literal(name)}" for name in ordered]
    if seen and is_any_excluded:
        shared = " or ".join(f"{name} in (select node_id from shared_nodes)" for name in seen)
        anything = " or ".join(f"{name} is not null" for name in seen)
        whens += [f"when {shared} then {literal(SHARED)}", f"when {anything} then {literal(BLOCKED)}"]
    return f"case {' '.join(whens)} else {literal(NO_IDENTIFIER)} end" if whens else literal(NO_IDENTIFIER)


def _find_known(con: Connection) -> None:
    """Write ``known_devices(node_id)``: devices and cookies of customers that are more than that."""
    known = ", ".join(map(literal, _KNOWN_TYPES))
    con.execute(
        "create or replace temp table known_devices as with typed as ("
        "select c.component, c.node_id, n.id_type from components as c join nodes as n using (node_id)) "
        f"select node_id from typed semi join (select distinct component from typed where id_type in ({known})) "
        f"using (component) where id_type not in ({known})"
    )


def _count_reattributed(con: Connection, run: Run, rules: IdentifierRules, speaker: str) -> None:
    """Count the rows that had another customer before the run's moment, by who speaks for them now.

    Only rows that name a moved identifier can have; what else they name is looked up in both maps. An identifier that
    had no customer then counts as moved, because it may speak for rows that a worse one spoke for. The map of then is
    that of the history, so that doing a run again counts the same.
    """
    former = scalar(con, "select max(as_of) from identity.publications where as_of < ?", [run.as_of])
    if former is None:
        return
    con.execute(
        "create or replace temp table former_map as select node_id, customer_id from identity.identifier_map_history "
        "where valid_from < $as_of and (valid_to is null or valid_to >= $as_of)",
        {"as_of": run.as_of},
    )
    con.execute(
        "create or replace temp table moved_nodes as select node_id from former_map as o "
        "full join identity.candidate_identifier_map as n using (node_id) "
        "where o.customer_id is distinct from n.customer_id "
        "and (o.customer_id is not null or node_id in (select node_id from nodes where first_seen_at <= ?))",
        [former],
    )
    if count(con, "moved_nodes"):
        _compare_owners(con, rules, former, speaker)
    con.execute("drop table moved_nodes; drop table former_map")


def _compare_owners(con: Connection, rules: IdentifierRules, former: object, speaker: str) -> None:
    """Add up the rows that name any of ``moved_nodes`` and changed hands, asking both maps for what these rows name."""
    moved = " or ".join(f"{name} in (select node_id from moved_nodes)" for name in IDENTITY_COLUMNS)
    con.execute(
        f"create or replace temp table touched as select *, {speaker} as attributed_by "
        f"from node_observations where first_seen_at <= ? and ({moved})",
        [former],
    )
    named = " union ".join(f"select {name} as node_id from touched" for name in IDENTITY_COLUMNS)
    sides = {"old": "former_map", "new": "identity.candidate_identifier_map"}
    for side, table in sides.items():
        con.execute(
            f"create or replace temp table {side}_owners as select node_id, customer_id from {table} "
            f"semi join ({named}) using (node_id)"
        )
    joins = " ".join(
        f"left join {side}_owners as {side}_{name} on {side}_{name}.node_id = s.{name}"
        for side in sides
        for name in IDENTITY_COLUMNS
    )
    old, new = (
        f"coalesce({', '.join(f'{side}_{name}.customer_id' for name in rules.types_by_priority)})" for side in sides
    )
    con.execute(
        "create or replace temp table changed_hands as "
        "select k.entity, k.source, s.attributed_by, sum(s.n_obs)::bigint as n_rows "
        f"from touched as s {joins} join identity.sighting_kinds as k on k.kind_code = s.evidence_code "
        f"where {old} is not null and {old} is distinct from {new} group by all"
    )
    con.execute(
        "update identity.candidate_attributions set n_rows_reattributed = c.n_rows from changed_hands as c "
        "where c.entity = candidate_attributions.entity and c.source = candidate_attributions.source "
        "and c.attributed_by = candidate_attributions.attributed_by"
    )
    for table in ("touched", "old_owners", "new_owners", "changed_hands"):
        con.execute(f"drop table {table}")
