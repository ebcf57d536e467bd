"""What a segment and a group are: every key of the catalog's files, with its checks.

Belongs here: the models of one file and the checks that need that file alone. Does not belong here: checks
across files (``catalog_checks.py``) and reading files (``catalog.py``). The JSON Schema for editors is made from
these models.
"""

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    field_validator,
    model_validator,
)

from segmentation.complaints import tell

#: Plain ASCII: letters that only look alike can't make two keys out of one.
_KEY = r"^[a-z][a-z0-9_]{0,62}$"
Key = Annotated[str, StringConstraints(pattern=_KEY)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Purpose = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$")]

#: Where list files lie: in one folder of the catalog, so that no entry leads anywhere else.
_LIST_FILE = r"^lists/[A-Za-z0-9_.-]+\.csv$"


def _exact(value: object) -> object:
    """Take a YAML number by its written digits, so that 0.1 means one tenth."""
    return Decimal(str(value)) if isinstance(value, int | float) and not isinstance(value, bool) else value


#: Money in units of the reporting currency; micros are the finest part of it that is counted.
Money = Annotated[
    Decimal,
    BeforeValidator(_exact),
    Field(gt=0, max_digits=18, decimal_places=6),
    PlainSerializer(lambda amount: f"{amount.normalize():f}", return_type=str, when_used="json"),
]

#: Among the segments of an exclusive group the lowest number wins.
Rank = Annotated[int, Field(strict=True, ge=1)]

Objective = Literal["activation", "retention", "reengagement", "expansion", "advocacy", "insight", "protection"]
Severity = Literal["critical", "standard", "low"]
Lifecycle = Literal["draft", "canary", "active", "deprecated", "retired"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Owner(_Model):
    """Who answers for a segment."""

    team: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$")] = Field(description="Team, as a key.")
    contact: Text = Field(description="Where to reach the team: an address or a channel.")


class ListedIdentifier(_Model):
    """An identifier as a source writes it."""

    type: Literal["source_customer_id", "user_id", "email", "phone", "device_id", "anonymous_id"]
    value: Text
    namespace: str = Field("", description="The source, for source_customer_id; empty for types that are global.")


class ListEntry(_Model):
    """A customer, an identifier, or a CSV file of them; exactly one of the three."""

    customer: Text | None = Field(None, description="A customer id.")
    identifier: ListedIdentifier | None = None
    file: Annotated[str, Field(json_schema_extra={"pattern": _LIST_FILE})] | None = Field(
        None, description="A CSV file below catalog/, for example lists/vip.csv."
    )
    reason: str = Field("", description="Why this customer; a file has a column for it.")
    until: date | None = Field(None, description="First day on which the entry no longer counts.")

    @field_validator("file")
    @classmethod
    def _lies_among_the_lists(cls, value: str | None) -> str | None:
        if value is None or re.fullmatch(_LIST_FILE, value):
            return value
        path = PurePosixPath(value)
        what = f"{value!r} is not the name of a list file"
        if path.is_absolute() or PureWindowsPath(value).is_absolute():
            what = f"{value!r} is an absolute path"
        elif ".." in re.split(r"[/\\]", value):
            what = f"{value!r} leads out of the catalog"
        name = path.stem if re.fullmatch(_LIST_FILE, f"lists/{path.stem}.csv") else "NAME"
        raise tell(
            what,
            expected="lists/NAME.csv, below the catalog; in NAME letters, digits, '_', '-' and '.'",
            repair=f"put the file into catalog/lists and write file: lists/{name}.csv",
        )

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        named = [name for name in ("customer", "identifier", "file") if getattr(self, name) is not None]
        if len(named) != 1:
            raise ValueError("give exactly one of customer, identifier, file")
        if self.file is None and not self.reason:
            raise ValueError("an entry that is not a file needs a reason")
        return self


class Consent(_Model):
    """What customers must have consented to; lacking one of the purposes keeps them out, whatever else holds."""

    purposes: list[Purpose] = Field(default_factory=list)


class Guards(_Model):
    """Limits that hold a publication back for a person to look at."""

    min_size: int | None = Field(None, ge=0, description="Fewest members.")
    max_size: int | None = Field(None, ge=0, description="Most members.")
    max_churn_ratio: float | None = Field(
        None, ge=0, le=1, description="Largest share of members that may leave in one run."
    )
    max_share: float | None = Field(None, ge=0, le=1, description="Largest share of all customers.")
    max_exits: int | None = Field(None, ge=0, description="Most members that may leave in one run.")
    min_base: int = Field(100, ge=0, description="Churn is judged from this many members on.")

    @model_validator(mode="after")
    def _sizes_leave_room(self) -> Self:
        if self.min_size is not None and self.max_size is not None and self.min_size > self.max_size:
            raise ValueError(f"min_size {self.min_size} is larger than max_size {self.max_size}")
        return self


class Slo(_Model):
    """What members are promised of the service. It is recorded and shown; nothing measures it yet."""

    availability: float | None = Field(
        None, gt=0, lt=1, description="Share of members' requests that are answered without an error of ours."
    )
    latency_p95_ms: int | None = Field(
        None, ge=1, description="Milliseconds within which 95 % of members' requests are answered."
    )
    window_days: int = Field(30, ge=1, le=366, description="Days over which it is judged.")

    @model_validator(mode="after")
    def _promises_something(self) -> Self:
        if self.availability is None and self.latency_p95_ms is None:
            raise ValueError("an slo gives availability, latency_p95_ms, or both")
        return self


class CostCeiling(_Model):
    """What a segment may cost in a calendar month, in the reporting currency; more is a warning of the costs gate."""

    per_month: Money | None = Field(None, description="All of its cost.")
    per_member: Money | None = Field(None, description="Its cost by the average of its daily members.")

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.per_month is None and self.per_member is None:
            raise ValueError("a cost_ceiling gives per_month, per_member, or both")
        return self


class CanaryMetric(_Model):
    """A feature by which a canary is judged: its mean in the canary against its mean beside it."""

    feature: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")] = Field(
        description="A feature that is a number, or true or false."
    )
    worse: Literal["higher", "lower"] = Field(description="Which way is worse.")
    tolerance: float = Field(
        0.0, ge=0, description="How much worse it may be, as a share of the mean beside the canary."
    )
    min_members: int = Field(100, ge=2, description="Fewest customers on each side for a verdict.")
    on_breach: Literal["abort", "pause"] = Field(
        "pause", description="abort: everybody is back on the version before; pause: nobody promotes it unasked."
    )


class Canary(_Model):
    """How a new version holds for some customers before it holds for all."""

    percent: int = Field(ge=1, le=99, description="Share of customers for whom the new version holds.")
    hold: int = Field(ge=0, le=366, description="Days before it can be promoted.")
    metrics: list[CanaryMetric] = Field(default_factory=list)


class Segment(_Model):
    """One segment: who is in it, why it exists, what is done about it and who answers for it."""

    key: Key = Field(description="The segment's name in every system; never used again for something else.")
    name: Text
    description: Text
    entity: Literal["customer", "account"] = Field(
        "customer", description="Whose features the rule reads; members of an account's segment are its customers."
    )
    owner: Owner | None = None
    objective: Objective | None = None
    action: Text | None = Field(None, description="What is done for or about its members.")
    measure: Text | None = Field(None, description="How one sees that the action works.")
    severity: Severity = "standard"
    lifecycle: Lifecycle = "draft"
    canary: Canary | None = Field(None, description="For lifecycle canary: for how many, how long, judged by what.")
    review_by: date | None = Field(None, description="Day by which the owner looks at it again.")
    expires_on: date | None = Field(None, description="First day without members.")
    kind: Literal["rule", "list", "hybrid"] = Field(
        "rule", description="rule, list, or hybrid for both. Not there yet: model, for machine-learned segments."
    )
    rule: str | None = Field(None, description="A boolean SQL expression over features.")
    include: list[ListEntry] = Field(default_factory=list, description="Members whatever the rule says.")
    exclude: list[ListEntry] = Field(default_factory=list, description="Never members; stronger than include.")
    group: Key | None = Field(None, description="Exclusive group: a customer is in one of its segments at most.")
    precedence: int | None = Field(None, ge=1, description="Rank in the group; the lowest number wins.")
    groups: dict[Key, Rank] | None = Field(
        None, min_length=1, description="In place of group and precedence: its rank in each of several groups."
    )
    consent: Consent = Field(default_factory=Consent)
    residency: list[Text] = Field(default_factory=list, description="Regions whose residents may be members.")
    sensitive: list[Text] | None = Field(
        None, description="Special categories of personal data that the rule may read, such as health."
    )
    guards: Guards = Field(default_factory=Guards)
    destinations: list[Key] = Field(default_factory=list)
    slo: Slo | None = None
    cost_ceiling: CostCeiling | None = None

    @property
    def is_evaluated(self) -> bool:
        """Whether its lifecycle lets it have members."""
        return self.lifecycle in {"canary", "active", "deprecated"}

    @property
    def ranks(self) -> Mapping[str, int]:
        """Its rank by exclusive group, whichever way the file says it; empty outside of groups."""
        if self.group is not None and self.precedence is not None:
            return {self.group: self.precedence}
        return self.groups or {}

    @model_validator(mode="before")
    @classmethod
    def _says_one_group_one_way(cls, said: object) -> object:
        # A segment in one group is the same definition, and the same version, in either form.
        if not isinstance(said, dict) or said.get("group") is not None or said.get("precedence") is not None:
            return said
        groups = said.get("groups")
        if isinstance(groups, dict) and len(groups) == 1:
            ((group, rank),) = groups.items()
            if isinstance(group, str) and re.fullmatch(_KEY, group) and type(rank) is int and rank >= 1:
                return {**said, "group": group, "precedence": rank, "groups": None}
        return said

    @field_validator("kind", mode="before")
    @classmethod
    def _is_built(cls, kind: object) -> object:
        if kind == "model":
            raise tell(
                "segments of kind model, which a trained model decides, are not there yet",
                expected="rule, list or hybrid",
                repair="write a rule over the features that the model would read, or list the customers",
            )
        return kind

    @field_validator("rule", mode="before")
    @classmethod
    def _reads_truth(cls, rule: object) -> object:
        # YAML takes a bare `true` for a boolean; as a rule it means everyone.
        return str(rule).lower() if isinstance(rule, bool) else rule

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.is_evaluated:
            lacking = [
                name for name in ("owner", "objective", "action", "measure", "review_by") if getattr(self, name) is None
            ]
            if lacking:
                raise ValueError(f"a segment that is {self.lifecycle} needs {', '.join(lacking)}")
        if self.groups is not None and not (self.group is None and self.precedence is None):
            raise tell(
                "groups is given beside group or precedence",
                expected="group and precedence, or groups alone",
                repair="write every group with its rank under groups, and take group and precedence out",
            )
        if (self.group is None) != (self.precedence is None):
            raise ValueError("group and precedence are given together")
        if (self.lifecycle == "canary") != (self.canary is not None):
            raise ValueError("lifecycle: canary and the key canary are given together")
        if self.canary is not None and self.entity != "customer":
            raise ValueError("a canary draws customers: a segment of accounts can't be one")
        return self

    @model_validator(mode="after")
    def _kind_fits(self) -> Self:
        if self.entity == "account" and self.kind != "rule":
            raise ValueError("a segment of accounts is of kind rule: lists name customers")
        has_rule = bool(self.rule and self.rule.strip())
        if self.kind == "list" and (has_rule or not self.include):
            raise ValueError("a list has entries under include and no rule")
        if self.kind != "list" and not has_rule:
            raise ValueError(f"kind {self.kind} needs a rule")
        if self.kind == "hybrid" and not self.include:
            raise ValueError("a hybrid has a rule and entries under include")
        if self.kind == "rule" and self.include:
            raise ValueError("a rule with entries under include is of kind hybrid")
        return self


class Group(_Model):
    """An exclusive group: a customer is in one of its segments at most; of two that claim them, the lower rank wins."""

    key: Key
    name: Text
    description: Text
    default: Key | None = Field(None, description="The segment of those whom no other segment of the group takes.")
    parent: Key | None = Field(None, description="Group of which a customer must be in a segment to be in this one.")
    costing: bool = Field(False, description="Whether costs are split by this group; true for exactly one.")


class Groups(_Model):
    """The file ``groups.yml``."""

    groups: list[Group] = Field(default_factory=list)
