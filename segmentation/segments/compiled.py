"""Segments and groups as the catalog holds them: checked, compiled, and with the place they come from.

Belongs here: what every later step reads of a definition. Does not belong here: the keys of the files
(``definitions.py``) and reading them (``catalog_reader.py``).
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from segmentation.segments.conditions import Condition
from segmentation.segments.definitions import Group, Segment
from segmentation.segments.limits import Limits, stricter
from segmentation.segments.lists import Listing

CanaryState = Literal["running", "paused", "promoted", "aborted"]


@dataclass(frozen=True, slots=True)
class Check:
    """What one metric of a canary says: customers for whom both versions differ, within the canary and beside it.

    Attributes:
        feature: The feature.
        customers: Within the canary, those who have a value.
        mean: Their mean.
        other_customers: Beside the canary, those who have a value.
        other_mean: Their mean.
        z: The difference of the means in standard errors, positive where the canary is worse.
        verdict: ``kept``, ``worse``, or ``too_few`` customers to say.
        on_breach: What follows where it is worse.
    """

    feature: str
    customers: int
    mean: float | None
    other_customers: int
    other_mean: float | None
    z: float | None
    verdict: Literal["kept", "worse", "too_few"]
    on_breach: Literal["abort", "pause"]


@dataclass(frozen=True, slots=True)
class Trial:
    """What a canary stands beside, and how far it has come.

    Attributes:
        base: The version that holds for everybody else; ``None`` where that is nobody.
        percent: Share of customers for whom the canary holds now: 100 once promoted, 0 once aborted.
        state: How far it has come.
        canary_seq: Number of its row in ``segments.canaries``; ``None`` before its first publication.
        started_at: Moment of that publication.
        reason: Why it is paused or aborted, where its metrics say so.
        checks: What its metrics say in this run.
    """

    base: "CatalogSegment | None"
    percent: int
    state: CanaryState = "running"
    canary_seq: int | None = None
    started_at: datetime | None = None
    reason: str = ""
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class CatalogSegment:
    """A segment's definition, checked and compiled.

    Attributes:
        definition: What its file says.
        condition: Its rule over customers, typed; ``None`` for a list and for a segment of accounts.
        listings: Its inclusion and exclusion lists, entry by entry.
        required_purposes: Purposes a member must have consented to: those whose lawful basis is consent.
        file: Its file, from the catalog folder's name on.
        places: Line of each key in the file.
        account_condition: Its rule over accounts, where it is a segment of accounts.
        definition_hash: Same for definitions that mean the same; see ``definition_hash``.
        membership_hash: Same as long as membership is decided the same way, segments it depends on included.
        policy_limits: What the policy limits beside the definition's own guards; the stricter of both holds.
        version: Of what is live, the version that it was published as.
        trial: Of a canary, what it stands beside.
        is_unreadable: Of what is live, whether its rule can't be read any more: its members stay as published.
    """

    definition: Segment
    condition: Condition | None
    listings: tuple[Listing, ...]
    required_purposes: tuple[str, ...]
    file: str
    places: dict[str, int]
    account_condition: Condition | None = None
    definition_hash: str = ""
    membership_hash: str = ""
    policy_limits: Limits = field(default_factory=Limits)
    version: int | None = None
    trial: Trial | None = None
    is_unreadable: bool = False

    @property
    def key(self) -> str:
        """The segment's key."""
        return self.definition.key

    @property
    def rule(self) -> Condition | None:
        """Its rule, over customers or over accounts; ``None`` for a list."""
        return self.condition if self.account_condition is None else self.account_condition

    @property
    def limits(self) -> Limits:
        """What holds a publication back, of the definition and the policy together."""
        return stricter(Limits.of(self.definition.guards), self.policy_limits)

    @property
    def parts(self) -> tuple[tuple[int, "CatalogSegment | None"], ...]:
        """Which definition holds for whom: each up to a percentage of customers, the last up to 100.

        ``None`` is a definition that holds for nobody.
        """
        if not self.definition.is_evaluated:
            return ((100, None),)
        if self.definition.canary is None:
            return ((100, self),)
        # Without a base it is new: nobody else is in it.
        trial = self.trial or Trial(None, self.definition.canary.percent)
        if trial.percent in {0, 100}:
            return ((100, self if trial.percent else trial.base),)
        return ((trial.percent, self), (100, trial.base))

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The rules by which anybody can be in it."""
        found = [part.condition for _, part in self.parts if part is not None]
        return tuple(condition for condition in found if condition is not None)

    def line(self, *names: str) -> int:
        """Return the line of the first of the keys that the file has, else the line of ``key``."""
        return next((self.places[name] for name in (*names, "key") if name in self.places), 1)


@dataclass(frozen=True, slots=True)
class CatalogGroup:
    """An exclusive group and where it is defined."""

    definition: Group
    file: str
    line: int

    @property
    def key(self) -> str:
        """The group's key."""
        return self.definition.key
