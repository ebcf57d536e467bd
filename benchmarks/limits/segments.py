"""The limit of stage ``segments``: all rules in one statement, and the difference.

Left out: the candidate with its views, causes found by looking, guards, conflicts, overrides, versions, sizes.
`run_tables` adds the other two tables that grow with membership: history and effective segments.
"""

import re

from benchmarks.limits.scratch import open_scratch
from orchestration.settings import Settings
from segmentation.run import Run
from segmentation.warehouse import Connection, literal

#: How the catalog writes that a rule asks for another segment.
_IN_SEGMENT = re.compile(
    r"customer_id in \(select m\.customer_id from segments\.membership as m where m\.segment_key = '(\w+)'\)"
)


def run_limit(settings: Settings, run: Run) -> None:
    """Decide who is in which segment, and write membership and the log of what changed.

    Before the first publication nobody is in any segment, so the difference is against an empty table.
    """
    with open_scratch(settings) as con:
        _decide(con, run)


def run_tables(settings: Settings, run: Run) -> None:
    """Do the same, and write history and effective segments as well."""
    with open_scratch(settings) as con:
        _decide(con, run)
        con.execute(
            "create table membership_history as select customer_id, segment_key, $as_of::timestamp as valid_from, "
            "null::timestamp as valid_to, cause, $run_id as run_id from membership_changes where change = 'enter'",
            {"as_of": run.as_of, "run_id": run.run_id},
        )
        con.execute(
            "create table effective as select customer_id, group_key, segment_key from membership "
            "join house.segments.catalog using (segment_key) where group_key is not null"
        )


def _decide(con: Connection, run: Run) -> None:
    con.execute("create table former (customer_id varchar, segment_key varchar)")
    con.execute(f"create table membership as {_rules_sql(con)}")
    con.execute(
        "create table membership_changes as select row_number() over (order by customer_id, segment_key) "
        "as change_seq, *, 'rule' as cause, $as_of::timestamp as effective_at, $run_id as run_id from ("
        "select customer_id, segment_key, 'enter' as change from membership anti join former "
        "using (customer_id, segment_key) union all select customer_id, segment_key, 'exit' from former "
        "anti join membership using (customer_id, segment_key))",
        {"as_of": run.as_of, "run_id": run.run_id},
    )


def _rules_sql(con: Connection) -> str:
    """Return one scan that evaluates every rule: groups as a first match, then free segments, which may ask them."""
    rows = con.execute(
        "select segment_key, rule_sql, group_key, purposes, definition ->> '$.entity' = 'account' "
        "from house.segments.catalog "
        "where coalesce(is_evaluated, true) and rule_sql is not null order by group_key, precedence, segment_key"
    ).fetchall()
    inherited = "".join(_inherited_sql(key, rule) for key, rule, _, _, is_of_accounts in rows if is_of_accounts)
    rows = [(key, rule, group, purposes) for key, rule, group, purposes, is_of_accounts in rows if not is_of_accounts]
    group_of = {key: group for key, _, group, _ in rows}
    free: list[str] = []
    groups: dict[str, list[str]] = {}
    for key, rule, group, purposes in rows:
        inlined = _IN_SEGMENT.sub(lambda found: f"({group_of[found[1]]}_winner = '{found[1]}')", rule)
        needs = "".join(f" and list_contains(consented_purposes, {literal(purpose)})" for purpose in purposes or [])
        when = f"when ({inlined}){needs} then {literal(key)}"
        if group is None:
            free.append(f"case {when} end")
        else:
            groups.setdefault(group, []).append(when)
    winners = ", ".join(f"case {' '.join(whens)} end as {group}_winner" for group, whens in groups.items())
    entries = ", ".join([*free, *(f"{group}_winner" for group in groups)])
    return (
        f"select customer_id, segment_key from (select customer_id, unnest([{entries}]) as segment_key "
        f"from (select *, {winners} from house.features.customer_features)) where segment_key is not null{inherited}"
    )


def _inherited_sql(key: str, rule: str) -> str:
    """Return what adds the customers of the accounts that a segment of accounts, outside of groups, takes."""
    return (
        f" union all select distinct customer_id, {literal(key)} from house.identity.customer_accounts "
        f"where account_id in (select account_id from house.features.account_features where {rule}) "
        "and customer_id in (select customer_id from house.features.customer_features)"
    )


def agreement(con: Connection) -> dict[str, int]:
    """Return how many memberships of the stage the limit lacks, and how many it has too many."""
    mine, theirs = (
        "select customer_id, segment_key from membership",
        "select customer_id, segment_key from house.segments.membership",
    )
    return {
        "stage_rows": con.execute(f"select count(*) from ({theirs})").fetchall()[0][0],
        "missing": con.execute(f"select count(*) from ({theirs} except {mine})").fetchall()[0][0],
        "extra": con.execute(f"select count(*) from ({mine} except {theirs})").fetchall()[0][0],
    }
