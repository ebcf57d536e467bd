"""What a proposed identity map would change: merges, splits, who moves, what would be refused.

Belongs here: comparing a candidate with what is published, before anybody publishes it. Does not belong here: what
follows for segments and revenue (`segmentation/segments/identity_impact.py`), or making the candidate on a copy of the
warehouse (the command line).
"""

from dataclasses import dataclass
from datetime import datetime

from segmentation.identity.acknowledgements import FINDINGS
from segmentation.identity.operator_rules import Rule
from segmentation.warehouse import Connection

#: Events that are listed one by one; all are counted.
MAX_EVENTS = 50

_EVENTS = ("merge", "unmerge", "split", "move", "create", "retire")


@dataclass(frozen=True, slots=True)
class PlannedEvent:
    """What would happen to one customer id, and the rule that it follows from."""

    event: str
    customer_id: str
    other_customer_id: str | None
    n_nodes: int
    cause_rule: str | None


@dataclass(frozen=True, slots=True)
class Refused:
    """How many identifiers and edges a rule refuses now, and how many it would."""

    rule: str
    identifiers_before: int
    identifiers_after: int
    edges_before: int
    edges_after: int


@dataclass(frozen=True, slots=True)
class Held:
    """A truth of the gate that would hold the run back, with its figure and the one that is allowed."""

    truth: str
    value: float
    allowed: float


@dataclass(frozen=True, slots=True)
class IdentityPlan:
    """What publishing a candidate would change.

    Attributes:
        as_of: The moment that is published.
        rules: Decisions of commands that no publication knows of yet, or the end of one.
        counts: How often each kind of event would happen.
        customers_before: Active customers published.
        customers_after: Active customers in the candidate.
        customers_moved: Customers, of before or after, that would gain or lose identifiers.
        identifiers_moved: Identifiers that would get another customer, or get or lose one.
        events: The first of them, by kind.
        refused: Rules that would refuse more or less than now.
        held: What the gate would hold back.
    """

    as_of: datetime
    rules: tuple[Rule, ...]
    counts: dict[str, int]
    customers_before: int
    customers_after: int
    customers_moved: int
    identifiers_moved: int
    events: tuple[PlannedEvent, ...]
    refused: tuple[Refused, ...]
    held: tuple[Held, ...]


def measure_plan(con: Connection, as_of: datetime, rules: tuple[Rule, ...]) -> IdentityPlan:
    """Compare the candidate tables with the published ones.

    Writes temporary table ``plan_moved(node_id, old_customer_id, new_customer_id)``, which later stages' impact reads.

    Args:
        con: A connection to both.
        as_of: The moment of both.
        rules: What the plan is about, for the report.
    """
    con.execute(
        "create or replace temp table plan_moved as select node_id, o.customer_id as old_customer_id, "
        "n.customer_id as new_customer_id from identity.identifier_map as o "
        "full join identity.candidate_identifier_map as n using (node_id) "
        "where o.customer_id is distinct from n.customer_id"
    )
    counted = dict(con.execute("select event, count(*) from identity.candidate_events group by event").fetchall())
    order = " ".join(f"when '{event}' then {rank}" for rank, event in enumerate(_EVENTS))
    events = con.execute(
        "select event, customer_id, other_customer_id, n_nodes, cause_rule from identity.candidate_events "
        f"order by case event {order} end, cause_rule is null, n_nodes desc, customer_id limit {MAX_EVENTS}"
    ).fetchall()
    [(identifiers, customers)] = con.execute(
        "select count(*), (select count(distinct customer_id) from (select old_customer_id as customer_id "
        "from plan_moved union all select new_customer_id from plan_moved)) from plan_moved"
    ).fetchall()
    active = [
        int(con.execute(f"select count(*) from identity.{table} where status = 'active'").fetchall()[0][0])
        for table in ("customers", "candidate_customers")
    ]
    return IdentityPlan(
        as_of,
        rules,
        {event: int(counted.get(event, 0)) for event in _EVENTS},
        active[0],
        active[1],
        int(customers),
        int(identifiers),
        tuple(PlannedEvent(*row) for row in events),
        _compare_refused(con),
        find_held(con),
    )


def find_held(con: Connection) -> tuple[Held, ...]:
    """Return what the gate would hold the newest candidate back for, of what can be acknowledged."""
    found = []
    for truth, finding in FINDINGS.items():
        value, allowed = con.execute(f"select {finding.value}, {finding.allowed} from identity.candidate").fetchall()[0]
        if allowed is not None and value > allowed:
            found.append(Held(truth, float(value), float(allowed)))
    return tuple(found)


def _compare_refused(con: Connection) -> tuple[Refused, ...]:
    rows = con.execute(
        "select rule, count(*) filter (place = 'i' and not is_new), count(*) filter (place = 'i' and is_new), "
        "count(*) filter (place = 'e' and not is_new), count(*) filter (place = 'e' and is_new) from ("
        "select status_rule as rule, 'i' as place, false as is_new from identity.identifiers "
        "where status_rule is not null "
        "union all select status_rule, 'i', true from identity.candidate_identifiers where status_rule is not null "
        "union all select reject_rule, 'e', false from identity.edges where not admitted "
        "union all select reject_rule, 'e', true from identity.candidate_edges where not admitted) "
        "group by rule order by rule"
    ).fetchall()
    return tuple(Refused(*row) for row in rows if row[1] != row[2] or row[3] != row[4])
