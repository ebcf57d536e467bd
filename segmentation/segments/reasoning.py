"""What rules say about each other: whether one can hold, always holds, holds wherever another does.

Belongs here: questions about rules alone, answered without a look at any customer, each *no* or *yes* proven or
shown by a row. Does not belong here: how the solver reads a rule (``solver_encoding.py``) and what a catalog should
hear of it (``rule_checks.py``).

The solver is z3. A row that it finds is tried on the evaluator of single customers before anyone sees it, and what
it can't decide within its limit is answered ``unknown``: no answer is a guess. The limit counts the solver's steps
and not its time, so a catalog is told the same on every machine.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

from segmentation.segments.conditions import Condition, segments_of
from segmentation.segments.evaluation import holds

if TYPE_CHECKING:
    from segmentation.segments.solver_encoding import Encoding

Verdict = Literal["yes", "no", "unknown"]

#: Steps of the solver for one try at a question; most questions take a thousand or two.
STEPS = 200_000
#: Steps for all questions of one reasoner together; once they are spent, each gets the least that is of use.
BUDGET = 4_000_000
_LEAST = 10_000
#: Some steps of the solver, those with products of features, can take it any time: after this it is stopped.
_MILLISECONDS = 400
#: How often a wish for a readable row is given up before all that stand in the way are.
_PATIENCE = 6

#: How many more rows are tried where the evaluator does not agree with the solver about one.
_TRIES = 3

#: The solver keeps what it works on in one place for the whole process.
_SOLVER = Lock()


@dataclass(frozen=True, slots=True)
class Example:
    """A customer that may exist: the features that the rules in question read, and the segments they ask about.

    Attributes:
        values: Feature to value; ``None`` for null.
        segments: Keys of the segments that the customer is in, of those asked about.
    """

    values: Mapping[str, Any]
    segments: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The customer in words of the rule language."""
        said = [
            f"{name} is null" if value is None else f"{name} = {_said(value)}" for name, value in self.values.items()
        ]
        said += [f"in {key}" for key in self.segments]
        return ", ".join(said) or "any customer"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with what shows it.

    Attributes:
        verdict: ``yes`` and ``no`` are certain.
        example: The customer that shows it, where one can.
    """

    verdict: Verdict
    example: Example | None = None

    @property
    def is_yes(self) -> bool:
        """Whether it is certainly so."""
        return self.verdict == "yes"

    @property
    def is_no(self) -> bool:
        """Whether it is certainly not so."""
        return self.verdict == "no"


@dataclass(frozen=True, slots=True)
class Membership:
    """What being in a segment says about a customer.

    Attributes:
        rule: A rule that every member keeps to.
        is_exact: Whether everyone who keeps to it is a member, too.
    """

    rule: Condition
    is_exact: bool


@dataclass(frozen=True, slots=True)
class World:
    """What holds for every customer, beyond the rules in question.

    Attributes:
        required: Features that are never null.
        memberships: What is known of segments that ``in_segment`` may name; of others, anyone may be a member.
        exclusive: Sets of segments of which a customer is in one at most.
    """

    required: frozenset[str] = frozenset()
    memberships: Mapping[str, Membership] = field(default_factory=dict)
    exclusive: tuple[frozenset[str], ...] = ()


class Reasoner:
    """Answers questions about rules in one world, within one budget.

    Args:
        world: What holds for every customer.
        steps: Limit of one try at a question.
        budget: Limit of all questions; once it is spent, questions that are hard stay open.
    """

    def __init__(self, world: World | None = None, *, steps: int = STEPS, budget: int = BUDGET) -> None:
        self._world = world or World()
        self._steps = steps
        self._left = budget
        #: Questions without an answer.
        self.undecided = 0

    def satisfiable(self, condition: Condition) -> Answer:
        """Say whether the rule can be true for anyone; if so, for whom."""
        return self._search([condition])

    def tautology(self, condition: Condition) -> Answer:
        """Say whether the rule is true for everyone; if not, for whom it is not."""
        return _opposite(self._search([], [condition]))

    def implies(self, one: Condition, other: Condition) -> Answer:
        """Say whether whoever is taken by one rule is taken by the other; if not, who is not."""
        return _opposite(self._search([one], [other]))

    def overlaps(self, one: Condition, other: Condition) -> Answer:
        """Say whether two rules can take the same customer; if so, whom."""
        return self._search([one, other])

    # -- the search ----------------------------------------------------------------------------------------

    def _search(self, true: Sequence[Condition], untrue: Sequence[Condition] = ()) -> Answer:
        """Look for a customer for whom some rules are true and some are not."""
        question = _Question(tuple(true), tuple(untrue), self._world)
        with _SOLVER:
            answer = self._decide(question)
        self.undecided += answer.verdict == "unknown"
        return answer

    def _decide(self, question: "_Question") -> Answer:
        found: Verdict = "unknown"
        # Arithmetic taken for exact finds rows; taken as rounded, it proves that there are none.
        for ideal in (True, False):
            encoding, said = question.encoded(ideal=ideal)
            found, example = self._solve(question, encoding, said)
            if example is not None:
                return Answer("yes", example)
            if not question.is_rounded:
                break
        return Answer("no" if found == "no" else "unknown")

    def _solve(self, question: "_Question", encoding: "Encoding", said: list[Any]) -> tuple[Verdict, Example | None]:
        """Return ``no`` where the encoding leaves no row, and a row that was tried where it finds one."""
        import z3  # noqa: PLC0415 - see solver_encoding

        # A place of its own: what the process asked before would choose another row, and a plan must say the same
        # whenever it is made.
        place = z3.Context()
        solver = z3.Solver(ctx=place)
        solver.add([one.translate(place) for one in said])
        wishes = {f"wish{number}": wish for number, wish in enumerate(encoding.readable())}
        for name, wish in wishes.items():
            solver.add(z3.Implies(z3.Bool(name), wish).translate(place))
        refused = given_up = 0
        solver.set("timeout", _MILLISECONDS)
        while True:
            solver.set("rlimit", max(_LEAST, min(self._steps, self._left)))
            before = _steps_of(solver)
            result = solver.check(*(z3.Bool(name, place) for name in wishes))
            self._left -= _steps_of(solver) - before
            if result == z3.sat:
                model = solver.model().translate(z3.main_ctx())
                example = question.example(encoding, model)
                if example or refused == _TRIES:
                    return ("yes" if example else "unknown"), example
                solver.add(encoding.others(model).translate(place))
                refused += 1
                continue
            if result != z3.unsat:
                return "unknown", None
            against = [str(name) for name in solver.unsat_core()]
            if not against:
                # Nothing but the question itself stands in the way, unless rows were ruled out on the way.
                return ("unknown" if refused else "no"), None
            for name in against[:1] if given_up < _PATIENCE else against:
                del wishes[name]
            given_up += 1


def satisfiable(condition: Condition, world: World | None = None) -> Answer:
    """Say whether a rule can be true for anyone; see ``Reasoner``."""
    return Reasoner(world).satisfiable(condition)


def tautology(condition: Condition, world: World | None = None) -> Answer:
    """Say whether a rule is true for everyone; see ``Reasoner``."""
    return Reasoner(world).tautology(condition)


def implies(one: Condition, other: Condition, world: World | None = None) -> Answer:
    """Say whether whoever is taken by one rule is taken by the other; see ``Reasoner``."""
    return Reasoner(world).implies(one, other)


def overlaps(one: Condition, other: Condition, world: World | None = None) -> Answer:
    """Say whether two rules can take the same customer; see ``Reasoner``."""
    return Reasoner(world).overlaps(one, other)


class _Question:
    """Rules that must be true and rules that must not be, with all that is known of the segments they name."""

    def __init__(self, true: tuple[Condition, ...], untrue: tuple[Condition, ...], world: World) -> None:
        self._true = true
        self._untrue = untrue
        self._required = world.required
        self._memberships = _named(world.memberships, [*true, *untrue])
        rules = [membership.rule for membership in self._memberships.values()]
        named = {key for rule in [*true, *untrue, *rules] for key in segments_of(rule)}
        self._exclusive = [sorted(keys & named) for keys in world.exclusive if len(keys & named) > 1]
        self._all = [*true, *untrue, *rules]
        self.is_rounded = False

    def encoded(self, *, ideal: bool) -> tuple["Encoding", list[Any]]:
        """Return the question as the solver reads it: what must be true of the row."""
        import z3  # noqa: PLC0415 - see solver_encoding

        from segmentation.segments.solver_encoding import Encoding  # noqa: PLC0415 - it imports the solver

        encoding = Encoding(self._all, self._required, ideal=ideal)
        said = [encoding.truth(condition) for condition in self._true]
        said += [z3.Not(encoding.truth(condition)) for condition in self._untrue]
        for key, membership in self._memberships.items():
            held, rule = encoding.segment(key), encoding.truth(membership.rule)
            said.append(held == rule if membership.is_exact else z3.Implies(held, rule))
        said += [z3.AtMost(*(encoding.segment(key) for key in keys), 1) for keys in self._exclusive]
        self.is_rounded = encoding.is_rounded
        return encoding, [*said, *encoding.facts]

    def example(self, encoding: "Encoding", model: Any) -> Example | None:
        """Return the row that the solver found, if the evaluator agrees with it."""
        try:
            row, members = encoding.row(model)
        except (OverflowError, ValueError):
            # A moment beyond Python's calendar, or a number beyond floats.
            return None
        is_right = (
            all(holds(condition, row, members) for condition in self._true)
            and not any(holds(condition, row, members) for condition in self._untrue)
            and all(self._keeps(key, row, members) for key in self._memberships)
            and all(len(members.intersection(keys)) <= 1 for keys in self._exclusive)
        )
        return Example(row, tuple(sorted(members))) if is_right else None

    def _keeps(self, key: str, row: Mapping[str, Any], members: Collection[str]) -> bool:
        membership = self._memberships[key]
        is_taken = holds(membership.rule, row, members)
        return is_taken == (key in members) if membership.is_exact else is_taken or key not in members


def _named(memberships: Mapping[str, Membership], conditions: Sequence[Condition]) -> dict[str, Membership]:
    """Return what is known of the segments that conditions name, and of those that these name in turn."""
    found: dict[str, Membership] = {}
    waiting = list(conditions)
    while waiting:
        for key in segments_of(waiting.pop()):
            if key in memberships and key not in found:
                found[key] = memberships[key]
                waiting.append(memberships[key].rule)
    return found


def _opposite(answer: Answer) -> Answer:
    swapped: dict[Verdict, Verdict] = {"yes": "no", "no": "yes", "unknown": "unknown"}
    return Answer(swapped[answer.verdict], answer.example)


def _steps_of(solver: Any) -> int:
    """Return the steps that the process has spent on solving so far."""
    return int(solver.statistics().get_key_value("rlimit count"))


def _said(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return "'" + value.replace("'", "''") + "'"
        case datetime() | date():
            return f"'{value}'"
        case list():
            return "[" + ", ".join(_said(one) for one in value) + "]"
        case _:
            return repr(value)
