"""Refusals that stay with whoever an identifier was parted from: each of them may be the one who refused.

Belongs here: finding the refusals that held for a customer when identifiers left it. Does not belong here: refusals
under the customer's own identifiers (`consents.py`).

An identifier leaves a customer by a split, an unmerge, a move to another customer, or because it is blocked or shared
and has no customer any more.
"""

from segmentation.identity.differences import find_arrivals
from segmentation.run import Run
from segmentation.warehouse import Connection, count, has_rows


def find_departures(con: Connection, run: Run) -> None:
    """Write which identifiers leave their customer in this run, and which ever left one and have none now.

    Writes temporary tables ``leaving(node_id, customer_id, next_customer_id, left_at)`` and ``departed(node_id)``.

    Args:
        con: The warehouse, with the candidate's map and temporary table ``components``.
        run: Its ``as_of`` is when spells end that the candidate does not continue.
    """
    arrivals, asked = find_arrivals(con)
    con.execute(
        "create or replace temp table leaving as select h.node_id, h.customer_id, "
        "m.customer_id as next_customer_id, greatest(h.valid_from, $as_of) as left_at "
        f"from identity.identifier_map_history as h left join {arrivals} as m using (node_id) "
        f"where h.valid_to is null and {asked} and m.customer_id is distinct from h.customer_id",
        {"as_of": run.as_of},
    )
    con.execute(
        "create or replace temp table departed as select distinct node_id from ("
        "select node_id from identity.identifier_map_history where valid_to is not null union all "
        "select node_id from leaving) anti join components using (node_id)"
    )


def copy_refusals(con: Connection) -> int:
    """Write temporary table ``copied(node_id, purpose_code, copied_at)`` from ``decisions`` and the spells of ids.

    A refusal that held for a customer when any identifier left it holds from that moment for everybody that an
    identifier of this customer is with now, whichever of them the refusing identifier went with: only who grants after
    that is allowed. Identifiers that go back to where they came from, such as after a merge that is undone, had
    decisions of their own before; only refusals since they came are copied between them and the others.

    The node is the anchor of the customer that it is copied to. Drops the tables of `find_departures`.

    Args:
        con: The warehouse, with the candidate's customers, and temporary tables ``decisions``, of identifiers in
            ``departed`` too, ``components``, ``resolution``, ``leaving`` and ``departed``.

    Returns:
        Customers and purposes with a copied refusal.
    """
    if not has_rows(con, "decisions where refused_at is not null"):
        con.execute(
            "create or replace temp table copied (node_id bigint, purpose_code integer, copied_at timestamp); "
            "drop table leaving; drop table departed"
        )
        return 0
    _write_spells(con)
    con.execute(
        "create or replace temp table copied as with "
        "partings as (select distinct customer_id, valid_to as parted_at from spells where valid_to is not null), "
        # Ends count as inside: runs of one moment open and close spells at it.
        "held as (select p.customer_id, p.parted_at, s.node_id, s.joined_at, d.purpose_code, "
        "max(d.refused_at) as refused_at from partings as p join spells as s on s.customer_id = p.customer_id "
        "and s.valid_from <= p.parted_at and (s.valid_to is null or s.valid_to >= p.parted_at) "
        "join decisions as d on d.node_id = s.node_id and coalesce(d.granted_at, d.refused_at) <= p.parted_at "
        "group by all having max(d.refused_at) is not null "
        "and coalesce(max(d.granted_at) <= max(d.refused_at), true)), "
        # Who came after the refusing identifier left was under the copy, so takes it along.
        "sides as (select s.customer_id, c.component, s.joined_at, coalesce(s.valid_to, timestamp 'infinity') as until "
        "from spells as s join components as c using (node_id) union "
        "select k.customer_id, c.component, timestamp '-infinity', timestamp 'infinity' "
        "from identity.candidate_customers as k semi join (select distinct customer_id from spells) as p "
        "using (customer_id) join components as c on c.node_id = k.anchor_node_id) "
        "select k.anchor_node_id as node_id, h.purpose_code, max(h.parted_at) as copied_at from held as h "
        "join sides as s on s.customer_id = h.customer_id and s.until >= h.parted_at "
        "and h.refused_at >= greatest(h.joined_at, s.joined_at) "
        "join resolution as r on r.component = s.component "
        "join identity.candidate_customers as k on k.customer_id = r.customer_id "
        "left join components as own on own.node_id = h.node_id "
        # A refusal under an identifier of one's own needs no copy.
        "where own.component is distinct from s.component group by all"
    )
    con.execute("drop table spells; drop table leaving; drop table departed")
    return count(con, "copied")


def _write_spells(con: Connection) -> None:
    """Write temporary table ``spells``: of customers that refused under some identifier and that some left.

    ``joined_at`` is when an identifier came that goes back to where it came from; the others have always been there.
    """
    con.execute(
        "create or replace temp table spells as with "
        "left_by as (select customer_id from identity.identifier_map_history where valid_to is not null union "
        "select customer_id from leaving), "
        "parents as (select distinct customer_id from identity.identifier_map_history semi join left_by "
        "using (customer_id) where node_id in (select node_id from decisions where refused_at is not null)), "
        "around as (select distinct node_id from identity.identifier_map_history semi join parents "
        "using (customer_id)), "
        "known as (select h.node_id, h.customer_id, h.valid_from, coalesce(h.valid_to, t.left_at) as valid_to, "
        "t.next_customer_id from identity.identifier_map_history as h semi join around using (node_id) "
        "left join leaving as t on t.node_id = h.node_id and h.valid_to is null), "
        "placed as (select *, lag(customer_id) over way as came_from, "
        "coalesce(lead(customer_id) over way, next_customer_id) as went_to from known "
        "window way as (partition by node_id order by valid_from, valid_to nulls last)) "
        "select node_id, customer_id, valid_from, valid_to, "
        "case when came_from = went_to and came_from <> customer_id then valid_from "
        "else timestamp '-infinity' end as joined_at from placed semi join parents using (customer_id)"
    )
