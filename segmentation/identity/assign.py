"""Which customer each component is: ids persist by anchor.

Belongs here: the rules by which a component of this run takes over, shares or revives the id of a customer
of the last published run, and the events that follow. Does not belong here: how components came about
(`admission.py`), or publishing (`publish.py`).

The anchor of a customer is its member with the lowest (priority, first seen, node id). An id goes where
its anchor goes; a known customer's id survives an anonymous one's, an older one's a newer one's; ids that
gave way stay reserved and come back when their anchor stands apart again.
"""

from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.customer_ids import customer_id_expression
from segmentation.run import Run
from segmentation.sources.entities import IDENTITY_COLUMNS
from segmentation.warehouse import Connection, has_rows, literal

# Moments from the year -290000 to 290000 fit, and 2**40 identifiers.
_MOMENT_OFFSET = 1 << 63
_PRIORITY_UNIT = 1 << 64
_NODE_UNIT = 1 << 40


def rank_expression(priority: str, moment: str, node_id: str = "node_id") -> str:
    """Return the SQL for one integer that sorts like (priority, moment, node id).

    The minimum of integers is the cheapest aggregate there is; `node_of_rank` and `priority_of_rank` take it apart.

    Args:
        priority: Expression of a small number that is not negative, or of a truth.
        moment: Expression of microseconds since 1970.
        node_id: Expression of the node id.
    """
    return f"((({priority})::hugeint * {_PRIORITY_UNIT} + ({moment}) + {_MOMENT_OFFSET}) * {_NODE_UNIT} + {node_id})"


def node_of_rank(rank: str) -> str:
    """Return the SQL for the node id in a rank."""
    # Shifting and masking integers this wide costs a fiftieth of dividing them.
    return f"({rank} & {_NODE_UNIT - 1})::bigint"


def priority_of_rank(rank: str) -> str:
    """Return the SQL for the priority in a rank."""
    return f"({rank} >> {(_NODE_UNIT * _PRIORITY_UNIT).bit_length() - 1})::integer"


def assign(con: Connection, run: Run, rules: IdentifierRules) -> None:
    """Write ``identity.candidate_customers``, ``…_identifier_map`` and ``…_events``.

    Reads temporary tables ``components`` and ``nodes``, and of what is published the part that these components can
    concern: temporary views ``known_customers`` and ``known_members``; the candidate tables exist. The same state and
    components give the same customers and no event. Leaves the temporary tables ``resolution`` (the customer of each
    component) and ``component_best`` (its best identifier and first sighting).
    """
    _write_best_nodes(con, rules)
    _write_heirs(con)
    _write_resolution(con)
    _write_map(con, run)
    _write_moves(con)
    _write_customers(con, run)
    _write_events(con, run)
    for table in ("heirs", "moves"):
        con.execute(f"drop table {table}")


def _write_best_nodes(con: Connection, rules: IdentifierRules) -> None:
    priorities = " ".join(f"when {literal(n)} then {rules.identifiers[n].priority}" for n in IDENTITY_COLUMNS)
    con.execute(
        "create or replace temp table component_best as select component, "
        f"min({rank_expression(f'case n.id_type {priorities} end', 'epoch_us(n.first_seen_at)')}) as best_key, "
        "count(*) as n_nodes, min(n.first_seen_at) as first_seen_at "
        "from components join nodes as n using (node_id) group by component"
    )


