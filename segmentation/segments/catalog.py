"""The catalog of segments: reading the whole folder, or saying everything that is wrong with it.

Belongs here: the catalog as a whole, the hashes that make versions, the JSON Schema. Does not belong here:
reading files (``catalog_reader.py``) and checks across them (``catalog_checks.py``). Look next at
``candidate.py``, which evaluates a catalog.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

from segmentation.errors import CatalogProblem, CatalogProblems
from segmentation.segments import catalog_checks
from segmentation.segments.catalog_reader import CatalogReader
from segmentation.segments.compiled import CatalogGroup, CatalogSegment
from segmentation.segments.conditions import Condition
from segmentation.segments.definitions import Groups, Segment
from segmentation.segments.kinds import Contract, TypedFeatures, account_types, column_types, sensitive_features
from segmentation.segments.policy import Policy
from segmentation.segments.provenance import Fate, HeldChange, Provenance
from segmentation.segments.rule_sql import to_text

#: Keys that definitions got after the first ones were published: where they say nothing they are left out of the
#: normal form, so that an upgrade alone makes no new version.
_LATER_KEYS = ("slo", "cost_ceiling", "canary", "groups", "sensitive")


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything that the segments stage is told by people.

    Attributes:
        segments: By key, in the order of their keys.
        groups: By key, in the order of the file.
        levels: Keys of evaluated segments; each level depends on earlier ones only.
        warnings: Problems that do not keep the catalog from being used.
        held: Changes that wait for approval; what they would change is here as it was approved.
        provenance: By segment that is new or different, who let it go live.
        policy: The policy in force; ``None`` where nobody asked for one.
        fates: What becomes of approvals once it is published, by their numbers.
    """

    segments: dict[str, CatalogSegment]
    groups: dict[str, CatalogGroup]
    levels: tuple[tuple[str, ...], ...]
    warnings: tuple[CatalogProblem, ...] = ()
    held: tuple[HeldChange, ...] = ()
    provenance: Mapping[str, Provenance] = field(default_factory=dict)
    policy: Policy | None = None
    fates: Mapping[int, Fate] = field(default_factory=dict)

    @property
    def defaults(self) -> tuple[str, ...]:
        """The default segments of all groups: losing to another segment is no conflict for them."""
        return tuple(group.definition.default for group in self.groups.values() if group.definition.default)


def load_catalog(folder: Path, contract: Contract | TypedFeatures) -> Catalog:
    """Read the catalog below ``folder`` (``segments/*.yml``, ``groups.yml``, ``lists/*.csv``).

    Args:
        folder: The catalog folder.
        contract: Feature name to column type; the only columns that rules may name.

    Raises:
        CatalogProblems: With every error found, each with its file and line.
    """
    catalog, problems = read_catalog(folder, contract)
    if any(problem.severity == "error" for problem in problems):
        raise CatalogProblems(problems)
    return replace(catalog, warnings=tuple(problems))


def validate_catalog(
    folder: Path, contract: Contract | TypedFeatures, today: date | None = None
) -> list[CatalogProblem]:
    """Return every problem of the catalog, in the order of files and lines; an empty list means none.

    Args:
        folder: The catalog folder.
        contract: Feature name to column type.
        today: Day against which reviews are due; without it, due reviews are not reported.
    """
    return read_catalog(folder, contract, today)[1]


def read_catalog(
    folder: Path, contract: Contract | TypedFeatures, today: date | None = None
) -> tuple[Catalog, list[CatalogProblem]]:
    """Return what can be read of the catalog, as ``load_catalog`` does, and its problems as ``validate_catalog`` does.

    A segment whose file can't be meant is left out.
    """
    reader = CatalogReader(folder, column_types(contract), account_types(contract))
    groups = reader.groups()
    segments = reader.segments()
    catalog, crossed = assemble(segments, groups, reader.destinations())
    problems = [*reader.problems, *crossed, *catalog_checks.check_sensitive(segments, sensitive_features(contract))]
    if today:
        problems.extend(catalog_checks.due_reviews(segments, today))
    problems.sort(key=lambda problem: (problem.file, problem.line, problem.what))
    return catalog, problems


