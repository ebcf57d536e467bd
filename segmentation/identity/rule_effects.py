"""What the rules of people did to a candidate: links, causes of events, and reasons in words.

Belongs here: what follows from decisions once a run knows them. Does not belong here: reading them
(`operator_rules.py`), or judging edges (`admission.py`).
"""

from segmentation.identity.operator_rules import LINKED, STEWARD, TIER
from segmentation.warehouse import Connection, has_rows, literal


def add_links(con: Connection) -> None:
    """Add the must-links to ``links``, as evidence of the highest precedence.

    Identifiers that this run did not see link nothing. A link at an identifier that links nobody (blocked, shared,
    erased) is refused with its rule like any other edge there.
    """
    if not has_rows(con, "operator_links"):
        return
    con.execute(
        "insert into links by name select o.node_a, o.node_b, "
        f"{literal(STEWARD)} as source, {literal(LINKED)} as evidence, {TIER} as tier, 1 as n_obs, "
        "least(a.first_seen_at, b.first_seen_at) as first_seen_at, "
        "greatest(a.last_seen_at, b.last_seen_at) as last_seen_at, "
        # Components before guards are what sources make of the data, not what people do.
        "coalesce(x.status_rule, y.status_rule) as reject_rule, false as is_raw "
        "from operator_links as o join nodes as a on a.node_id = o.node_a join nodes as b on b.node_id = o.node_b "
        "left join excluded as x on x.node_id = o.node_a left join excluded as y on y.node_id = o.node_b"
    )


def add_owners(con: Connection) -> None:
    """Add to ``owner_pairs`` the linked identifiers of one type: people say that they are one person's (R5).

    Two accounts that a must-link joins, in one step or over several, count as one towards ``max_per_customer``.
    """
    if not has_rows(con, "links where tier = 0"):
        return
    con.execute(
        "insert into owner_pairs with recursive linked as ("
        "select node_a, node_b from links where tier = 0 and reject_rule is null), "
        "both_ways as (select node_a, node_b from linked union select node_b, node_a from linked), "
        "reached as (select node_a as node_id, node_a as start_id from both_ways union "
        "select b.node_b, r.start_id from reached as r join both_ways as b on b.node_a = r.node_id), "
        "grouped as (select node_id, min(start_id) as group_id from reached group by node_id), "
        "typed as (select g.group_id, n.id_type, n.id_namespace, g.node_id from grouped as g join nodes as n "
        "using (node_id)), "
        "owners as (select group_id, id_type, id_namespace, min(node_id) as owner from typed group by all) "
        "select o.owner, t.node_id from typed as t join owners as o using (group_id, id_type, id_namespace) "
        "where o.owner <> t.node_id"
    )


def name_causes(con: Connection) -> None:
    """Name in ``identity.candidate_events`` the rule that a merge or a split follows from.

    A merge follows from a link between identifiers of the two customers; a split or an unmerge from a separation of
    them.
    """
    if not any(has_rows(con, table) for table in ("operator_links", "operator_bars", "match_bars")):
        return
    con.execute(
        "create or replace temp table rule_events as "
        "with ends as (select 'merge' as event, l.rule_id, l.node_a, l.node_b from operator_links as l union all "
        "select 'split', b.rule_id, b.node_a, b.node_b from operator_bars as b union all "
        # What people say of likeness takes apart only whom matches held together.
        "select 'split', b.rule_id, b.node_a, b.node_b from match_bars as b "
        "join identity.identifier_map as m on m.node_id = b.node_a join identity.customers as c using (customer_id) "
        "where c.match_basis <> 'deterministic'), "
        "found as (select e.rule_id, e.event, oa.customer_id as old_a, ob.customer_id as old_b, "
        "na.customer_id as new_a, nb.customer_id as new_b from ends as e "
        "left join identity.identifier_map as oa on oa.node_id = e.node_a "
        "left join identity.identifier_map as ob on ob.node_id = e.node_b "
        "join identity.candidate_identifier_map as na on na.node_id = e.node_a "
        "join identity.candidate_identifier_map as nb on nb.node_id = e.node_b) "
        "select event, old_a as customer_id, old_b as other_id, rule_id from found "
        "where event = 'merge' and new_a = new_b and old_a <> old_b union "
        "select event, old_b, old_a, rule_id from found where event = 'merge' and new_a = new_b and old_a <> old_b "
        "union select event, new_a, new_b, rule_id from found where event = 'split' and new_a <> new_b "
        "and old_a = old_b union "
        "select event, new_b, new_a, rule_id from found where event = 'split' and new_a <> new_b and old_a = old_b"
    )
    con.execute(
        "update identity.candidate_events set cause_rule = 'R2 ' || c.rule_id from ("
        "select case event when 'merge' then 'merge' else 'split' end as event, customer_id, other_id, "
        "min(rule_id) as rule_id from rule_events group by all) as c "
        "where c.customer_id = candidate_events.customer_id and c.other_id = candidate_events.other_customer_id "
        "and c.event = case when candidate_events.event = 'merge' then 'merge' "
        "when candidate_events.event in ('split', 'unmerge') then 'split' end"
    )
    con.execute("drop table rule_events")


def mark_manual_matches(con: Connection) -> None:
    """Say of customers that an admitted must-link holds together that people matched them."""
    if not has_rows(con, "links where tier = 0"):
        return
    con.execute(
        "update identity.candidate_customers set match_basis = 'manual' where customer_id in ("
        "select m.customer_id from links as l join identity.candidate_identifier_map as m on m.node_id = l.node_a "
        "where l.tier = 0 and l.reject_rule is null)"
    )