def _write_heirs(con: Connection) -> None:
    """Rule 1: each known customer stands where its anchor is; an active one that lost it, where most of it is.

    Here and below customers are joined by their numbers, of which their ids are the spelling: texts cost more.
    """
    con.execute(
        "create or replace temp table heirs as with anchored as ("
        "select k.customer_seq, c.component from known_customers as k "
        "join components as c on c.node_id = k.anchor_node_id where k.status <> 'erased'), "
        "lost as (select customer_id, customer_seq from known_customers where status = 'active' "
        "and customer_seq not in (select customer_seq from anchored)), "
        "votes as (select l.customer_seq, c.component, count(*) as n, min(c.node_id) as lowest "
        "from known_members as m join lost as l using (customer_id) join components as c using (node_id) "
        "group by all), "
        "placed as (select customer_seq, component, true as is_anchored from anchored union all "
        "select customer_seq, component, false from votes "
        "qualify row_number() over (partition by customer_seq order by n desc, lowest) = 1) "
        "select p.component, p.is_anchored, k.customer_id, k.customer_seq, k.status, k.anchor_node_id, "
        "k.anchor_priority, k.created_at, "
        # Rule 2: active before merged before retired, then the better anchor, then the older id.
        "(case k.status when 'active' then 0 when 'merged' then 1 else 2 end)::bigint * (1::bigint << 58) "
        "+ k.anchor_priority::bigint * (1::bigint << 52) + k.customer_seq as rank_key "
        "from placed as p join known_customers as k using (customer_seq)"
    )


def _write_resolution(con: Connection) -> None:
    """Rules 2, 4 and 5: one id per component; new ids follow in the order of their best identifiers."""
    con.execute(
        "create or replace temp table resolution as with "
        "winners as (select component, min(rank_key) & ((1::bigint << 52) - 1) as customer_seq "
        "from heirs group by component), "
        "fresh as (select component, (select coalesce(max(customer_seq), -1) from identity.customers) "
        "+ row_number() over (order by best_key) as customer_seq "
        "from component_best anti join winners using (component)) "
        "select component, customer_seq, "
        f"{customer_id_expression('customer_seq')} as customer_id, is_new "
        "from (select component, customer_seq, false as is_new from winners "
        "union all select component, customer_seq, true from fresh)"
    )


def _write_map(con: Connection, run: Run) -> None:
    con.execute(
        "insert into identity.candidate_identifier_map by name select c.node_id, r.customer_id, "
        "$run_id as run_id, $recorded_at as recorded_at from components as c join resolution as r using (component)",
        {"run_id": run.run_id, "recorded_at": run.recorded_at},
    )


def _write_moves(con: Connection) -> None:
    con.execute(
        "create or replace temp table moves as select o.customer_id as old_customer_id, "
        "n.customer_id as new_customer_id, count(*) as n_nodes from known_members as o "
        "join identity.candidate_identifier_map as n using (node_id) where o.customer_id <> n.customer_id group by all"
    )


def _write_customers(con: Connection, run: Run) -> None:
    stamps = {"run_id": run.run_id, "recorded_at": run.recorded_at}
    best_priority = priority_of_rank("b.best_key")
    # Rule 7: an anchor gives way only to a strictly better kind of identifier, or when it is lost.
    keeps = f"(k.is_anchored and k.anchor_priority <= {best_priority})"
    con.execute(
        "insert into identity.candidate_customers by name select r.customer_id, r.customer_seq, "
        f"case when {keeps} then k.anchor_node_id else {node_of_rank('b.best_key')} end as anchor_node_id, "
        f"case when {keeps} then k.anchor_priority else {best_priority} end as anchor_priority, "
        "'active' as status, null as merged_into, 'deterministic' as match_basis, b.n_nodes, "
        "coalesce(k.created_at, $as_of) as created_at, b.first_seen_at, $run_id as run_id, "
        "$recorded_at as recorded_at from resolution as r join component_best as b using (component) "
        "left join heirs as k on k.customer_seq = r.customer_seq",
        {**stamps, "as_of": run.as_of},
    )
    # Rules 3 and 6: whoever is not a survivor was merged, is retired, or stays as it was.
    con.execute(
        "insert into identity.candidate_customers by name select k.customer_id, k.customer_seq, k.anchor_node_id, "
        "k.anchor_priority, case when r.customer_id is not null then 'merged' when k.status = 'active' "
        "then 'retired' else k.status end as status, coalesce(r.customer_id, k.merged_into) as merged_into, "
        "k.match_basis, 0 as n_nodes, k.created_at, k.first_seen_at, $run_id as run_id, $recorded_at as recorded_at "
        "from known_customers as k left join heirs as h on h.customer_seq = k.customer_seq "
        "left join resolution as r on r.component = h.component "
        "where k.customer_seq not in (select customer_seq from resolution)",
        stamps,
    )


