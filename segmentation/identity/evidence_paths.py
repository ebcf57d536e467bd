"""Why two identifiers are one customer, or why not: the shortest path of evidence between them.

Belongs here: paths over published edges. Does not belong here: everything about one customer (`dossier.py`), or what a
change would do (`identity_plan.py`). Values are shown: whoever may open the readers' copy asked for them.

Within a customer: Dijkstra's algorithm over its admitted edges, by (steps, sum of tiers); a customer is small. Between
customers: breadth-first search from both sides over refused edges, in the engine, where a whole customer is one step.
"""

import heapq
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise

from segmentation.errors import NotFoundError
from segmentation.identity.operator_rules import Rule, read_rules
from segmentation.identity.rule_words import explain_refusal
from segmentation.warehouse import Connection, literal

#: Refused edges on the longest path that is looked for, over both sides.
MAX_CROSSINGS = 4
#: A side that has grown beyond this many customers is not followed further.
_MAX_SIDE = 1_000_000

_TOO_MANY = re.compile(r"R4 more than \d+ (?P<id_type>\w+?)( of (?P<namespace>.*))?")


@dataclass(frozen=True, slots=True)
class Place:
    """An identifier on a path.

    Attributes:
        node_id: Its node.
        id_type: Its type.
        id_namespace: Source that gave it, for types whose values mean something in one source alone.
        id_value: Normal form.
        status: ``active``, ``blocked``, ``shared`` or ``erased``.
        status_reason: Why it links nobody, in words; ``None`` where it does.
        customer_id: Whose it is; ``None`` for nobody's.
    """

    node_id: int
    id_type: str
    id_namespace: str
    id_value: str
    status: str
    status_reason: str | None
    customer_id: str | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """One edge: who saw two identifiers together, how often, from when to when; and why it was refused, if it was.

    A match by probability names its model instead, and has a probability.
    """

    source: str
    evidence: str
    tier: int
    n_obs: int
    first_seen_at: datetime
    last_seen_at: datetime
    admitted: bool
    reject_rule: str | None
    match_probability: float | None = None
    reason: str | None = None

    @property
    def match_weight(self) -> float | None:
        """Bits of evidence of a match: the base-2 logarithm of its odds, 52 at most."""
        if self.match_probability is None:
            return None
        return math.log2(self.match_probability / max(1 - self.match_probability, 2**-52))


@dataclass(frozen=True, slots=True)
class Step:
    """From one identifier to the next, with the evidence, the strongest first."""

    start: Place
    end: Place
    evidence: tuple[Evidence, ...]

    @property
    def is_admitted(self) -> bool:
        """Whether the two are one customer's by this evidence."""
        return any(one.admitted for one in self.evidence)


@dataclass(frozen=True, slots=True)
class Answer:
    """Why two identifiers are one customer, or why not.

    Attributes:
        start: The one.
        end: The other.
        is_one_customer: Whether both belong to one customer.
        steps: The shortest path between them; within a customer all admitted, otherwise with as few refused steps as
            there can be. Empty where nothing connects them.
        separations: Rules of people that keep their customers apart, in words.
    """

    start: Place
    end: Place
    is_one_customer: bool
    steps: tuple[Step, ...]
    separations: tuple[str, ...]


def explain_pair(con: Connection, node_a: int, node_b: int) -> Answer:
    """Say why two identifiers are one customer, or why not.

    Args:
        con: A connection to published identity; temporary tables are made in it.
        node_a: One node.
        node_b: The other.

    Raises:
        NotFoundError: One of them is not published.
    """
    people = {rule.rule_id: rule for rule in read_rules(con)}
    ends = read_places(con, [node_a, node_b], people)
    for node in (node_a, node_b):
        if node not in ends:
            raise NotFoundError(f"node:{node} is not published", where="identity.identifiers", repair="strata run")
    start, end = ends[node_a], ends[node_b]
    together = start.customer_id is not None and start.customer_id == end.customer_id
    if together or node_a == node_b:
        nodes = _path_within(con, str(start.customer_id), node_a, node_b) if node_a != node_b else [node_a]
    else:
        nodes = _path_between(con, start, end)
    steps = _steps(con, nodes, people)
    return Answer(start, end, together, steps, () if together else _separations(con, start, end, people.values()))


