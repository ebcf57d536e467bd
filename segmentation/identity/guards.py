"""Which identifiers may link customers: blocked values (rule R1) and values that many people share (R3).

Belongs here: judging single identifiers. Does not belong here: judging what a customer would become
(`admission.py`), or normal forms (`values.py`). An identifier that is turned down stays visible with the
rule that did it.
"""

from collections.abc import Container, Mapping

from segmentation.identity.catalog import IdentifierRules
from segmentation.sources.entities import IDENTITY_COLUMNS
from segmentation.warehouse import Connection, literal


def judge_identifiers(con: Connection, rules: IdentifierRules) -> None:
    """Write temporary table ``excluded(node_id, status, status_rule)``: identifiers that link nobody.

    Reads ``nodes`` and ``node_observations`` (see `observations.observe`) and ``operator_blocks`` (see
    `operator_rules.prepare_rules`). Erased identifiers stay erased; an identifier is blocked by the first rule that
    matches, people's before the catalog's; of the others, one with more distinct neighbours of a type than its
    limit is shared.
    """
    con.execute("create or replace temp table excluded (node_id bigint, status varchar, status_rule varchar)")
    con.execute(
        "insert into excluded select node_id, 'erased', coalesce(status_rule, 'erased') "
        "from identity.identifiers where status = 'erased'"
    )
    con.execute(
        "insert into excluded select node_id, 'blocked', status_rule from operator_blocks "
        "where node_id not in (select node_id from excluded)"
    )
    # What nobody has needs no judging.
    seen_with = dict(con.execute("select id_type, max(n_seen_with) from nodes group by id_type").fetchall())
    _block(con, rules, seen_with)
    _find_shared(con, rules, seen_with)


def _block(con: Connection, rules: IdentifierRules, id_types: Container[str]) -> None:
    for name in rules.identifiers:
        conditions = block_conditions(rules, name, "r.id_value")
        if not conditions or name not in id_types:
            continue
        whens = " ".join(f"when {condition} then {literal(rule)}" for condition, rule in conditions)
        con.execute(
            f"insert into excluded select node_id, 'blocked', rule from (select r.node_id, case {whens} end as rule "
            f"from identity.registry as r semi join (select node_id from nodes where id_type = {literal(name)}) "
            f"using (node_id) where r.id_type = {literal(name)}) "
            "where rule is not null and node_id not in (select node_id from excluded)"
        )


def block_conditions(rules: IdentifierRules, id_type: str, value: str) -> list[tuple[str, str]]:
    """Return SQL conditions over a normal form, SQL too, under which the catalog blocks it, each with its rule."""
    values = ", ".join(literal(one) for one in sorted(rules.placeholders(id_type)))
    conditions = [(f"lower({value}) in ({values})", "R1 placeholder")] if values else []
    return conditions + [
        (f"regexp_matches({value}, {literal(pattern)})", f"R1 pattern {pattern}")
        for pattern in rules.identifiers[id_type].block_patterns
    ]


def _find_shared(con: Connection, rules: IdentifierRules, seen_with: Mapping[str, int]) -> None:
    limits = {name: rules.identifiers[name].degree_limits for name in IDENTITY_COLUMNS}
    exceeded = [name for name, some in limits.items() if some and seen_with.get(name, 0) > min(some.values())]
    if not exceeded:
        return
    con.execute("create or replace temp table crowded (node_id bigint, rule varchar)")
    for name in exceeded:
        _count_neighbours(con, name, limits[name])
    con.execute("insert into excluded select node_id, 'shared', min(rule) from crowded group by node_id")
    con.execute("drop table crowded")


def _count_neighbours(con: Connection, name: str, limits: dict[str, int]) -> None:
    """Add to ``crowded`` the identifiers of a type that have more distinct neighbours of another than its limit.

    Few are seen with others more often than the limits allow: only their neighbours are told apart and counted.
    """
    others = ", ".join(sorted(limits))
    con.execute(
        f"create or replace temp table often as select {name}, {others} from node_observations semi join ("
        f"select node_id from nodes where id_type = {literal(name)} and n_seen_with > {min(limits.values())} "
        f"and node_id not in (select node_id from excluded)) as n on n.node_id = {name}"
    )
    for other, limit in sorted(limits.items()):
        rule = literal(f"R3 {name} with more than {limit} {other}")
        con.execute(
            f"insert into crowded select node_id, {rule} from ("
            f"select distinct {name} as node_id, {other} as neighbour from often "
            f"where {other} is not null and {other} not in (select node_id from excluded)) "
            f"group by node_id having count(*) > {limit}"
        )
    con.execute("drop table often")