def write_aliases(con: Connection, run: Run) -> None:
    """Write ``identity.candidate_customer_aliases`` from all candidate customers.

    Rule 8: pointers are followed to their end, so that a reader follows one; some end at nobody active.
    """
    if not has_rows(con, "identity.candidate_customers where status = 'merged'"):
        return
    con.execute(
        "insert into identity.candidate_customer_aliases by name with recursive walk as ("
        "select customer_id as old_customer_id, merged_into as customer_id from identity.candidate_customers "
        "where status = 'merged' union all "
        "select w.old_customer_id, k.merged_into from walk as w join identity.candidate_customers as k "
        "on k.customer_id = w.customer_id where k.status = 'merged') "
        "select w.old_customer_id, w.customer_id, $run_id as run_id, $recorded_at as recorded_at from walk as w "
        "join identity.candidate_customers as k on k.customer_id = w.customer_id where k.status = 'active'",
        {"run_id": run.run_id, "recorded_at": run.recorded_at},
    )


def _write_events(con: Connection, run: Run) -> None:
    """Derive what happened by comparing each id's status with the one published last."""
    con.execute(
        "insert into identity.candidate_events by name with "
        "gains as (select new_customer_id as customer_id, old_customer_id, n_nodes from moves "
        "qualify row_number() over (partition by new_customer_id order by n_nodes desc, old_customer_id) = 1), "
        "compared as (select n.customer_id, n.status, n.merged_into, n.n_nodes, o.status as old_status, "
        "o.merged_into as old_merged_into, o.n_nodes as old_n_nodes, g.old_customer_id as taken_from "
        "from identity.candidate_customers as n left join known_customers as o on o.customer_seq = n.customer_seq "
        "left join gains as g on g.customer_id = n.customer_id), "
        "changed as ("
        "select case when taken_from is null then 'create' else 'split' end as event, customer_id, "
        "taken_from as other_customer_id, n_nodes, null as cause_rule from compared where old_status is null "
        "union all select 'unmerge', customer_id, old_merged_into, n_nodes, null from compared "
        "where status = 'active' and old_status = 'merged' "
        "union all select 'create', customer_id, taken_from, n_nodes, 'anchor seen again' from compared "
        "where status = 'active' and old_status = 'retired' "
        "union all select 'merge', customer_id, merged_into, old_n_nodes, null from compared "
        "where status = 'merged' and old_status <> 'merged' "
        "union all select 'retire', customer_id, null, old_n_nodes, null from compared "
        "where status = 'retired' and old_status = 'active'), "
        "moved as (select 'move', m.new_customer_id, m.old_customer_id, m.n_nodes, null from moves as m "
        "anti join changed as c on c.customer_id = m.new_customer_id and c.other_customer_id = m.old_customer_id "
        "anti join (select * from changed where event = 'merge') as g "
        "on g.customer_id = m.old_customer_id and g.other_customer_id = m.new_customer_id), "
        "everything as (select * from changed union all select * from moved) "
        "select (select coalesce(max(seq), 0) from identity.events) "
        "+ row_number() over (order by customer_id, event, other_customer_id) as seq, event, customer_id, "
        "other_customer_id, n_nodes, cause_rule, $as_of as effective_at, $run_id as run_id, "
        "$recorded_at as recorded_at from everything",
        {"run_id": run.run_id, "recorded_at": run.recorded_at, "as_of": run.as_of},
    )
