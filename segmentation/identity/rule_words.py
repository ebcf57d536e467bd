"""Rules in words: what a decision says, and why a rule refused an identifier or an edge.

Belongs here: sentences for people. Does not belong here: applying rules. Identifiers are shown by type and node id;
values are shown where somebody asked for them by name (`evidence_paths.py`, `explain.py`).
"""

import re
from collections.abc import Callable, Mapping

from segmentation.identity.operator_rules import Rule


def describe_rule(rule: Rule, types: Mapping[int, str]) -> str:
    """Return what a rule says, as a sentence with node ids and the types that ``types`` has for them."""

    def listed(nodes: tuple[int, ...]) -> str:
        return ", ".join(f"{types.get(node, 'identifier')} node:{node}" for node in nodes)

    mine, others, limit = listed(rule.nodes), listed(rule.other_nodes), rule.limit_value
    sentences = {
        "must_link": f"{mine} are one customer's",
        "must_not_link": f"{mine} and {others} are not one customer's",
        "block_value": f"{mine} {'link' if len(rule.nodes) > 1 else 'links'} nobody",
        "block_pattern": f"whatever {rule.id_type} matches {rule.pattern} links nobody",
        "max_per_customer": f"a customer holds at most {limit} {rule.id_type}",
        "degree_limit": f"{rule.id_type} with more than {limit} {rule.other_type} is shared by people",
        "max_nodes": f"a customer holds at most {limit} identifiers",
    }
    return sentences[rule.kind]


def explain_refusal(rule: str, people: Mapping[str, Rule]) -> str:
    """Return why a rule refuses what it refuses, as a sentence.

    Args:
        rule: ``status_rule`` of an identifier or ``reject_rule`` of an edge.
        people: Rules of people by name, for the reasons that they gave.
    """
    for pattern, explain in _REASONS:
        if match := re.fullmatch(pattern, rule):
            return explain(match, people)
    return rule


def _of_people(match: re.Match[str], people: Mapping[str, Rule]) -> str:
    rule = people.get(match["rule_id"])
    what = "blocked" if match["what"] == "blocked by" else "kept apart"
    if rule is None and re.fullmatch(r"m\d+", match["rule_id"]):
        return f"kept apart because people call two records no match, row {match['rule_id'][1:]} of the audit log"
    if rule is None:
        return f"{what} by rule {match['rule_id']}"
    return f"{what} by {rule.author}, rule {rule.rule_id}: {rule.reason}"


_REASONS: tuple[tuple[str, Callable[[re.Match[str], Mapping[str, Rule]], str]], ...] = (
    (r"erased|erasure", lambda _m, _p: "its customer was erased"),
    (r"R1 placeholder", lambda _m, _p: "a placeholder, written where nothing was known: it is nobody's"),
    (r"R1 pattern (?P<pattern>.*)", lambda m, _p: f"it matches {m['pattern']}, as values that are nobody's do"),
    (r"R[24] (?P<what>blocked by|kept apart by) (?P<rule_id>\S+)", _of_people),
    (
        r"R3 (?P<type>\w+) with more than (?P<n>\d+) (?P<other>\w+)",
        lambda m, _p: f"more than {m['n']} {m['other']} were seen with this {m['type']}: people share it",
    ),
    (
        r"R4 more than (?P<n>\d+) identifiers",
        lambda m, _p: f"it would give one customer more than {m['n']} identifiers",
    ),
    (
        r"R4 more than (?P<n>\d+) (?P<type>\w+)( of (?P<source>.*))?",
        lambda m, _p: (
            f"it would give one customer more than {m['n']} {m['type']}" + (f" of {m['source']}" if m["source"] else "")
        ),
    ),
)
