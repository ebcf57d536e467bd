"""Decisions of people about identifiers (rule R2), as a catalog or a command writes them.

Belongs here: the kinds of decisions, what each must say, and how an identifier is written. Does not belong here:
finding the identifier (`references.py`), or what a decision does to a run (`operator_rules.py`).
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from segmentation.errors import did_you_mean
from segmentation.run import as_utc
from segmentation.sources.entities import IDENTITY_COLUMNS

#: Since when a decision holds that names no beginning: before anything was seen.
ALWAYS = as_utc(datetime(1970, 1, 1, tzinfo=UTC))

#: Digits of the largest node ids that the engine can hold.
_NODE_DIGITS = 18

#: Ids that commands give, and the names that labels of matching have; a catalog must not use them.
_NUMBERED = re.compile(r"[mr][0-9]+")

#: Most identifiers on one side of a decision.
MAX_IDENTIFIERS = 50

_REFERENCE = re.compile(r"(?P<id_type>[a-z_]+)(@(?P<namespace>[^:]+))?:(?P<value>.+)", re.DOTALL)
_REFERENCE_FORM = "TYPE:VALUE, such as email:ann@shop.com, or TYPE@SOURCE:VALUE, or node:NUMBER"


class Reference(NamedTuple):
    """An identifier as people write it.

    Attributes:
        id_type: Its type, or ``node`` where ``value`` is a node id.
        namespace: The source, for types whose values mean something in one source alone; ``None`` for any.
        value: As a source writes it.
    """

    id_type: str
    namespace: str | None
    value: str


def read_reference(text: str) -> Reference:
    """Read ``TYPE:VALUE``, ``TYPE@SOURCE:VALUE`` or ``node:NUMBER``.

    Raises:
        ValueError: It is written otherwise; says how it must be.
    """
    match = _REFERENCE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text[:40]!r} is not {_REFERENCE_FORM}")
    id_type, namespace, value = match["id_type"], match["namespace"], match["value"].strip()
    if id_type == "node" and (not value.isdigit() or len(value) > _NODE_DIGITS):
        raise ValueError(f"{text[:40]!r} names no node: node:NUMBER")
    if id_type not in {"node", *IDENTITY_COLUMNS}:
        raise ValueError(f"{id_type} is not a type of identifier{did_you_mean(id_type, IDENTITY_COLUMNS)}")
    return Reference(id_type, namespace, value)


def _check_reference(text: str) -> str:
    read_reference(text)
    return text


Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
IdType = Literal["source_customer_id", "user_id", "email", "phone", "device_id", "anonymous_id"]
Identifier = Annotated[str, AfterValidator(_check_reference)]
Identifiers = Annotated[tuple[Identifier, ...], Field(min_length=1, max_length=MAX_IDENTIFIERS, strict=False)]
Moment = Annotated[datetime, AfterValidator(as_utc), Field(strict=False)]


class _Decision(BaseModel):
    """What every decision says: its name, who decided it, why, and when it holds."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    rule_id: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{1,60}$")]
    author: Text
    reason: Text
    valid_from: Moment = ALWAYS
    valid_to: Moment | None = None

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if _NUMBERED.fullmatch(self.rule_id):
            raise ValueError(f"rule_id {self.rule_id} is kept for commands; choose one that says what it is about")
        if self.valid_to is not None and self.valid_to <= self.valid_from:
            raise ValueError("valid_to must be after valid_from")
        return self


class MustLink(_Decision):
    """These identifiers belong to one customer."""

    kind: Literal["must_link"]
    identifiers: Annotated[tuple[Identifier, ...], Field(min_length=2, max_length=MAX_IDENTIFIERS, strict=False)]


class MustNotLink(_Decision):
    """No identifier of the one list may be of a customer that has one of the other."""

    kind: Literal["must_not_link"]
    identifiers: Identifiers
    apart_from: Identifiers


class BlockValue(_Decision):
    """These identifiers link nobody."""

    kind: Literal["block_value"]
    identifiers: Identifiers


class BlockPattern(_Decision):
    """Identifiers of this type whose normal form matches link nobody."""

    kind: Literal["block_pattern"]
    id_type: IdType
    pattern: Annotated[str, StringConstraints(min_length=1, max_length=500)]


class MaxPerCustomer(_Decision):
    """One customer holds at most this many identifiers of this type."""

    kind: Literal["max_per_customer"]
    id_type: IdType
    limit: Annotated[int, Field(ge=1)]


class DegreeLimit(_Decision):
    """An identifier of this type with more neighbours of the other type than this is shared by people."""

    kind: Literal["degree_limit"]
    id_type: IdType
    neighbours: IdType
    limit: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _names_two_types(self) -> Self:
        if self.id_type == self.neighbours:
            raise ValueError(f"{self.neighbours} can't be limited per {self.id_type}")
        return self


class MaxNodes(_Decision):
    """One customer holds at most this many identifiers in all."""

    kind: Literal["max_nodes"]
    limit: Annotated[int, Field(ge=2)]


CatalogDecision = Annotated[
    MustLink | MustNotLink | BlockValue | BlockPattern | MaxPerCustomer | DegreeLimit | MaxNodes,
    Field(discriminator="kind"),
]
