"""Evidence that two identifiers belong to one customer, as edges between node ids.

Belongs here: turning rows into edges. Does not belong here: which identifiers may link (`guards.py`), and
which edges fit into one customer (`admission.py`).
"""

from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.observations import filled_columns
from segmentation.sources.entities import IDENTITY_COLUMNS
from segmentation.warehouse import Connection, has_rows


def link(con: Connection, rules: IdentifierRules) -> None:
    """Write temporary table ``links``: one row per pair of identifiers, source and kind of evidence.

    A row's identifiers are joined as a star around its best one that links anybody, so that n identifiers
    cost n - 1 edges and dropping a shared one keeps the others together. Edges at a blocked or shared
    identifier are kept, rejected by its rule.
    """
    seen = filled_columns(con, "node_observations") or IDENTITY_COLUMNS
    ordered = [name for name in rules.types_by_priority if name in seen]
    filled = " + ".join(f"({name} is not null)::integer" for name in seen)
    linking: list[str] = []
    if has_rows(con, "excluded"):
        linking = [
            f"case when {name} is not null and {name} not in (select node_id from excluded) then {name} end"
            for name in ordered
        ]
    con.execute(
        f"create or replace temp table stars as select *, coalesce({', '.join([*linking, *ordered])}) as hub "
        f"from node_observations where {filled} > 1"
    )
    rays = " union all ".join(
        f"select least(hub, {name}) as node_a, greatest(hub, {name}) as node_b, evidence_code, n_obs, "
        f"first_seen_at, last_seen_at from stars where {name} is not null and {name} <> hub"
        for name in seen
    )
    con.execute(
        "create or replace temp table links as select e.*, k.source, k.evidence, k.tier, "
        "null::double as match_probability, coalesce(a.status_rule, b.status_rule) as reject_rule, "
        "coalesce(a.status = 'shared', true) and coalesce(b.status = 'shared', true) as is_raw from ("
        "select node_a, node_b, evidence_code, sum(n_obs)::bigint as n_obs, "
        f"min(first_seen_at) as first_seen_at, max(last_seen_at) as last_seen_at from ({rays}) "
        "group by node_a, node_b, evidence_code) as e "
        "join evidence_kinds as k using (evidence_code) "
        "left join excluded as a on a.node_id = e.node_a left join excluded as b on b.node_id = e.node_b"
    )
    con.execute("drop table stars")


def find_owners(con: Connection, rules: IdentifierRules) -> None:
    """Write temporary table ``owner_pairs``: accounts that one verified e-mail shows to be one person's (R5).

    Two accounts whose own records both call the same e-mail verified count as one towards
    ``max_per_customer``, where the e-mail is on no more than ``verified_account_alias`` of them. Who only
    typed somebody's address never verified it, so a typo makes no such pair.
    """
    con.execute("create or replace temp table owner_pairs (node_a bigint, node_b bigint)")
    limit = rules.verified_account_alias
    if limit == 1 or not has_rows(con, "evidence_kinds where is_verified"):
        return
    for name in ("source_customer_id", "user_id"):
        con.execute(
            "insert into owner_pairs with accounts as (select distinct email, "
            f"{name} as account from node_observations join evidence_kinds using (evidence_code) "
            f"where is_verified and email is not null and {name} is not null "
            f"and email not in (select node_id from excluded) and {name} not in (select node_id from excluded)), "
            "owners as (select email, min(account) as owner from accounts group by email "
            f"having count(*) between 2 and {limit}) "
            "select owner, account from owners join accounts using (email) where account <> owner"
        )