def assemble(
    segments: dict[str, CatalogSegment], groups: dict[str, CatalogGroup], destinations: Collection[str] | None = None
) -> tuple[Catalog, list[CatalogProblem]]:
    """Make one catalog of definitions, and return what does not hold between them.

    Args:
        segments: By key.
        groups: By key.
        destinations: The keys of all destinations; ``None`` leaves them unchecked.
    """
    levels, cycles = catalog_checks.dependency_levels(segments, groups)
    problems = [
        *catalog_checks.check_groups(segments, groups),
        *catalog_checks.check_references(segments, destinations),
        *cycles,
    ]
    return Catalog(_with_hashes(segments, groups, levels), groups, levels), problems


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of one segment's file, for completion in editors."""
    schema = Segment.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Segment", **schema}


def groups_json_schema() -> dict[str, Any]:
    """Return the JSON Schema of ``groups.yml``."""
    schema = Groups.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Groups", **schema}


def normal_form(definition: Segment, condition: Condition | None) -> dict[str, Any]:
    """Return a definition such that formatting, comments, key order and the rule's wording make no difference."""
    facts = definition.model_dump(mode="json")
    for name in _LATER_KEYS:
        if facts[name] is None:
            del facts[name]
    # What was published is in this form already, also where today's features no longer allow it.
    facts["rule"] = definition.rule if condition is None else to_text(condition)
    facts["consent"]["purposes"] = sorted(set(facts["consent"]["purposes"]))
    facts["destinations"] = sorted(set(facts["destinations"]))
    facts["residency"] = sorted(set(facts["residency"]))
    return facts


def content_hash(catalog: Catalog) -> str:
    """Return the digest of all that people wrote: definitions, groups and the entries of lists."""
    facts = {
        "segments": {
            key: {
                "definition": segment.definition_hash,
                "purposes": list(segment.required_purposes),
                # Where an entry stands in its file does not matter.
                "listings": sorted(
                    repr([one.side, one.customer_id, one.id_type, one.id_namespace, one.id_value, str(one.until)])
                    for one in segment.listings
                ),
            }
            for key, segment in catalog.segments.items()
        },
        "groups": {key: group.definition.model_dump(mode="json") for key, group in catalog.groups.items()},
    }
    return digest(facts)


def digest(facts: object) -> str:
    """Return the SHA-256 of JSON-ready facts, independent of the order of keys."""
    text = json.dumps(facts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _with_hashes(
    segments: dict[str, CatalogSegment], groups: dict[str, CatalogGroup], levels: Iterable[Iterable[str]]
) -> dict[str, CatalogSegment]:
    """Add both hashes; dependencies come first, so that a change travels to all that depend on it."""
    ordered = [key for level in levels for key in level]
    ordered.extend(key for key in segments if key not in set(ordered))
    done: dict[str, CatalogSegment] = {}
    for key in ordered:
        segment = segments[key]
        needed = sorted(catalog_checks.needed_segments(segment, segments, groups))
        ranks = segment.definition.ranks
        parents = {name: groups[name].definition.parent for name in sorted(ranks) if name in groups}
        # A segment in one group says what it said before one could be in several.
        within: dict[str, Any] = (
            {"parents": parents} if len(ranks) > 1 else {"parent": next(iter(parents.values()), None)}
        )
        # What holds for everybody decides as if there were no canary, so that its end moves nobody.
        decided_by = {
            **(
                _deciding_facts(segment.parts[0][1] or segment)
                if len(segment.parts) == 1
                else {"parts": [[upto, _deciding_facts(part) if part else None] for upto, part in segment.parts]}
            ),
            "is_evaluated": any(part for _, part in segment.parts),
            **within,
            # Segments of customers say nothing here: what they were decided by stays the same.
            **({"entity": "account"} if segment.definition.entity == "account" else {}),
            "needs": [done[name].membership_hash for name in needed if name in done],
        }
        facts = normal_form(segment.definition, segment.rule)
        done[key] = replace(segment, definition_hash=digest(facts), membership_hash=digest(decided_by))
    return {key: done[key] for key in sorted(done)}


def _deciding_facts(segment: CatalogSegment) -> dict[str, Any]:
    facts = normal_form(segment.definition, segment.rule)
    names = ("kind", "rule", "group", "precedence", "residency", "expires_on")
    several = {"groups": facts["groups"]} if "groups" in facts else {}
    return {**{name: facts[name] for name in names}, **several, "purposes": sorted(segment.required_purposes)}
