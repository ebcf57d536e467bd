"""What the rules of a catalog say about each other, told to who wrote them.

Belongs here: rules that can't be meant (never true, always true, never decisive, the same twice), and, where asked,
which rules contain or overlap each other. Does not belong here: how that is found out (``reasoning.py``), and what
keeps a catalog from being used (``catalog_checks.py``): a run does not wait for these.
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import date, datetime
from itertools import combinations
from typing import Any, Literal

from segmentation.errors import CatalogProblem
from segmentation.segments.catalog import Catalog
from segmentation.segments.compiled import CatalogGroup, CatalogSegment
from segmentation.segments.conditions import (
    Always,
    Condition,
    Either,
    Every,
    features_of,
    join,
    leaf_features,
    leaves,
    segments_of,
)
from segmentation.segments.evaluation import holds
from segmentation.segments.kinds import Contract, Kind, kind_of
from segmentation.segments.reasoning import Answer, Example, Membership, Reasoner, World
from segmentation.segments.rivalry import rivals_of
from segmentation.segments.rule_sql import to_text

Segments = Mapping[str, CatalogSegment]
AllGroups = Mapping[str, CatalogGroup]

#: Longest clause that a message repeats.
_SHOWN = 80
#: Most clauses among which those that contradict each other are sought.
_SEARCHED = 12
#: What stands for a required feature that a found row says nothing of.
_ANY: dict[Kind, object] = {
    Kind.INTEGER: 0,
    Kind.DOUBLE: 0.0,
    Kind.STRING: "",
    Kind.BOOLEAN: False,
    Kind.DATE: date(2026, 1, 1),
    Kind.TIMESTAMP: datetime(2026, 1, 1),  # noqa: DTZ001 - all moments are UTC
    Kind.STRINGS: [],
}


def check_rules(
    catalog: Catalog, contract: Contract, required: Collection[str] = (), *, overlaps: bool = False
) -> list[CatalogProblem]:
    """Return what is odd about the rules, in the order of files and lines.

    Args:
        catalog: Whose rules; retired segments are left alone, and those that depend on each other in a cycle.
        contract: Feature name to column type.
        required: Features that are never null.
        overlaps: Say also what is nothing odd: rules within others, and pairs of one exclusive group that take the
            same customer, each with an example; and how many questions were too hard to decide.
    """
    decided = {key for level in catalog.levels for key in level}
    segments = {
        key: segment
        for key, segment in catalog.segments.items()
        if key in decided or not segment.definition.is_evaluated
    }
    return _Checks(segments, catalog.groups, contract, frozenset(required)).run(overlaps=overlaps)


def world_of(segments: Segments, groups: AllGroups, required: Collection[str]) -> World:
    """Return what a catalog says about every customer, where no person intervenes: who is in which segment at most."""
    memberships = {}
    for key, segment in segments.items():
        definition = segment.definition
        if definition.is_evaluated and definition.kind == "rule" and segment.condition is not None:
            memberships[key] = Membership(segment.condition, is_exact=_is_open(segment) and not definition.ranks)
    exclusive = (
        frozenset(key for key, segment in segments.items() if group in segment.definition.ranks) for group in groups
    )
    return World(frozenset(required), memberships, tuple(keys for keys in exclusive if len(keys) > 1))


def _is_open(segment: CatalogSegment) -> bool:
    """Whether nothing but its rule, and its group, keeps a customer out."""
    definition = segment.definition
    return not (segment.required_purposes or definition.residency or definition.exclude or definition.expires_on)


class _Checks:
    def __init__(self, segments: Segments, groups: AllGroups, contract: Contract, required: frozenset[str]) -> None:
        self._rules = {
            key: segment.condition
            for key, segment in segments.items()
            if segment.definition.lifecycle != "retired" and segment.condition is not None
        }
        self._segments = segments
        self._groups = groups
        self._world = world_of(segments, groups, required)
        self._reasoner = Reasoner(self._world)
        self._kinds = {name: kind_of(column_type) for name, column_type in contract.items()}
        self._never: set[str] = set()
        self._everyone: set[str] = set()
        #: Customers that were found on the way: many a question is answered by one of them.
        self._customers: list[dict[str, Any]] = []

    def run(self, *, overlaps: bool) -> list[CatalogProblem]:
        problems = [problem for key in self._rules for problem in self._check_alone(key)]
        evaluated = [key for key in self._rules if self._segments[key].definition.is_evaluated]
        usual = [key for key in evaluated if key not in self._never | self._everyone]
        problems += self._check_winners(evaluated)
        problems += self._check_pairs(usual, all_of_them=overlaps)
        if overlaps:
            problems += self._overlaps(usual)
            if self._reasoner.undecided:
                what = (
                    f"{self._reasoner.undecided} questions about rules were too hard to decide; nothing is said there"
                )
                first = self._segments[next(iter(self._rules))]
                problems.append(CatalogProblem(first.file, 1, what, severity="information"))
        return sorted(problems, key=lambda problem: (problem.file, problem.line, problem.what))

    def _problem(
        self,
        key: str,
        what: str,
        severity: Literal["error", "warning", "information"],
        *,
        expected: str = "",
        repair: str = "",
        at: str = "rule",
    ) -> CatalogProblem:
        segment = self._segments[key]
        return CatalogProblem(segment.file, segment.line(at), what, expected=expected, repair=repair, severity=severity)

    # -- one rule ------------------------------------------------------------------------------------------

    def _check_alone(self, key: str) -> Iterator[CatalogProblem]:
        rule = self._rules[key]
        possible = self._reasoner.satisfiable(rule)
        self._remember(possible.example)
        if possible.is_no:
            self._never.add(key)
            yield self._problem(
                key,
                f"the rule of {key} is never true{self._contradiction(rule)}",
                "error" if self._segments[key].definition.is_evaluated else "warning",
                expected="a rule that some customer can keep to",
                repair="correct the rule; for members by name alone: kind: list",
            )
            return
        always = self._reasoner.tautology(rule)
        self._remember(always.example)
        if always.is_yes:
            self._everyone.add(key)
            if not self._may_take_everyone(key):
                yield self._problem(
                    key,
                    f"the rule of {key} is always true: every customer keeps to it",
                    "warning",
                    expected="a rule that tells customers apart; `true` where consent or residency does",
                    repair="correct the rule, or make it the default of its group",
                )

    def _may_take_everyone(self, key: str) -> bool:
        definition = self._segments[key].definition
        if any(group.definition.default == key for group in self._groups.values()):
            return True
        is_narrowed = bool(definition.consent.purposes or definition.residency or definition.exclude)
        return is_narrowed and self._rules[key] == Always(truth=True)

    def _contradiction(self, rule: Condition) -> str:
        """Say which clauses of an *and* contradict each other: leaving out any of them leaves none."""
        if not isinstance(rule, Every) or len(rule.parts) > _SEARCHED:
            return ""
        kept = list(rule.parts)
        for part in rule.parts:
            fewer = [one for one in kept if one is not part]
            if fewer and self._reasoner.satisfiable(Every(tuple(fewer))).is_no:
                kept = fewer
        if len(kept) == 1:
            return f": {_shown(kept[0])} never holds"
        return ": " + " and ".join(_shown(part) for part in kept) + " never hold together"

    # -- one among others ----------------------------------------------------------------------------------

    def _check_winners(self, evaluated: list[str]) -> Iterator[CatalogProblem]:
        """Yield a warning for each segment of a group that others of better rank leave nobody to."""
        for group, members in self._by_rank(evaluated):
            better: list[str] = []
            for key in members:
                if better and key not in self._never and self._segments[key].definition.kind == "rule":
                    takers = self._takers(key, better)
                    if takers:
                        yield self._problem(
                            key,
                            f"{key} never wins in group {group}: "
                            f"whom it takes, {' or '.join(takers)} of better precedence takes",
                            "warning",
                            expected="a customer for whom it decides",
                            repair="give it a better precedence, or narrow the others",
                            at=_ranked_at(self._segments[key]),
                        )
                # One of several groups may lose in another, and then leaves whom it takes to those behind it.
                is_alone = len(self._segments[key].definition.ranks) == 1
                if is_alone and _is_open(self._segments[key]) and key not in self._never:
                    better.append(key)

    def _takers(self, key: str, better: list[str]) -> list[str]:
        """Return the fewest segments that together take everyone whom another takes; none where some are left."""
        rule = self._rules[key]
        for other in better:
            if self._implies(rule, self._rules[other]).is_yes:
                return [other]
        kept = list(better)
        if len(kept) == 1 or not self._implies(rule, self._any_of(kept)).is_yes:
            return []
        for other in better:
            fewer = [one for one in kept if one != other]
            if len(fewer) > 1 and self._implies(rule, self._any_of(fewer)).is_yes:
                kept = fewer
        return kept

    def _any_of(self, keys: list[str]) -> Condition:
        return join([self._rules[key] for key in keys], Either)

    def _check_pairs(self, usual: list[str], *, all_of_them: bool) -> Iterator[CatalogProblem]:
        for one, other in combinations(usual, 2):
            if self._decides_alone(one, other) or (not all_of_them and self._tells_apart(one, other)):
                continue
            forth = self._implies(self._rules[one], self._rules[other])
            if not forth.is_yes and not all_of_them:
                continue
            back = self._implies(self._rules[other], self._rules[one])
            if forth.is_yes and back.is_yes:
                problem = self._equal(one, other)
                if all_of_them or problem.severity == "warning":
                    yield problem
            elif all_of_them and (forth.is_yes or back.is_yes):
                inner, outer = (one, other) if forth.is_yes else (other, one)
                yield self._problem(
                    inner,
                    f"the rule of {inner} takes nobody whom that of {outer} does not take"
                    + _for_example(back if forth.is_yes else forth, f"taken by {outer} alone"),
                    "information",
                )

    def _equal(self, one: str, other: str) -> CatalogProblem:
        first, second = (self._segments[key] for key in (one, other))
        facts = [
            (segment.required_purposes, segment.definition.residency, segment.definition.ranks.keys(), segment.listings)
            for segment in (first, second)
        ]
        # Of two in one group, the one that never wins has been told.
        place = f"{first.file}:{first.line('rule')}"
        if facts[0] == facts[1] and not first.definition.ranks:
            return self._problem(
                other,
                f"{other} and {one} take the same customers; the other is in {place}",
                "warning",
                expected="segments that differ in who is in them",
                repair="keep one of them, or let one ask for the other: in_segment",
            )
        what = f"the rules of {other} and {one} take the same customers; consent, lists or group tell them apart"
        return self._problem(other, f"{what}; the other is in {place}", "information")

    def _overlaps(self, usual: list[str]) -> Iterator[CatalogProblem]:
        for group, members in self._by_rank(usual):
            for one, other in combinations(members, 2):
                answer = self._reasoner.overlaps(self._rules[one], self._rules[other])
                if answer.is_yes:
                    # Where it is in several groups, another segment may win over it there.
                    several = len(self._segments[one].definition.ranks) > 1
                    where = f" in group {group}, where nobody wins over it in another" if several else ""
                    yield self._problem(
                        other,
                        f"{other} and {one} can take the same customer, then {one} wins by precedence{where}"
                        + _for_example(answer, "taken by both"),
                        "information",
                        at=_ranked_at(self._segments[other]),
                    )

    def _by_rank(self, keys: Collection[str]) -> list[tuple[str, list[str]]]:
        """Return each group with its segments, those that win first."""
        ranks = {key: self._segments[key].definition.ranks for key in keys}
        return [
            (group, rivals_of(group, ranks)) for group in dict.fromkeys(one for own in ranks.values() for one in own)
        ]

    # -- questions that need no solver ---------------------------------------------------------------------

    def _decides_alone(self, one: str, other: str) -> bool:
        """Whether two rules read nothing in common, so that neither can say anything about the other."""
        rules = [self._rules[one], self._rules[other]]
        # What a segment says about its members is in what it reads, and groups tie their segments together.
        return not any(segments_of(rule) for rule in rules) and not set(features_of(rules[0])) & set(
            features_of(rules[1])
        )

    def _tells_apart(self, one: str, other: str) -> bool:
        """Whether a customer at hand is taken by one of two rules alone."""
        rules = [self._rules[one], self._rules[other]]
        return not any(segments_of(rule) for rule in rules) and any(
            holds(rules[0], customer) != holds(rules[1], customer) for customer in self._customers
        )

    def _remember(self, example: Example | None) -> None:
        """Keep a customer who asks for no segment, with a value for every feature."""
        if example is None or example.segments:
            return
        blank = {name: _ANY.get(kind) if name in self._world.required else None for name, kind in self._kinds.items()}
        self._customers.append(blank | dict(example.values))

    def _implies(self, one: Condition, other: Condition) -> Answer:
        """Ask whether one rule implies another; first of the customers that are at hand."""
        if not segments_of(one) and not segments_of(other):
            for customer in self._customers:
                if holds(one, customer) and not holds(other, customer):
                    names = {name for rule in (one, other) for leaf in leaves(rule) for name in leaf_features(leaf)}
                    return Answer("no", Example({name: customer[name] for name in self._kinds if name in names}))
        answer = self._reasoner.implies(one, other)
        self._remember(answer.example)
        return answer


def _ranked_at(segment: CatalogSegment) -> str:
    """Return the key of a segment's file that ranks it."""
    return "groups" if len(segment.definition.ranks) > 1 else "precedence"


def _shown(condition: Condition) -> str:
    text = to_text(condition)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _for_example(answer: Answer, where: str) -> str:
    return f"; {where}, for example: {answer.example}" if answer.example else ""