def read_places(con: Connection, nodes: Iterable[int], people: Mapping[str, Rule]) -> dict[int, Place]:
    """Return published identifiers by node id."""
    named = ", ".join(map(str, sorted(set(nodes))))
    if not named:
        return {}
    rows = con.execute(
        "select i.node_id, i.id_type, i.id_namespace, i.id_value, i.status, i.status_rule, m.customer_id "
        "from identity.identifiers as i left join identity.identifier_map as m using (node_id) "
        f"where i.node_id in ({named})"
    ).fetchall()
    return {
        node: Place(node, id_type, namespace, value, status, explain_refusal(rule, people) if rule else None, customer)
        for node, id_type, namespace, value, status, rule, customer in rows
    }


def _path_within(con: Connection, customer_id: str, start: int, end: int) -> list[int]:
    rows = con.execute(
        "select e.node_a, e.node_b, min(e.tier) from identity.edges as e "
        "join identity.identifier_map as a on a.node_id = e.node_a "
        "where e.admitted and a.customer_id = ? group by e.node_a, e.node_b",
        [customer_id],
    ).fetchall()
    neighbours: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for a, b, tier in rows:
        neighbours[a].append((b, tier))
        neighbours[b].append((a, tier))
    best: dict[int, tuple[int, int, int]] = {}
    queue = [(0, 0, start, start)]
    while queue:
        steps, tiers, node, came_from = heapq.heappop(queue)
        if node in best:
            continue
        best[node] = (steps, tiers, came_from)
        for neighbour, tier in neighbours[node]:
            if neighbour not in best:
                heapq.heappush(queue, (steps + 1, tiers + tier, neighbour, node))
    path = [end]
    while path[-1] != start:
        path.append(best[path[-1]][2])
    return path[::-1]


