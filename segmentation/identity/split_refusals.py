"""Refusals that a split leaves behind: whoever comes of it may be the one who refused.

Belongs here: finding the refusals that hold for a customer because of identifiers it was parted from. Does not belong
here: refusals under the customer's own identifiers (`consents.py`).
"""

from segmentation.warehouse import Connection


def copy_refusals(con: Connection) -> int:
    """Write temporary table ``copied(node_id, purpose_code, copied_at)`` from ``decisions`` and what happened to ids.

    A refusal that held for a customer when part of it became a customer of its own holds for both from the moment of
    the split, whichever of them the identifier went with: only who grants after that is allowed. Two customers that
    were merged and parted again had decisions of their own before; only refusals since the merge are copied between
    them.

    The node is the anchor of the customer that it is copied to.

    Args:
        con: The warehouse, with the candidate's customers and events, and temporary tables ``decisions`` and
            ``components``.

    Returns:
        Customers and purposes with a copied refusal.
    """
    con.execute(
        "create or replace temp table partings as with happened as ("
        "select event, customer_id, other_customer_id, effective_at from identity.events "
        "where event in ('merge', 'split', 'unmerge') union "
        "select event, customer_id, other_customer_id, effective_at from identity.candidate_events "
        "where event in ('merge', 'split', 'unmerge')) "
        "select p.customer_id, p.other_customer_id, p.effective_at as parted_at, "
        # Before the split there was no customer that could have refused by itself.
        "max(case p.event when 'split' then timestamp '-infinity' else m.effective_at end) as joined_at "
        "from happened as p left join happened as m on m.event = 'merge' and m.customer_id = p.customer_id "
        "and m.effective_at < p.effective_at where p.event in ('split', 'unmerge') "
        "and p.other_customer_id is not null group by all"
    )
    con.execute(
        "create or replace temp table copied as with "
        "parents as (select distinct other_customer_id as customer_id from partings), "
        "spells as (select node_id, customer_id, valid_from, valid_to from identity.identifier_map_history "
        "semi join parents using (customer_id)), "
        "sides as (select *, customer_id as side_id from partings union all "
        "select *, other_customer_id from partings), "
        "held as (select p.side_id, p.parted_at, p.joined_at, d.node_id, d.purpose_code, "
        "max(d.granted_at) as granted_at, max(d.refused_at) as refused_at "
        "from sides as p join spells as s on s.customer_id = p.other_customer_id "
        "and s.valid_from < p.parted_at and (s.valid_to is null or s.valid_to >= p.parted_at) "
        "join decisions as d on d.node_id = s.node_id and coalesce(d.granted_at, d.refused_at) <= p.parted_at "
        "group by all) "
        "select c.node_id, h.purpose_code, max(h.parted_at) as copied_at from held as h "
        "join identity.candidate_customers as k on k.customer_id = h.side_id "
        "join components as c on c.node_id = k.anchor_node_id "
        "left join components as own on own.node_id = h.node_id "
        # A refusal under an identifier of one's own needs no copy.
        "where own.component is distinct from c.component and h.refused_at > h.joined_at "
        "and (h.granted_at is null or h.granted_at <= h.refused_at) group by all"
    )
    con.execute("drop table partings")
    return int(con.execute("select count(*) from copied").fetchall()[0][0])
