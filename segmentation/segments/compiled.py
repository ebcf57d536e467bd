"""Segments and groups as the catalog holds them: checked, compiled, and with the place they come from.

Belongs here: what every later step reads of a definition. Does not belong here: the keys of the files
(``definitions.py``) and reading them (``catalog_reader.py``).
"""

from dataclasses import dataclass, field

from segmentation.segments.conditions import Condition
from segmentation.segments.definitions import Group, Segment
from segmentation.segments.limits import Limits, stricter
from segmentation.segments.lists import Listing


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
