"""Constrained admission (rule R4): no customer holds more than one customer can.

Belongs here: finding components that break a limit and admitting their edges one by one, strongest
evidence first. Does not belong here: the partition that refuses (`partition.py`), judging identifiers on their own
(`guards.py`), or customer ids (`assign.py`).

Nodes are numbered 0, 1, 2, … for the while: what is counted per component is then counted in arrays, at a tenth of
what grouping and joining rows costs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.components import Integers, fetch_integers, label_components
from segmentation.identity.contraction import label_in_engine
from segmentation.identity.partition import ConstrainedPartition, Limits
from segmentation.identity.separations import Separations
from segmentation.warehouse import Connection, literal

#: Tier of matches, below all that sources say, and what the evidence of those ends with that people labelled.
MATCH_TIER, LABELLED = 4, "labelled"

#: Who finds the components: scipy in this process, or the engine by SQL alone.
Solver = Literal["embedded", "contraction"]


@dataclass(frozen=True, slots=True)
class Nodes:
    """The identifiers that may link, numbered by their place here.

    Attributes:
        node_ids: Node id by number.
        class_codes: Class of identifiers (a type, or a type within a source) by number.
        numbers: Number by node id, -1 for ids that may not link.
    """

    node_ids: Integers
    class_codes: Integers
    numbers: Integers


def admit(con: Connection, rules: IdentifierRules, solver: Solver = "embedded") -> dict[str, int]:
    """Decide every edge of ``links`` and write temporary table ``components(node_id, component)``.

    Components that break no limit and hold nothing that people keep apart keep all their edges. In the others
    edges are walked in the order (tier, how often seen in doublings, first seen, node ids), and one that would break a
    limit or a separation is rejected; the order makes the result independent of how rows arrived. Matches come last,
    those that people labelled first, the others by their probability. Sets ``reject_rule`` in ``links``.

    What people decided (``operator_bars``) keeps apart from the first edge on. What they said of likeness
    (``match_bars``) says nothing against evidence of sources, so it holds from the first match on: between two whom
    evidence has joined by then it is void, all others no chain of matches joins.

    Args:
        con: The warehouse, with temporary tables ``links``, ``nodes``, ``excluded``, ``owner_pairs``,
            ``operator_bars`` and ``match_bars``.
        rules: Give the limits.
        solver: Who finds the components; the result is the same.

    Returns:
        How many edges were tried one by one.
    """
    limits = _write_classes(con, rules)
    nodes = _read_nodes(con)
    labels = _find_components(con, nodes, solver)
    owners = _find_owners(con)
    contested = _find_contested(con, nodes, labels, limits, owners)[labels]
    tried = _readmit(con, limits, nodes, labels, contested, owners)
    con.register("labelled", pa.table({"node_id": nodes.node_ids, "component": labels}))
    con.execute("create or replace temp table components as select * from labelled")
    con.unregister("labelled")
    return {"edges_tried_singly": tried}


def _write_classes(con: Connection, rules: IdentifierRules) -> Limits:
    """Write ``classes(id_type, id_namespace, class_code)`` and return the limits by class."""
    con.execute(
        "create or replace temp table classes as select id_type, id_namespace, "
        "row_number() over (order by id_type, id_namespace) as class_code from "
        "(select distinct id_type, id_namespace from nodes)"
    )
    rows = con.execute("select class_code, id_type, id_namespace from classes order by class_code").fetchall()
    limit = {code: rules.identifiers[id_type].max_per_customer for code, id_type, _ in rows}
    names = {
        code: f"R4 more than {limit[code]} {id_type}" + (f" of {namespace}" if namespace else "")
        for code, id_type, namespace in rows
    }
    return Limits(rules.max_nodes, limit, names)


def _read_nodes(con: Connection) -> Nodes:
    found = fetch_integers(
        con,
        "select n.node_id, k.class_code from nodes as n join classes as k using (id_type, id_namespace) "
        "where n.node_id not in (select node_id from excluded)",
    )
    node_ids = found["node_id"]
    highest = int(str(con.execute("select coalesce(max(node_id), -1) from nodes").fetchall()[0][0]))
    numbers = np.full(highest + 1, -1, dtype=np.int64)
    numbers[node_ids] = np.arange(len(node_ids))
    return Nodes(node_ids, found["class_code"], numbers)


def _find_components(con: Connection, nodes: Nodes, solver: Solver) -> Integers:
    """Return the component of each node by its number; labels are below the number of nodes."""
    linkable = "select node_a, node_b from links where reject_rule is null"
    if solver == "embedded":
        pairs = fetch_integers(con, linkable)
        return label_components(len(nodes.node_ids), nodes.numbers[pairs["node_a"]], nodes.numbers[pairs["node_b"]])
    con.execute(f"create or replace temp table linkable as {linkable}")
    label_in_engine(con, "linkable", "contracted")
    found = fetch_integers(con, "select node, label from contracted")
    con.execute("drop table linkable; drop table contracted")
    labels = np.arange(len(nodes.node_ids), dtype=np.int64)
    labels[nodes.numbers[found["node"]]] = nodes.numbers[found["label"]]
    return labels


def _find_owners(con: Connection) -> dict[int, int]:
    """Return the owner of each account that shares one with another: transitively, the lowest node id of them."""
    pairs = fetch_integers(con, "select node_a, node_b from owner_pairs")
    ids, codes = np.unique(np.concatenate([pairs["node_a"], pairs["node_b"]]), return_inverse=True)
    half = len(pairs["node_a"])
    labels = label_components(len(ids), codes[:half], codes[half:])
    lowest = np.full(int(labels.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(lowest, labels, ids)
    return dict(zip(ids.tolist(), lowest[labels].tolist(), strict=True))


def _find_contested(
    con: Connection, nodes: Nodes, labels: Integers, limits: Limits, owners: dict[int, int]
) -> NDArray[np.bool_]:
    """Return by label whether a component holds more than a customer can, or what people keep apart."""
    contested = np.bincount(labels, minlength=len(labels)) > limits.max_nodes
    for code, limit in limits.by_class.items():
        members = np.flatnonzero(nodes.class_codes == code)
        crowded = np.bincount(labels[members], minlength=len(labels)) > limit
        members = members[crowded[labels[members]]]
        # Accounts of one owner count once; looked at only where there are too many accounts at all.
        ids = nodes.node_ids[members]
        held = np.array([owners.get(node, node) for node in ids.tolist()], dtype=np.int64)
        distinct = np.unique(np.stack([labels[members], held]), axis=1)[0]
        components, counts = np.unique(distinct, return_counts=True)
        contested[components[counts > limit]] = True
    bars = fetch_integers(
        con, "select node_a, node_b from operator_bars union all select node_a, node_b from match_bars"
    )
    known = _known(nodes, bars["node_a"]) & _known(nodes, bars["node_b"])
    a, b = (labels[nodes.numbers[bars[name][known]]] for name in ("node_a", "node_b"))
    contested[a[a == b]] = True
    return contested


def _known(nodes: Nodes, node_ids: Integers) -> NDArray[np.bool_]:
    """Say of node ids whether they are among the nodes."""
    inside = node_ids < len(nodes.numbers)
    return inside & (nodes.numbers[np.where(inside, node_ids, 0)] >= 0) if len(nodes.numbers) else inside


def _readmit(
    con: Connection,
    limits: Limits,
    nodes: Nodes,
    labels: Integers,
    contested: NDArray[np.bool_],
    owners: dict[int, int],
) -> int:
    """Walk the edges of the contested components and label their nodes anew; return how many edges there were."""
    numbers = np.flatnonzero(contested)
    if not len(numbers):
        return 0
    node_ids = nodes.node_ids[numbers]
    con.register("contested", pa.table({"node_id": node_ids}))
    edges = fetch_integers(
        con,
        "select node_a, node_b, min(tier) as tier from links where reject_rule is null "
        f"and node_a in (select node_id from contested) group by node_a, node_b order by min({_STRENGTH}), "
        f"-least({_MOST_DOUBLINGS}, floor(log2(max(n_obs)))), "
        # When the pair was first seen by its strongest evidence: a weaker row, such as a match, never moves a stronger.
        "min({'tier': tier, 'seen_at': first_seen_at}).seen_at, node_a, node_b",
    )
    con.unregister("contested")
    partition = ConstrainedPartition(limits, Separations(_bars(con, "operator_bars")))
    for node, node_class in zip(node_ids.tolist(), nodes.class_codes[numbers].tolist(), strict=True):
        partition.add(node, node_class, owners.get(node, node))
    a, b = edges["node_a"].tolist(), edges["node_b"].tolist()
    first_match = int(np.searchsorted(edges["tier"], MATCH_TIER))
    refused = _walk(partition, a[:first_match], b[:first_match])
    for bar in _bars(con, "match_bars"):
        partition.separate(*bar)
    refused += _walk(partition, a[first_match:], b[first_match:])
    roots = np.array([partition.find(node) for node in node_ids.tolist()], dtype=np.int64)
    # Labels of the other components are below the number of nodes.
    labels[numbers] = len(labels) + nodes.numbers[roots]
    rejected = [dict(zip(_REJECTED.names, one, strict=True)) for one in refused]
    con.register("rejected", pa.Table.from_pylist(rejected, schema=_REJECTED))
    con.execute(
        "update links set reject_rule = r.rule from rejected as r "
        "where r.node_a = links.node_a and r.node_b = links.node_b"
    )
    con.unregister("rejected")
    return len(edges["node_a"])


#: Evidence seen twice, four times, eight times goes before evidence seen less often. Beyond that more says no more, so
#: an edge gains rank three times at most, and who holds a device does not change with every visit.
_MOST_DOUBLINGS = 3

#: What goes first: the stronger tier; of matches what people said, then the likelier. Of a pair with several rows its
#: strongest counts. What `touched.find_touched` compares must hold all of it.
_STRENGTH = (
    "{'tier': tier, "
    f"'is_guess': tier = {MATCH_TIER} and not ends_with(evidence, {literal(LABELLED)}), "
    f"'doubt': case when tier = {MATCH_TIER} then 1 - coalesce(match_probability, 1) else 0 end" + "}"
)

_REJECTED = pa.schema([("node_a", pa.int64()), ("node_b", pa.int64()), ("rule", pa.string())])


def _bars(con: Connection, table: str) -> list[tuple[int, int, str]]:
    """Return the pairs of nodes that a table keeps apart, with the rule, in a fixed order."""
    return con.execute(f"select node_a, node_b, rule_id from {table} order by all").fetchall()


def _walk(partition: ConstrainedPartition, node_a: Sequence[int], node_b: Sequence[int]) -> list[tuple[int, int, str]]:
    """Unite along the edges in their order; return those that were refused, with the rule."""
    pairs = zip(node_a, node_b, strict=True)
    return [(a, b, rule) for a, b in pairs if (rule := partition.union(a, b))]
