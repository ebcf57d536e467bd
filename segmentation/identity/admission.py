"""Constrained admission (rule R4): no customer holds more than one customer can.

Belongs here: finding components that break a limit and admitting their edges one by one, strongest
evidence first. Does not belong here: judging identifiers on their own (`guards.py`), or customer ids
(`assign.py`).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.components import Integers, fetch_integers, label_components
from segmentation.identity.separations import Separations
from segmentation.sources.entities import IDENTITY_COLUMNS
from segmentation.warehouse import Connection, literal


@dataclass(frozen=True, slots=True)
class Limits:
    """What one customer may hold.

    Attributes:
        max_nodes: Identifiers in all.
        by_class: Distinct owners per class of identifiers (a type, or a type within a source).
        rule_by_class: Readable name of each class's rule.
    """

    max_nodes: int
    by_class: dict[int, int]
    rule_by_class: dict[int, str]


@dataclass(slots=True)
class ConstrainedPartition:
    """Union-find that refuses a union whose result would break a limit, or that people forbade.

    A cluster keeps the set of owners per class; sets stay as small as the limits, and the smaller cluster
    is poured into the larger one.
    """

    limits: Limits
    separations: Separations = field(default_factory=Separations)
    parent: dict[int, int] = field(default_factory=dict)
    size: dict[int, int] = field(default_factory=dict)
    owners: dict[int, dict[int, set[int]]] = field(default_factory=dict)

    def add(self, node: int, node_class: int, owner: int) -> None:
        """Add a node of a class; nodes of one class with the same owner count once."""
        self.parent[node] = node
        self.size[node] = 1
        self.owners[node] = {node_class: {owner}}

    def find(self, node: int) -> int:
        """Return the root of a node's cluster."""
        root = node
        while self.parent[root] != root:
            root = self.parent[root]
        while self.parent[node] != root:
            self.parent[node], node = root, self.parent[node]
        return root

    def union(self, node_a: int, node_b: int) -> str | None:
        """Unite two nodes' clusters; return the rule that forbids it, ``None`` where they are now one."""
        root, other = self.find(node_a), self.find(node_b)
        if root == other:
            return None
        if (self.size[root], -root) < (self.size[other], -other):
            root, other = other, root
        if rule_id := self.separations.between(root, other):
            return f"R4 kept apart by {rule_id}"
        if self.size[root] + self.size[other] > self.limits.max_nodes:
            return f"R4 more than {self.limits.max_nodes} identifiers"
        mine = self.owners[root]
        for node_class, owners in self.owners[other].items():
            if len(mine.get(node_class, set()) | owners) > self.limits.by_class[node_class]:
                return self.limits.rule_by_class[node_class]
        for node_class, owners in self.owners.pop(other).items():
            mine.setdefault(node_class, set()).update(owners)
        self.separations.unite(root, other)
        self.parent[other] = root
        self.size[root] += self.size.pop(other)
        return None


def admit(con: Connection, rules: IdentifierRules) -> dict[str, int]:
    """Decide every edge of ``links`` and write temporary table ``components(node_id, component)``.

    Components that break no limit and hold nothing that people keep apart keep all their edges. In the others
    edges are walked in the order (tier, first seen, node ids), and one that would break a limit or a separation is
    rejected; the order makes the result independent of how rows arrived. Sets ``reject_rule`` in ``links``.

    Returns:
        Sizes for the gate: identifiers in the largest component before R3 and R4, and edges tried one by one.
    """
    node_count = int(con.execute("select coalesce(max(node_id), -1) + 1 from identity.registry").fetchall()[0][0])
    raw = fetch_integers(con, "select distinct node_a, node_b from links where is_raw")
    raw_labels = label_components(node_count, raw["node_a"], raw["node_b"])
    seen = fetch_integers(
        con, "select node_id from nodes where node_id not in (select node_id from excluded where status <> 'shared')"
    )["node_id"]
    raw_max = int(np.bincount(raw_labels[seen]).max()) if len(seen) else 0
    del raw, raw_labels
    pairs = fetch_integers(con, "select distinct node_a, node_b from links where reject_rule is null")
    labels = label_components(node_count, pairs["node_a"], pairs["node_b"])
    _write_labels(con, labels)
    limits = _write_classes(con, rules)
    _write_violating(con, rules)
    tried = _readmit(con, limits, node_count)
    return {"raw_max_component": raw_max, "edges_tried_singly": tried}


def _write_labels(con: Connection, labels: Integers) -> None:
    active = fetch_integers(con, "select node_id from nodes where node_id not in (select node_id from excluded)")
    nodes = active["node_id"]
    con.register("labelled", pa.table({"node_id": nodes, "component": labels[nodes]}))
    con.execute("create or replace temp table components as select * from labelled")
    con.unregister("labelled")


