"""The catalog of segments: reading the whole folder, or saying everything that is wrong with it.

Belongs here: files to definitions with compiled rules, versions' hashes, the JSON Schema. Does not belong here:
the keys themselves (``definitions.py``) and checks across files (``catalog_checks.py``). Look next at
``candidate.py``, which evaluates a catalog.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from segmentation.errors import CatalogError
from segmentation.identity.purposes import PURPOSES_FILE, load_purposes
from segmentation.segments import catalog_checks
from segmentation.segments.conditions import Condition
from segmentation.segments.definitions import Group, Groups, Segment
from segmentation.segments.documents import Document, read_document
from segmentation.segments.faults import RuleError, did_you_mean
from segmentation.segments.kinds import Contract, TypedFeatures, column_types
from segmentation.segments.lists import Listing, inline_listing, read_list
from segmentation.segments.parser import parse_rule
from segmentation.segments.problems import CatalogProblem, CatalogProblems, problem_at
from segmentation.segments.rule_sql import to_text

SEGMENTS_FOLDER = "segments"
GROUPS_FILE = "groups.yml"
DESTINATIONS_FILE = "destinations.yml"


@dataclass(frozen=True, slots=True)
class CatalogSegment:
    """A segment's definition, checked and compiled.

    Attributes:
        definition: What its file says.
        condition: Its rule, typed; ``None`` for a list.
        listings: Its inclusion and exclusion lists, entry by entry.
        required_purposes: Purposes a member must have consented to: those whose lawful basis is consent.
        file: Its file, from the catalog folder's name on.
        places: Line of each key in the file.
        definition_hash: Same for definitions that mean the same; see ``definition_hash``.
        membership_hash: Same as long as membership is decided the same way, segments it depends on included.
    """

    definition: Segment
    condition: Condition | None
    listings: tuple[Listing, ...]
    required_purposes: tuple[str, ...]
    file: str
    places: dict[str, int]
    definition_hash: str = ""
    membership_hash: str = ""

    @property
    def key(self) -> str:
        """The segment's key."""
        return self.definition.key

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


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything that the segments stage is told by people.

    Attributes:
        segments: By key, in the order of their keys.
        groups: By key, in the order of the file.
        levels: Keys of evaluated segments; each level depends on earlier ones only.
        warnings: Problems that do not keep the catalog from being used.
    """

    segments: dict[str, CatalogSegment]
    groups: dict[str, CatalogGroup]
    levels: tuple[tuple[str, ...], ...]
    warnings: tuple[CatalogProblem, ...] = ()


def load_catalog(folder: Path, contract: Contract | TypedFeatures) -> Catalog:
    """Read the catalog below ``folder`` (``segments/*.yml``, ``groups.yml``, ``lists/*.csv``).

    Args:
        folder: The catalog folder.
        contract: Feature name to column type; the only columns that rules may name.

    Raises:
        CatalogProblems: With every error found, each with its file and line.
    """
    catalog, problems = _read(folder, column_types(contract))
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
    catalog, problems = _read(folder, column_types(contract))
    if today:
        problems.extend(catalog_checks.due_reviews(catalog.segments, today))
    return sorted(problems, key=lambda problem: (problem.file, problem.line, problem.what))


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
    facts["rule"] = None if condition is None else to_text(condition)
    facts["consent"]["purposes"] = sorted(set(facts["consent"]["purposes"]))
    facts["destinations"] = sorted(set(facts["destinations"]))
    facts["residency"] = sorted(set(facts["residency"]))
    return facts


def digest(facts: object) -> str:
    """Return the SHA-256 of JSON-ready facts, independent of the order of keys."""
    text = json.dumps(facts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _read(folder: Path, contract: Contract) -> tuple[Catalog, list[CatalogProblem]]:
    reader = _Reader(folder, contract)
    groups = reader.groups()
    segments = reader.segments()
    problems = reader.problems
    problems.extend(catalog_checks.check_groups(segments, groups))
    levels, cycles = catalog_checks.dependency_levels(segments, groups)
    problems.extend(catalog_checks.check_references(segments, reader.destinations()))
    problems.extend(cycles)
    return Catalog(_with_hashes(segments, groups, levels), groups, levels), problems


def _with_hashes(
    segments: dict[str, CatalogSegment], groups: dict[str, CatalogGroup], levels: Iterable[Iterable[str]]
) -> dict[str, CatalogSegment]:
    """Add both hashes; dependencies come first, so that a change travels to all that depend on it."""
    deciding = ("kind", "rule", "group", "precedence", "residency", "expires_on")
    ordered = [key for level in levels for key in level]
    ordered.extend(key for key in segments if key not in set(ordered))
    done: dict[str, CatalogSegment] = {}
    for key in ordered:
        segment = segments[key]
        facts = normal_form(segment.definition, segment.condition)
        needed = sorted(catalog_checks.needed_segments(segment, segments, groups))
        group = groups.get(segment.definition.group or "")
        decided_by = {
            **{name: facts[name] for name in deciding},
            "purposes": sorted(segment.required_purposes),
            "is_evaluated": segment.definition.is_evaluated,
            "parent": group.definition.parent if group else None,
            "needs": [done[name].membership_hash for name in needed if name in done],
        }
        done[key] = replace(segment, definition_hash=digest(facts), membership_hash=digest(decided_by))
    return {key: done[key] for key in sorted(done)}


class _Reader:
    def __init__(self, folder: Path, contract: Contract) -> None:
        self._folder = folder
        self._contract = contract
        self.problems: list[CatalogProblem] = []
        self._purposes = self._load_purposes()

    def _shown(self, path: Path) -> str:
        return f"{self._folder.name}/{path.relative_to(self._folder).as_posix()}"

    def _load_purposes(self) -> dict[str, bool] | None:
        """Return purpose to whether it needs consent; ``None`` where nobody declared purposes."""
        if not (self._folder / PURPOSES_FILE).exists():
            return None
        try:
            declared = load_purposes(self._folder).by_name
        except CatalogError as error:
            file = f"{self._folder.name}/{PURPOSES_FILE}"
            self.problems.append(CatalogProblem(file, 1, error.what, expected=error.expected, repair=error.repair))
            return None
        return {name: purpose.basis == "consent" for name, purpose in declared.items()}

    def destinations(self) -> set[str] | None:
        """Return the keys of the destinations; ``None`` where the file is missing, it is not ours to judge."""
        path = self._folder / DESTINATIONS_FILE
        content = read_document(path).content if path.exists() else None
        declared = content.get("destinations") if isinstance(content, dict) else None
        return {str(key) for key in declared} if isinstance(declared, dict) else None

    def groups(self) -> dict[str, CatalogGroup]:
        """Read ``groups.yml``; a missing file means no groups."""
        path = self._folder / GROUPS_FILE
        if not path.exists():
            return {}
        document, file = read_document(path), self._shown(path)
        found = self._model(Groups, document, file)
        groups: dict[str, CatalogGroup] = {}
        for index, group in enumerate(found.groups if isinstance(found, Groups) else ()):
            line = document.place(("groups", index, "key")).line
            if group.key in groups:
                first = groups[group.key].line
                self.problems.append(
                    CatalogProblem(file, line, f"duplicate group {group.key}, first defined in line {first}")
                )
                continue
            groups[group.key] = CatalogGroup(group, file, line)
        return groups

    def segments(self) -> dict[str, CatalogSegment]:
        """Read every file of ``segments/``."""
        found: dict[str, CatalogSegment] = {}
        folder = self._folder / SEGMENTS_FOLDER
        for path in sorted([*folder.glob("*.yml"), *folder.glob("*.yaml")]):
            segment = self._segment(path)
            if segment is None:
                continue
            first = found.get(segment.key)
            if first:
                what = f"duplicate key {segment.key}, first defined in {first.file}:{first.line()}"
                self.problems.append(CatalogProblem(segment.file, segment.line(), what, repair="rename one of the two"))
                continue
            found[segment.key] = segment
        return found

    def _segment(self, path: Path) -> CatalogSegment | None:
        document, file = read_document(path), self._shown(path)
        definition = self._model(Segment, document, file)
        if not isinstance(definition, Segment):
            return None
        if definition.key != path.stem:
            self.problems.append(
                CatalogProblem(
                    file,
                    document.place(("key",)).line,
                    f"the key {definition.key} differs from the file's name",
                    expected=f"the file {definition.key}{path.suffix}",
                    repair="rename the file or the key",
                )
            )
        return CatalogSegment(
            definition=definition,
            condition=self._condition(definition, document, file),
            listings=self._listings(definition, document, file),
            required_purposes=self._required_purposes(definition, document, file),
            file=file,
            places={name: document.place((name,)).line for name in document.content},
        )

    def _model(self, model: type[BaseModel], document: Document, file: str) -> BaseModel | None:
        self.problems.extend(problem_at(file, fault) for fault in document.faults)
        if document.content is None and document.faults:
            return None
        if not isinstance(document.content, dict):
            self.problems.append(CatalogProblem(file, 1, "the file holds no keys", expected="key: value lines"))
            return None
        try:
            return model.model_validate(document.content)
        except ValidationError as error:
            for detail in error.errors():
                place = document.place(tuple(detail["loc"]))
                self.problems.append(
                    CatalogProblem(file, place.line, catalog_checks.say(model, dict(detail)), column=place.column)
                )
            return None

    def _condition(self, definition: Segment, document: Document, file: str) -> Condition | None:
        if definition.rule is None:
            return None
        try:
            return parse_rule(definition.rule, self._contract)
        except RuleError as error:
            for fault in error.faults:
                place = document.within(("rule",), fault.line, fault.column)
                self.problems.append(
                    CatalogProblem(
                        file,
                        place.line,
                        fault.what,
                        column=place.column,
                        expected=fault.expected,
                        repair=fault.repair,
                    )
                )
            return None

    def _listings(self, definition: Segment, document: Document, file: str) -> tuple[Listing, ...]:
        found: list[Listing] = []
        for side, entries in (("include", definition.include), ("exclude", definition.exclude)):
            for index, entry in enumerate(entries):
                line = document.place((side, index)).line
                if entry.file is None:
                    found.append(inline_listing(definition.key, side, entry, f"{file}:{line}"))  # type: ignore[arg-type]
                    continue
                path = self._folder / entry.file
                shown = f"{self._folder.name}/{entry.file}"
                rows, faults = read_list(path, shown, definition.key, side, entry.until)  # type: ignore[arg-type]
                found.extend(rows)
                for fault in faults:
                    problem = problem_at(shown, fault)
                    # A file that is not there has no line: the segment that names it has.
                    self.problems.append(replace(problem, file=file, line=line) if not path.exists() else problem)
        return tuple(found)

    def _required_purposes(self, definition: Segment, document: Document, file: str) -> tuple[str, ...]:
        purposes = dict.fromkeys(definition.consent.purposes)
        for index, name in enumerate(definition.consent.purposes):
            if self._purposes is not None and name not in self._purposes:
                line = document.place(("consent", "purposes", index)).line
                self.problems.append(
                    CatalogProblem(
                        file,
                        line,
                        f"unknown purpose {name}{did_you_mean(name, self._purposes)}",
                        expected=f"a purpose of {self._folder.name}/{PURPOSES_FILE}",
                    )
                )
        # Where nobody declared a lawful basis, every purpose needs consent.
        return tuple(sorted(name for name in purposes if self._purposes is None or self._purposes.get(name, True)))
