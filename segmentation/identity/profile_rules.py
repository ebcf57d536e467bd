"""What `catalog/profile.yml` says: which value of an attribute a profile shows where sources say several.

Belongs here: reading and checking the file. Does not belong here: choosing values by it (`survivorship.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from segmentation.documents import Document, read_document, refuse
from segmentation.errors import CatalogProblem, did_you_mean
from segmentation.sources.entities import ENTITIES, IDENTITY_COLUMNS

PROFILE_FILE = "profile.yml"

#: What can prefer one value to another.
Preference = Literal["source_priority", "verified", "recency", "frequency"]

#: Attributes that are identifiers of the customer; only of these, and only of e-mails, is any verified.
CONTACTS = ("email", "phone")

#: Attributes that sources state about whoever a row belongs to.
DESCRIPTIONS = ("first_name", "last_name", "country", "company_name", "residency_region")

ATTRIBUTES = (*CONTACTS, *DESCRIPTIONS)


@dataclass(frozen=True, slots=True)
class DescribingEntity:
    """An entity whose rows state attributes of a customer.

    Attributes:
        name: Table in schema ``sources``.
        key: Its key within a source.
        moment: When a row says so.
        attributes: What it states.
        is_versioned: Whether only the current version of a key counts.
    """

    name: str
    key: str
    moment: str
    attributes: tuple[str, ...]
    is_versioned: bool


#: The most trusted first, which is also the order where ``profile.yml`` gives none.
DESCRIBING = (
    DescribingEntity("customer_records", "source_customer_id", "updated_at", DESCRIPTIONS, is_versioned=True),
    DescribingEntity("form_submissions", "submission_id", "submitted_at", DESCRIPTIONS[:4], is_versioned=True),
    DescribingEntity("orders", "order_id", "ordered_at", ("country",), is_versioned=False),
)

#: More entries than this in one ``source_priority`` can't be told apart.
MAX_PRIORITIES = 30

Priorities = Annotated[tuple[str, ...], Field(max_length=MAX_PRIORITIES, strict=False)]
Order = Annotated[tuple[Preference, ...], Field(min_length=1, strict=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class AttributeRule(_Strict):
    """How one attribute's value is chosen.

    Attributes:
        order: The first of these that tells two values apart decides.
        source_priority: Entities, or ``source/entity``, the most trusted first; the file's own where not given.
    """

    order: Order
    source_priority: Priorities | None = None


_DEFAULT_ORDER: dict[str, Order] = {"email": ("verified", "recency"), "phone": ("recency",)}


class ProfileRules(_Strict):
    """The whole of ``profile.yml``; what it leaves out is as `rule_of` says."""

    source_priority: Priorities = tuple(entity.name for entity in DESCRIBING)
    attributes: dict[str, AttributeRule] = {}

    def rule_of(self, attribute: str) -> tuple[Order, Priorities]:
        """Return the order of preferences of an attribute, and its priorities."""
        rule = self.attributes.get(attribute)
        if rule is None:
            return _DEFAULT_ORDER.get(attribute, ("source_priority", "recency")), self.source_priority
        given = rule.source_priority
        return rule.order, self.source_priority if given is None else given


def load_profile_rules(folder: Path) -> ProfileRules:
    """Read and check ``profile.yml`` in ``folder``; a catalog without the file has the rules that need none.

    Raises:
        CatalogProblems: The file says something that can't be meant; names file and line of each.
    """
    path = folder / PROFILE_FILE
    if not path.exists():
        return ProfileRules()
    document = read_document(path)
    rules = document.parse(ProfileRules, expected="a rule as catalog/profile.yml explains it")
    refuse(chain(_check_attributes(document, rules), _check_priorities(document, rules)))
    return rules


def _check_attributes(document: Document, rules: ProfileRules) -> Iterator[CatalogProblem]:
    for name, rule in rules.attributes.items():
        if name not in ATTRIBUTES:
            what = f"{name} is not an attribute of profiles{did_you_mean(name, ATTRIBUTES)}"
            yield document.problem(what, ("attributes", name), expected=f"one of {', '.join(ATTRIBUTES)}")
        for index, preference in enumerate(rule.order):
            place = ("attributes", name, "order", index)
            if preference in rule.order[:index]:
                yield document.problem(f"{preference} stands there twice", place, expected="each once")
            if preference == "verified" and name != "email":
                what = f"nothing says of a {name} that it is verified"
                yield document.problem(what, place, expected="verified for email alone")


def _check_priorities(document: Document, rules: ProfileRules) -> Iterator[CatalogProblem]:
    able = [entity.name for entity in ENTITIES.values() if set(IDENTITY_COLUMNS) <= set(entity.column_names)]
    yield from _check_list(document, rules.source_priority, ("source_priority",), able)
    for name, rule in rules.attributes.items():
        stating = [entity.name for entity in DESCRIBING if name in entity.attributes] if name in DESCRIPTIONS else able
        place = ("attributes", name, "source_priority")
        yield from _check_list(document, rule.source_priority or (), place, stating)


def _check_list(
    document: Document, priorities: Priorities, place: tuple[str | int, ...], able: list[str]
) -> Iterator[CatalogProblem]:
    for index, entry in enumerate(priorities):
        entity = entry.rpartition("/")[2]
        expected = f"SOURCE/ENTITY, or one of {', '.join(able)}"
        if entity not in able:
            what = f"{entity} does not state it{did_you_mean(entity, able)}"
            yield document.problem(what, (*place, index), expected=expected)
        elif entry in priorities[:index]:
            yield document.problem(f"{entry} stands there twice", (*place, index), expected="each once")