def _write_classes(con: Connection, rules: IdentifierRules) -> Limits:
    """Write ``node_classes(node_id, class_code, owner)`` and return the limits by class."""
    con.execute(
        "create or replace temp table classes as select id_type, id_namespace, "
        "row_number() over (order by id_type, id_namespace) as class_code from "
        "(select distinct id_type, id_namespace from nodes)"
    )
    _write_owners(con)
    rows = con.execute("select class_code, id_type, id_namespace from classes order by class_code").fetchall()
    limit = {code: rules.identifiers[id_type].max_per_customer for code, id_type, _ in rows}
    names = {
        code: f"R4 more than {limit[code]} {id_type}" + (f" of {namespace}" if namespace else "")
        for code, id_type, namespace in rows
    }
    return Limits(rules.max_nodes, limit, names)


def _write_owners(con: Connection) -> None:
    """Write ``owners(node_id, owner)``: accounts of one person, transitively, under their lowest node id."""
    pairs = fetch_integers(con, "select node_a, node_b from owner_pairs")
    nodes, codes = np.unique(np.concatenate([pairs["node_a"], pairs["node_b"]]), return_inverse=True)
    half = len(pairs["node_a"])
    labels = label_components(len(nodes), codes[:half], codes[half:])
    lowest = np.full(int(labels.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(lowest, labels, nodes)
    con.register("owned", pa.table({"node_id": nodes.astype(np.int64), "owner": lowest[labels]}))
    con.execute("create or replace temp table owners as select * from owned")
    con.unregister("owned")


def _write_violating(con: Connection, rules: IdentifierRules) -> None:
    limits = " ".join(
        f"when {literal(name)} then {rules.identifiers[name].max_per_customer}" for name in IDENTITY_COLUMNS
    )
    # One table with the class in it: joined in one statement, the planner may pair all nodes of a class.
    con.execute(
        "create or replace temp table members as select c.node_id, c.component, k.class_code, "
        f"case n.id_type {limits} end as class_limit from components as c join nodes as n using (node_id) "
        "join classes as k using (id_type, id_namespace)"
    )
    con.execute(
        "create or replace temp table crowded as select component, class_code from members "
        "group by component, class_code having count(*) > any_value(class_limit)"
    )
    # Accounts of one owner count once; looked at only where there are too many accounts at all.
    con.execute(
        "create or replace temp table violating as "
        "select component from (select component, class_code, class_limit, coalesce(o.owner, m.node_id) as owner "
        "from members as m semi join crowded using (component, class_code) left join owners as o using (node_id)) "
        "group by component, class_code having count(distinct owner) > any_value(class_limit) "
        f"union select component from members group by component having count(*) > {rules.max_nodes} "
        "union select a.component from operator_bars as o join components as a on a.node_id = o.node_a "
        "join components as b on b.node_id = o.node_b where a.component = b.component"
    )
    con.execute("drop table crowded")


def _readmit(con: Connection, limits: Limits, offset: int) -> int:
    """Walk the edges of the violating components; return how many there were."""
    nodes = fetch_integers(
        con,
        "select m.node_id, m.class_code, coalesce(o.owner, m.node_id) as owner from members as m "
        "semi join violating using (component) left join owners as o using (node_id)",
    )
    if not len(nodes["node_id"]):
        return 0
    edges = fetch_integers(
        con,
        "select l.node_a, l.node_b from links as l join components as c on c.node_id = l.node_a "
        "semi join violating using (component) where l.reject_rule is null group by l.node_a, l.node_b "
        "order by min(l.tier), min(l.first_seen_at), l.node_a, l.node_b",
    )
    bars = con.execute("select node_a, node_b, rule_id from operator_bars").fetchall()
    partition = ConstrainedPartition(limits, Separations(bars))
    for node, node_class, owner in zip(*(nodes[name].tolist() for name in nodes), strict=True):
        partition.add(node, node_class, owner)
    rejected = _walk(partition, edges["node_a"].tolist(), edges["node_b"].tolist())
    members: dict[int, int] = {node: partition.find(node) for node in partition.parent}
    # Labels of the other components are below the number of nodes.
    moved = {"node_id": list(members), "component": [offset + root for root in members.values()]}
    con.register("moved", pa.table(moved, schema=pa.schema([("node_id", pa.int64()), ("component", pa.int64())])))
    con.execute("update components set component = m.component from moved as m where m.node_id = components.node_id")
    con.unregister("moved")
    for rule, found in sorted(rejected.items()):
        table = pa.table({"node_a": [a for a, _ in found], "node_b": [b for _, b in found]})
        con.register("rejected", table)
        con.execute(
            "update links set reject_rule = ? from rejected as r "
            "where r.node_a = links.node_a and r.node_b = links.node_b",
            [rule],
        )
        con.unregister("rejected")
    return len(edges["node_a"])


def _walk(
    partition: ConstrainedPartition, node_a: Sequence[int], node_b: Sequence[int]
) -> dict[str, list[tuple[int, int]]]:
    rejected: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for a, b in zip(node_a, node_b, strict=True):
        if rule := partition.union(a, b):
            rejected[rule].append((a, b))
    return rejected
