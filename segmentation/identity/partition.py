"""A partition that grows edge by edge and refuses what would break a limit (rule R4).

Belongs here: the union-find with limits, owners and separations. Does not belong here: which edges are walked, and in
what order (`admission.py`).
"""

from dataclasses import dataclass, field

from segmentation.identity.separations import Separations


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

    def separate(self, node_a: int, node_b: int, rule_id: str) -> None:
        """Forbid from now on that two nodes' clusters become one; where they are one already, nothing is changed.

        A node that is not in the partition joins nothing.
        """
        if node_a in self.parent and node_b in self.parent:
            self.separations.add(self.find(node_a), self.find(node_b), rule_id)

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