def _path_between(con: Connection, start: Place, end: Place) -> list[int]:
    """Return the nodes of a path with as few refused edges as possible, empty where none was found."""
    sides = ("path_side_a", "path_side_b")
    for side, place in zip(sides, (start, end), strict=True):
        con.execute(
            f"create or replace temp table {side} as select {literal(_territory(place))} as territory, 0 as level, "
            "null::varchar as parent, null::bigint as inside, null::bigint as outside"
        )
    meeting = None
    for crossing in range(MAX_CROSSINGS):
        _grow(con, sides[crossing % 2], crossing // 2)
        rows = con.execute(
            f"select territory from {sides[0]} join {sides[1]} as b using (territory) "
            f"order by {sides[0]}.level + b.level, territory limit 1"
        ).fetchall()
        if rows:
            meeting = str(rows[0][0])
            break
    crossings = _crossings(con, sides, meeting) if meeting else []
    for side in sides:
        con.execute(f"drop table {side}")
    if not crossings:
        return []
    path = [start.node_id]
    for leave, arrive in crossings:
        path += _walk_to(con, path[-1], leave)
        path.append(arrive)
    return path + _walk_to(con, path[-1], end.node_id)


def _territory(place: Place) -> str:
    return place.customer_id or f"node:{place.node_id}"


def _grow(con: Connection, side: str, level: int) -> None:
    """Add to a side what one refused edge leads to from its outermost customers; of several edges the strongest."""
    con.execute(
        f"insert into {side} with frontier as ("
        f"select m.node_id, s.territory from {side} as s join identity.identifier_map as m "
        f"on m.customer_id = s.territory where s.level = {level} union all "
        f"select cast(substr(territory, 6) as bigint), territory from {side} "
        f"where level = {level} and starts_with(territory, 'node:')), "
        "crossing as (select node_a as inside, node_b as outside, tier, first_seen_at from identity.edges "
        "where not admitted and node_a in (select node_id from frontier) union all "
        "select node_b, node_a, tier, first_seen_at from identity.edges "
        "where not admitted and node_b in (select node_id from frontier)), "
        "reached as (select coalesce(m.customer_id, 'node:' || c.outside) as territory, f.territory as parent, "
        "c.inside, c.outside, c.tier, c.first_seen_at from crossing as c join frontier as f on f.node_id = c.inside "
        "left join identity.identifier_map as m on m.node_id = c.outside) "
        f"select territory, {level + 1}, parent, inside, outside from reached "
        f"where territory not in (select territory from {side}) and (select count(*) from {side}) < {_MAX_SIDE} "
        "qualify row_number() over (partition by territory order by tier, first_seen_at, inside, outside) = 1"
    )


def _crossings(con: Connection, sides: Sequence[str], meeting: str) -> list[tuple[int, int]]:
    """Return the refused edges from the start to the end, each as (from, to)."""
    halves: list[list[tuple[int, int]]] = []
    for side in sides:
        half, territory = [], meeting
        while True:
            [(level, parent, inside, outside)] = con.execute(
                f"select level, parent, inside, outside from {side} where territory = ?", [territory]
            ).fetchall()
            if level == 0:
                break
            half.append((int(inside), int(outside)))
            territory = str(parent)
        halves.append(half)
    return halves[0][::-1] + [(outside, inside) for inside, outside in halves[1]]


def _walk_to(con: Connection, start: int, end: int) -> list[int]:
    """Return the nodes after ``start`` up to ``end`` within one customer."""
    if start == end:
        return []
    [(customer_id,)] = con.execute(
        "select customer_id from identity.identifier_map where node_id = ?", [start]
    ).fetchall()
    return _path_within(con, str(customer_id), start, end)[1:]


def _steps(con: Connection, nodes: Sequence[int], people: Mapping[str, Rule]) -> tuple[Step, ...]:
    pairs = list(pairwise(nodes))
    if not pairs:
        return ()
    places = read_places(con, nodes, people)
    wanted = ", ".join(f"({min(pair)}, {max(pair)})" for pair in pairs)
    rows = con.execute(
        "select node_a, node_b, source, evidence, tier, n_obs, first_seen_at, last_seen_at, admitted, reject_rule, "
        f"match_probability from identity.edges where (node_a, node_b) in ({wanted}) "
        "order by admitted desc, tier, first_seen_at, source, evidence"
    ).fetchall()
    found: dict[tuple[int, int], list[Evidence]] = defaultdict(list)
    for a, b, *facts in rows:
        found[a, b].append(Evidence(*facts))
    steps = []
    for a, b in pairs:
        evidence = [
            replace(one, reason=_reason(con, one.reject_rule, places[a], places[b], people)) if one.reject_rule else one
            for one in found[min(a, b), max(a, b)]
        ]
        steps.append(Step(places[a], places[b], tuple(evidence)))
    return tuple(steps)


def _reason(con: Connection, rule: str, start: Place, end: Place, people: Mapping[str, Rule]) -> str:
    reason = explain_refusal(rule, people)
    match = _TOO_MANY.fullmatch(rule)
    if match is None or match["id_type"] == "identifiers":
        return reason
    values = [_values_held(con, place, match["id_type"], match["namespace"]) for place in (start, end)]
    told = " and ".join(", ".join(side) for side in values if side)
    return f"{reason}: {told}" if told else reason


def _values_held(con: Connection, place: Place, id_type: str, namespace: str | None) -> list[str]:
    """Return a few values of a type that a customer holds."""
    rows = con.execute(
        "select id_value from identity.identifiers join identity.identifier_map using (node_id) "
        "where customer_id = ? and id_type = ? and (? is null or id_namespace = ?) order by id_value limit 3",
        [place.customer_id, id_type, namespace, namespace],
    ).fetchall()
    return [str(value) for (value,) in rows]


def _separations(con: Connection, start: Place, end: Place, rules: Iterable[Rule]) -> tuple[str, ...]:
    """Return the rules of people between the customers of two identifiers, in words."""
    # Readers have the publications, not the candidates that they were.
    [(now,)] = con.execute("select max(as_of) from identity.publications").fetchall()
    bars = [rule for rule in rules if rule.kind == "must_not_link" and now is not None and rule.holds_at(now)]
    named = {node for rule in bars for node in (*rule.nodes, *rule.other_nodes)} | {start.node_id, end.node_id}
    rows = con.execute(
        "select node_id, customer_id from identity.identifier_map "
        f"where node_id in ({', '.join(map(str, sorted(named)))})"
    ).fetchall()
    owner = dict(rows)
    sides = [owner.get(place.node_id, place.node_id) for place in (start, end)]

    def is_between(rule: Rule) -> bool:
        ends = [{owner.get(node, node) for node in nodes} for nodes in (rule.nodes, rule.other_nodes)]
        return (sides[0] in ends[0] and sides[1] in ends[1]) or (sides[1] in ends[0] and sides[0] in ends[1])

    return tuple(f"{rule.rule_id} of {rule.author}: {rule.reason}" for rule in bars if is_between(rule))
