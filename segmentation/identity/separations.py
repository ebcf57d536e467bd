"""Which clusters may not become one: the memory of must-not-links while clusters grow (rule R2 within R4).

Belongs here: asking whether two clusters are kept apart, and carrying that over when clusters unite. Does not belong
here: when clusters unite (`admission.py`), or who decided (`operator_rules.py`).
"""

from collections import defaultdict
from collections.abc import Iterable


class Separations:
    """For each cluster, named by its root, the clusters it must stay apart from and the rule that says so.

    Every root is at first a node of its own. Asking costs one look-up; uniting costs as many steps as the smaller
    cluster has separations, of which people make few.
    """

    def __init__(self, bars: Iterable[tuple[int, int, str]] = ()) -> None:
        self._rules: dict[int, dict[int, str]] = defaultdict(dict)
        for a, b, rule_id in bars:
            self._rules[a][b] = self._rules[b][a] = rule_id

    def add(self, root_a: int, root_b: int, rule_id: str) -> None:
        """Keep two clusters apart from now on; what kept them apart before goes on being told as the reason."""
        if root_a != root_b:
            rules = self._rules
            rules[root_a].setdefault(root_b, rule_id)
            rules[root_b].setdefault(root_a, rule_id)

    def between(self, root_a: int, root_b: int) -> str | None:
        """Return the rule that keeps two clusters apart, ``None`` where none does."""
        return self._rules[root_a].get(root_b) if root_a in self._rules else None

    def unite(self, root: int, other: int) -> None:
        """Give ``root`` the separations of ``other``, which is now part of it."""
        for enemy, rule_id in self._rules.pop(other, {}).items():
            del self._rules[enemy][other]
            # Where both had one with the same cluster, the first by name is told, whatever came first.
            kept = min(rule_id, self._rules[enemy].get(root, rule_id))
            self._rules[enemy][root] = self._rules[root][enemy] = kept
