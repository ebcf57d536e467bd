"""Rules of people that can't all hold, and the shortest way to see it.

Belongs here: finding a contradiction among links, separations and blocks. Does not belong here: what a rule does to a
run (`operator_rules.py`). Separations in a circle are none: three people of a household may all be kept apart.
"""

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from segmentation.errors import StrataError

if TYPE_CHECKING:
    from segmentation.identity.operator_rules import Rule


class ContradictionError(StrataError):
    """Rules of people that can't all hold."""


@dataclass(frozen=True, slots=True)
class Step:
    """One link of a path: two nodes that a rule makes one customer."""

    node_a: int
    node_b: int
    rule_id: str


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Two nodes that rules both join and keep apart.

    Attributes:
        rule_id: The rule that forbids it.
        node_a: One end.
        node_b: The other end; the same node where the rule contradicts itself, or blocks what another links.
        path: The links from end to end, as few as there can be.
    """

    rule_id: str
    node_a: int
    node_b: int
    path: tuple[Step, ...]

    @property
    def rule_ids(self) -> tuple[str, ...]:
        """Every rule that takes part; without any one of them the others can hold."""
        return tuple(dict.fromkeys([self.rule_id, *(step.rule_id for step in self.path)]))


def find_contradiction(rules: Sequence["Rule"]) -> Contradiction | None:
    """Return the contradiction with the shortest path, ``None`` where all rules can hold.

    Breadth-first search over links, from each separation whose ends are in one group of linked nodes: linear in
    the rules for each contradiction, and no search at all where there is none.
    """
    links = [rule for rule in rules if rule.kind == "must_link"]
    by_node: dict[int, list[Rule]] = defaultdict(list)
    for rule in links:
        for node in rule.nodes:
            by_node[node].append(rule)
    group = _groups(links)
    found = []
    for rule in rules:
        if rule.kind == "must_not_link":
            pairs = {(min(a, b), max(a, b)) for a in rule.nodes for b in rule.other_nodes}
            found += [
                Contradiction(rule.rule_id, a, b, _shortest_path(by_node, a, b))
                for a, b in sorted(pairs)
                if group.get(a, a) == group.get(b, b)
            ]
        elif rule.kind == "block_value":
            found += [
                Contradiction(rule.rule_id, node, node, (Step(node, _another(by_node[node][0], node), link.rule_id),))
                for node in rule.nodes
                for link in by_node.get(node, [])[:1]
            ]
    return min(found, key=lambda one: (len(one.path), one.rule_id, one.node_a, one.node_b), default=None)


def require_consistent(rules: Sequence["Rule"], types: Mapping[int, str], where: str) -> None:
    """Refuse rules that can't all hold.

    Args:
        rules: The rules in force at one moment.
        types: Type of identifier by node id, for the message.
        where: Where the rules are written.

    Raises:
        ContradictionError: With the shortest path that shows it.
    """
    found = find_contradiction(rules)
    if found is None:
        return

    def shown(node: int) -> str:
        return f"node:{node} ({types[node]})" if node in types else f"node:{node}"

    steps = ", ".join(f"{shown(step.node_a)} = {shown(step.node_b)} by {step.rule_id}" for step in found.path)
    if found.node_a == found.node_b and found.path:
        what = f"{found.rule_id} blocks {shown(found.node_a)}, and {found.path[0].rule_id} links it: {steps}"
    elif found.node_a == found.node_b:
        what = f"{found.rule_id} keeps {shown(found.node_a)} apart from itself"
    else:
        what = (
            f"{found.rule_id} keeps {shown(found.node_a)} and {shown(found.node_b)} apart, "
            f"and others make them one customer: {steps}"
        )
    origins = {rule.rule_id: rule.origin for rule in rules}
    repairs = [
        f"remove {rule_id} from catalog/identifiers.yml" if origins[rule_id] == "catalog" else f"undo {rule_id}"
        for rule_id in found.rule_ids
    ]
    raise ContradictionError(
        f"rules of people contradict each other: {what}",
        where=where,
        expected="rules that can all hold",
        repair=f"one of: {'; '.join(repairs)} (strata identity undo RULE_ID)",
    )


def _groups(links: Sequence["Rule"]) -> dict[int, int]:
    """Return a label per linked node; nodes that links connect have the same."""
    parent: dict[int, int] = {}

    def find(node: int) -> int:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for rule in links:
        for node in rule.nodes[1:]:
            parent[find(node)] = find(rule.nodes[0])
    return {node: find(node) for node in list(parent)}


def _shortest_path(by_node: Mapping[int, list["Rule"]], start: int, end: int) -> tuple[Step, ...]:
    """Return the links from ``start`` to ``end``, which some path of links connects."""
    came: dict[int, Step | None] = {start: None}
    queue = deque([start])
    while end not in came:
        node = queue.popleft()
        for rule in by_node[node]:
            for neighbour in rule.nodes:
                if neighbour not in came:
                    came[neighbour] = Step(node, neighbour, rule.rule_id)
                    queue.append(neighbour)
    steps: list[Step] = []
    node = end
    while (step := came[node]) is not None:
        steps.append(step)
        node = step.node_a
    return tuple(reversed(steps))


def _another(rule: "Rule", node: int) -> int:
    return next(other for other in rule.nodes if other != node)
