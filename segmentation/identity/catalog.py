"""What `catalog/identifiers.yml` says: types of identifiers, their limits, and which rows are evidence.

Belongs here: reading and checking the file. Does not belong here: consent purposes (`purposes.py`), what
profiles prefer (`profile_rules.py`), or applying the rules (`values.py`, `guards.py`, `admission.py`).
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

import duckdb
from pydantic import BaseModel, ConfigDict, Field

from segmentation.documents import Document, read_document, refuse
from segmentation.errors import CatalogProblem, did_you_mean
from segmentation.identity.decisions import BlockPattern, CatalogDecision
from segmentation.identity.email_providers import EmailProvider
from segmentation.identity.normalise import normalise_email
from segmentation.identity.profile_rules import ProfileRules, load_profile_rules
from segmentation.identity.purposes import Purposes, load_purposes
from segmentation.sources.entities import ENTITIES, IDENTITY_COLUMNS
from segmentation.warehouse import Connection

IDENTIFIERS_FILE = "identifiers.yml"

#: Changes whenever `normalise.py` gives other values: what was normalised before is then done again.
NORMALISATION_VERSION = 1

Limit = Annotated[int, Field(ge=1)]
Tier = Annotated[int, Field(ge=1, le=3)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class IdentifierType(_Strict):
    """Rules of one type of identifier; ``identifiers.yml`` explains each."""

    priority: Annotated[int, Field(ge=0, le=9)]
    scope: Literal["global", "source"] = "global"
    max_per_customer: Limit
    degree_limits: dict[str, Limit] = {}
    block_values: tuple[str, ...] = Field(default=(), strict=False)
    block_patterns: tuple[str, ...] = Field(default=(), strict=False)


class EntityEvidence(_Strict):
    """How rows of one entity count as evidence.

    Attributes:
        tier: Strength, 1 to 3; the lower, the stronger.
        first_seen: Column with an earlier moment than the entity's event time.
        verified_by: Boolean column that says the row's e-mail is verified.
        evidence_by: Column whose values in ``evidence_tiers`` count with a tier of their own.
        evidence_tiers: Tier by value of ``evidence_by``.
    """

    tier: Tier
    first_seen: str | None = None
    verified_by: str | None = None
    evidence_by: str | None = None
    evidence_tiers: dict[str, Tier] = {}


class KnownComponent(_Strict):
    """A largest raw component that people have looked at: up to this share of all identifiers it holds nothing back."""

    ratio: Share
    author: Annotated[str, Field(min_length=1)]
    reason: Annotated[str, Field(min_length=1)]


class PublishGate(_Strict):
    """From when on a candidate is unusual (rule R7); ``identifiers.yml`` explains each."""

    raw_max_component_ratio: Share = 0.001
    known_raw_component: KnownComponent | None = None
    known_id_churn_ratio: Share = 0.005
    known_ids_min: Annotated[int, Field(ge=0)] = 20
    merges_factor: Annotated[float, Field(gt=0)] = 5.0
    merges_min: Annotated[int, Field(ge=0)] = 20
    rejected_edge_factor: Annotated[float, Field(gt=0)] = 2.0
    rejected_edge_ratio_min: Share = 0.01
    history: Limit = 28
    history_min: Limit = 5


class IdentifierRules(_Strict):
    """The whole of ``identifiers.yml``; ``decisions`` are those of people (`decisions.py`)."""

    default_region: Annotated[str, Field(pattern="^[A-Z]{2}$")]
    max_nodes: Annotated[int, Field(ge=2)]
    max_value_bytes: Annotated[int, Field(ge=16, le=4096)]
    block_values: tuple[str, ...] = Field(default=(), strict=False)
    shared_namespaces: dict[str, str] = {}
    email_providers: tuple[EmailProvider, ...] = Field(default=(), strict=False)
    verified_account_alias: Limit = 1
    identifiers: dict[str, IdentifierType]
    entities: dict[str, EntityEvidence]
    publish_gate: PublishGate = PublishGate()
    decisions: tuple[CatalogDecision, ...] = Field(default=(), strict=False)

    @property
    def types_by_priority(self) -> tuple[str, ...]:
        """Identifier types, best first; equal priorities keep the order of the canonical columns."""
        return tuple(sorted(IDENTITY_COLUMNS, key=lambda name: self.identifiers[name].priority))

    def placeholders(self, id_type: str) -> frozenset[str]:
        """Blocked values of a type, in lower case."""
        own = self.identifiers[id_type].block_values
        return frozenset(value.lower() for value in (*self.block_values, *own))

    @property
    def normalisation_hash(self) -> str:
        """Fingerprint of everything that decides which identifier a raw value is."""
        parts: dict[str, object] = {
            "version": NORMALISATION_VERSION,
            "namespaces": self.shared_namespaces,
            "types": {
                name: [kind.scope, sorted(self.placeholders(name))] for name, kind in sorted(self.identifiers.items())
            },
        }
        if self.email_providers:
            # Left out where there is none: what was normalised before there could be any stays as it is.
            parts["email_providers"] = [one.model_dump(mode="json") for one in self.email_providers]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class IdentityCatalog:
    """All that people decide about identity."""

    rules: IdentifierRules
    purposes: Purposes
    profile: ProfileRules = field(default_factory=ProfileRules)


def load_identity_catalog(folder: Path) -> IdentityCatalog:
    """Read ``identifiers.yml``, ``purposes.yml`` and ``profile.yml`` in ``folder``.

    Raises:
        CatalogProblems: A file is missing or says something that can't be meant; names file and line of each.
    """
    return IdentityCatalog(load_identifier_rules(folder), load_purposes(folder), load_profile_rules(folder))


def load_identifier_rules(folder: Path) -> IdentifierRules:
    """Read and check ``identifiers.yml`` in ``folder``.

    Raises:
        CatalogProblems: The file is missing or says something that can't be meant; names file and line of each.
    """
    document = read_document(folder / IDENTIFIERS_FILE)
    rules = document.parse(IdentifierRules, expected="a rule as catalog/identifiers.yml explains it")
    checks = (_check_types, _check_patterns, _check_namespaces, _check_providers, _check_entities, _check_decisions)
    refuse(chain.from_iterable(check(document, rules) for check in checks))
    return rules


def _check_types(document: Document, rules: IdentifierRules) -> Iterator[CatalogProblem]:
    known = ", ".join(IDENTITY_COLUMNS)
    for name in rules.identifiers:
        if name not in IDENTITY_COLUMNS:
            what = f"{name} is not a type of identifier{did_you_mean(name, IDENTITY_COLUMNS)}"
            yield document.problem(what, ("identifiers", name), expected=f"one of {known}")
    if missing := [name for name in IDENTITY_COLUMNS if name not in rules.identifiers]:
        what = f"identifiers has no rules for {', '.join(missing)}"
        yield document.problem(what, ("identifiers",), expected=f"each of {known}")
    for name, kind in rules.identifiers.items():
        for other in kind.degree_limits:
            if other not in IDENTITY_COLUMNS or other == name:
                place = ("identifiers", name, "degree_limits", other)
                what = f"{other} can't be limited per {name}"
                yield document.problem(what, place, expected=f"another one of {known}")


def _check_patterns(document: Document, rules: IdentifierRules) -> Iterator[CatalogProblem]:
    for name, kind in rules.identifiers.items():
        for index, pattern in enumerate(kind.block_patterns):
            if fault := pattern_fault(pattern):
                place = ("identifiers", name, "block_patterns", index)
                yield document.problem(f"{pattern!r} is not a regular expression", place, expected=fault)


@cache
def pattern_fault(pattern: str) -> str | None:
    """Return why a text is no regular expression of the engine (RE2; Python's differ), ``None`` where it is one."""
    with _engine().cursor() as engine:
        try:
            engine.execute("select regexp_matches('', ?)", [pattern]).fetchall()
        except duckdb.Error as error:
            return str(error).splitlines()[0]
    return None


@cache
def _engine() -> Connection:
    """Open an empty engine, once: opening one takes longer than all that it is asked."""
    return duckdb.connect(config={"threads": 1})


def _check_namespaces(document: Document, rules: IdentifierRules) -> Iterator[CatalogProblem]:
    for source, namespace in rules.shared_namespaces.items():
        if namespace in rules.shared_namespaces:
            place = ("shared_namespaces", source)
            what = f"{source} shares the ids of {namespace}, which shares those of another source"
            yield document.problem(what, place, expected="the source that owns the ids")


def _check_providers(document: Document, rules: IdentifierRules) -> Iterator[CatalogProblem]:
    seen: set[str] = set()
    for index, provider in enumerate(rules.email_providers):
        for number, domain in enumerate(provider.domains):
            place = ("email_providers", index, "domains", number)
            normal = normalise_email(f"x@{domain}").id_value
            if normal != f"x@{domain}":
                form = normal.partition("@")[2] if normal else "a domain such as mail.example"
                yield document.problem(f"{domain} is not a domain in normal form", place, expected=form)
            if domain in seen:
                yield document.problem(f"{domain} stands there twice", place, expected="each domain once")
            seen.add(domain)


def _check_entities(document: Document, rules: IdentifierRules) -> Iterator[CatalogProblem]:
    able = [entity.name for entity in ENTITIES.values() if set(IDENTITY_COLUMNS) <= set(entity.column_names)]
    for name, evidence in rules.entities.items():
        if name not in able:
            what = f"{name} carries no identifiers{did_you_mean(name, able)}"
            yield document.problem(what, ("entities", name), expected=f"one of {', '.join(able)}")
            continue
        types = {column.name: column.type for column in ENTITIES[name].columns}
        wanted = {"first_seen": "TIMESTAMP", "verified_by": "BOOLEAN", "evidence_by": "VARCHAR"}
        for key, column_type in wanted.items():
            column = getattr(evidence, key)
            if column is not None and types.get(column) != column_type:
                expected = f"a {column_type} column of {name}"
                yield document.problem(f"{key}: {column} can't be used", ("entities", name, key), expected=expected)
        if evidence.evidence_tiers and evidence.evidence_by is None:
            place = ("entities", name, "evidence_tiers")
            expected = "the column that has these values"
            yield document.problem("evidence_tiers needs evidence_by", place, expected=expected)


def _check_decisions(document: Document, rules: IdentifierRules) -> Iterator[CatalogProblem]:
    seen: dict[str, int] = {}
    for index, one in enumerate(rules.decisions):
        place = ("decisions", index, "rule_id")
        if one.rule_id in seen:
            what = f"two decisions are called {one.rule_id}"
            yield document.problem(what, place, expected="a rule_id that no other decision has")
        seen[one.rule_id] = index
        if isinstance(one, BlockPattern) and (fault := pattern_fault(one.pattern)):
            place = ("decisions", index, "pattern")
            yield document.problem(f"{one.pattern!r} is not a regular expression", place, expected=fault)
