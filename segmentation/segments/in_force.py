"""Which definitions a run evaluates: those of the catalog, but for changes that wait for approval.

Belongs here: what is live as a catalog, units of approval, and the mixture of approved and live definitions. Does not
belong here: which change is breaking (``change_classes.py``) and writing approvals down (``approvals.py``).

A unit is approved as one: an exclusive group with all of its segments, or a segment outside of groups; where a
segment is in several groups, or moves from one to another, the groups and their segments are one unit. What is
approved is a step, from what is live to what the catalog says: neither the way back nor another edit is approved with
it.
"""

import json
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segmentation.errors import CandidateError, CatalogProblem
from segmentation.segments.approvals import read_approvals
from segmentation.segments.canaries import with_canaries
from segmentation.segments.canary_metrics import judge_canaries
from segmentation.segments.canary_rows import read_canaries
from segmentation.segments.catalog import Catalog, assemble, digest, load_catalog
from segmentation.segments.catalog_reader import CatalogReader
from segmentation.segments.change_classes import DefinitionChange, compare_catalogs, deciding_form, heaviest
from segmentation.segments.compiled import CatalogGroup, CatalogSegment, Trial
from segmentation.segments.definitions import Group
from segmentation.segments.kinds import Contract, TypedFeatures, account_types, column_types
from segmentation.segments.policy import Policy, given_way, join, load_policy
from segmentation.segments.provenance import CATALOG_AUTHOR, ChangeClass, HeldChange, Provenance
from segmentation.segments.publications import latest_publication
from segmentation.warehouse import Connection, table_exists

#: The unit of the policy.
POLICY = "policy"


@dataclass(frozen=True, slots=True)
class Unit:
    """Definitions that change together, and are approved together.

    Attributes:
        key: ``group:KEY`` by the first of its groups, ``segment:KEY`` without any, or ``policy``.
        segments: Keys of its segments, whether they change or not.
        groups: Keys of its groups.
        changes: What differs, from what is live to what the catalog says.
        base_hash: Of what is live of it.
        target_hash: Of what the catalog says of it.
        change_class: The weightiest of its changes.
    """

    key: str
    segments: frozenset[str]
    groups: frozenset[str]
    changes: tuple[DefinitionChange, ...]
    base_hash: str
    target_hash: str
    change_class: ChangeClass


def definitions_to_evaluate(con: Connection, folder: Path, contract: Contract | TypedFeatures) -> Catalog:
    """Return what a run evaluates of the catalog below ``folder``, and in ``held`` what waits.

    The first publication of all has nothing to be compared with, so it is approved as it is.

    Args:
        con: The warehouse.
        folder: The catalog folder.
        contract: Feature name to column type.

    Raises:
        CatalogProblems: The catalog has errors.
        CandidateError: A definition must be kept and can't be evaluated any more.
    """
    catalog = load_catalog(folder, contract)
    policy = load_policy(folder)
    if not has_published(con):
        return with_policy(with_canaries(None, catalog), policy)
    live = read_live(con, folder, contract)
    catalog = with_canaries(live, catalog)
    approvals = read_approvals(con)

    in_force = read_policy(con)
    weaker = given_way(in_force, policy) if in_force else []
    if in_force and weaker and approver_of_policy(approvals, in_force, policy) is None:
        policy = join(in_force, policy)
    else:
        weaker = []
    units = find_units(live, catalog)
    approvers = {unit.key: approvals.get((unit.key, unit.base_hash, unit.target_hash)) for unit in units}
    approved = {unit.key for unit in units if approvers[unit.key] or not policy.approvals.breaking}
    mixed, held_units = mix_catalogs(live, catalog, units, approved)
    held = [_held_policy(weaker)] if weaker else []
    held += [
        HeldChange(unit.key, change.key, change.what, change.change_class, change.reasons)
        for unit in held_units
        for change in unit.changes
        if change.change_class != "metadata"
    ]
    waiting = {change.subject for change in held}
    provenance = {
        change.key: Provenance(change.change_class, approvers[unit.key] or CATALOG_AUTHOR)
        for unit in units
        for change in unit.changes
        if change.kind == "segment" and change.key not in waiting
    }
    judged = judge_canaries(con, with_policy(mixed, policy))
    return replace(judged, held=tuple(held), provenance=provenance, warnings=catalog.warnings)


def definitions_live(con: Connection, folder: Path, contract: Contract | TypedFeatures) -> Catalog:
    """Return what is live under the policy in force, for a decision about a segment that can't wait.

    Of the folder only list files and purposes are read: neither an edit nor a mistake in it has a part in the decision.
    What waits for approval still waits.

    Raises:
        CandidateError: What is live can't be evaluated any more.
    """
    live = read_live(con, folder, contract)
    if errors := [problem for problem in live.warnings if problem.severity == "error"]:
        raise CandidateError(
            f"what is live can't be evaluated as it is: {errors[0].what}",
            where=errors[0].where,
            expected="definitions that today's features, lists and purposes still allow",
            repair=errors[0].repair or "correct it there; the decision is written, and the next run heeds it",
        )
    rows = con.execute(
        "select unit_key, subject, what, change_class, reasons from segments.held_changes order by all"
    ).fetchall()
    held = tuple(HeldChange(unit, key, what, kind, tuple(reasons)) for unit, key, what, kind, reasons in rows)
    policy = read_policy(con)
    return replace(with_policy(live, policy) if policy else live, held=held)


def with_policy(catalog: Catalog, policy: Policy) -> Catalog:
    """Return a catalog whose segments are guarded by the policy, too."""
    segments = {key: replace(segment, policy_limits=policy.limits(key)) for key, segment in catalog.segments.items()}
    return replace(catalog, segments=segments, policy=policy)


def has_published(con: Connection) -> bool:
    """Say whether anything is live."""
    return table_exists(con, "segments", "publications") and latest_publication(con) is not None


def read_live(con: Connection, folder: Path, contract: Contract | TypedFeatures) -> Catalog:
    """Return what is live as a catalog, its definitions brought back from what was published.

    Raises:
        CandidateError: A published definition can't be brought back, such as one whose feature is gone.
    """
    reader = CatalogReader(folder, column_types(contract), account_types(contract))
    segments: dict[str, CatalogSegment] = {}
    canaries = read_canaries(con)
    rows = con.execute(
        "select segment_key, segment_version, definition, catalog_file, coalesce(catalog_line, 1), "
        "coalesce(purposes, []) from segments.catalog order by segment_key"
    ).fetchall()
    for key, version, definition, file, line, purposes in rows:
        facts = json.loads(definition)
        canary = canaries.get(key) if facts.get("canary") else None
        segment = reader.bring_back(facts, file, line, canary.purposes if canary else purposes)
        trial = None
        if canary is not None:
            base = None
            if canary.base_definition is not None:
                base = reader.bring_back(canary.base_definition, file, line, canary.base_purposes)
                base = replace(base, version=canary.base_version)
            trial = Trial(base, canary.share, canary.state, canary.canary_seq, canary.started_at)
        segments[key] = replace(segment, version=version, trial=trial)
    groups = {
        key: CatalogGroup(
            Group(key=key, name=name, description=description, parent=parent, default=default, costing=costing),
            f"{folder.name}/groups.yml",
            1,
        )
        for key, name, description, parent, default, costing in con.execute(
            "select group_key, name, description, parent_key, default_segment, is_costing "
            "from segments.groups order by group_key"
        ).fetchall()
    }
    catalog, problems = assemble(segments, groups)
    return replace(catalog, warnings=(*reader.problems, *problems))


def read_policy(con: Connection) -> Policy | None:
    """Return the policy in force; ``None`` where none was published yet."""
    rows = con.execute("select policy from segments.policies order by policy_seq desc limit 1").fetchall()
    return Policy.model_validate(json.loads(rows[0][0])) if rows else None


def policy_hash(policy: Policy) -> str:
    """Return the digest of a policy, the same however its file is written."""
    return digest(policy.facts())


def approver_of_policy(approvals: Mapping[tuple[str, str, str], str], before: Policy, after: Policy) -> str | None:
    """Return who approved the step from one policy to the other, if anybody."""
    return approvals.get((POLICY, policy_hash(before), policy_hash(after)))


def find_units(live: Catalog, catalog: Catalog) -> tuple[Unit, ...]:
    """Return the units that differ between what is live and a catalog, in the order of their keys."""
    catalog = with_canaries(live, catalog)
    changes = compare_catalogs(live, catalog)
    found = []
    for names in _components(live, catalog):
        segments = frozenset(name.removeprefix("segment:") for name in names if name.startswith("segment:"))
        groups = frozenset(name.removeprefix("group:") for name in names if name.startswith("group:"))
        own = tuple(change for change in changes if f"{change.kind}:{change.key}" in names)
        if own:
            found.append(
                Unit(
                    key=min(names),
                    segments=segments,
                    groups=groups,
                    changes=own,
                    base_hash=_hash(live, segments, groups),
                    target_hash=_hash(catalog, segments, groups),
                    change_class=heaviest([change.change_class for change in own]),
                )
            )
    return tuple(sorted(found, key=lambda unit: unit.key))


def _components(live: Catalog, catalog: Catalog) -> list[set[str]]:
    """Return what belongs together: segments with their groups, before and after."""
    sets: dict[str, set[str]] = {}
    for one in (live, catalog):
        for key in one.groups:
            sets.setdefault(f"group:{key}", {f"group:{key}"})
        for key, segment in one.segments.items():
            names = {f"segment:{key}", *(f"group:{group}" for group in segment.definition.ranks)}
            joined = set().union(*(sets.get(name, {name}) for name in names))
            for name in joined:
                sets[name] = joined
    return list({id(names): names for names in sets.values()}.values())


def _hash(catalog: Catalog, segments: Iterable[str], groups: Iterable[str]) -> str:
    # What only describes is no part of what was approved: it may change while an approval waits for its run.
    facts: dict[str, Any] = {
        "segments": {key: deciding_form(catalog.segments[key]) for key in segments if key in catalog.segments},
        "groups": {
            key: catalog.groups[key].definition.model_dump(mode="json", exclude={"name", "description"})
            for key in groups
            if key in catalog.groups
        },
    }
    return digest(facts)


def mix_catalogs(
    live: Catalog, catalog: Catalog, units: tuple[Unit, ...], approved: Set[str]
) -> tuple[Catalog, list[Unit]]:
    """Return the catalog with what may not go live as it is live, and the units held for it.

    A breaking change that nobody approved is held. What is kept for it can make another change breaking, such as a
    wider rule where a segment stays that asks who is not in it: the mixture is judged again until nothing more is.

    Args:
        live: What is live.
        catalog: What the catalog says.
        units: What differs between the two.
        approved: Keys of the units that may go live whatever they do.
    """
    held = [unit for unit in units if unit.change_class == "breaking" and unit.key not in approved]
    mixed = catalog
    while held:
        mixed, held = _fit(live, catalog, units, held)
        keys = {unit.key for unit in held}
        now = {(one.kind, one.key): one for one in compare_catalogs(live, mixed) if one.change_class == "breaking"}
        more = [
            # It waits for what it would do beside what is kept.
            replace(
                unit,
                changes=tuple(now.get((one.kind, one.key), one) for one in unit.changes),
                change_class="breaking",
            )
            for unit in units
            if unit.key not in keys
            and unit.key not in approved
            and any((one.kind, one.key) in now for one in unit.changes)
        ]
        if not more:
            break
        held += more
    return mixed, held


def _fit(live: Catalog, catalog: Catalog, units: tuple[Unit, ...], held: list[Unit]) -> tuple[Catalog, list[Unit]]:
    """Return the catalog with the held units as they are live, and all units that had to be held for it.

    Where a definition that changed leans on one that is held, it is held as well; in the end everything is.
    """
    held = list(held)
    while True:
        mixed, problems = _put_together(live, catalog, held)
        errors = [problem for problem in problems if problem.severity == "error"]
        if not errors:
            return mixed, held
        keys = {unit.key for unit in held}
        free = [unit for unit in units if unit.key not in keys]
        if not free:
            raise _unusable(errors[0])
        files = {problem.file for problem in errors}
        involved = [
            unit
            for unit in free
            if any(key in mixed.segments and mixed.segments[key].file in files for key in unit.segments)
        ]
        held += involved or free


def _put_together(live: Catalog, catalog: Catalog, held: list[Unit]) -> tuple[Catalog, list[CatalogProblem]]:
    changes = [change for unit in held for change in unit.changes]
    # What only describes moves nobody, so it goes live whatever else of its unit waits.
    kept = {
        (change.kind, change.key) for change in changes if change.what != "changed" or change.change_class != "metadata"
    }
    segments = {key: one for key, one in catalog.segments.items() if ("segment", key) not in kept}
    segments |= {key: one for key, one in live.segments.items() if ("segment", key) in kept}
    groups = {key: one for key, one in catalog.groups.items() if ("group", key) not in kept}
    groups |= {key: one for key, one in live.groups.items() if ("group", key) in kept}
    files = {one.file for key, one in live.segments.items() if ("segment", key) in kept}
    broken = [one for one in live.warnings if one.severity == "error" and one.file in files]
    if broken:
        raise _unusable(broken[0])
    return assemble(dict(sorted(segments.items())), groups)


def _unusable(problem: CatalogProblem) -> CandidateError:
    return CandidateError(
        f"what is live can't be kept beside the changed catalog: {problem.what}",
        where=problem.where,
        expected="an approved definition that today's features and catalog still allow, or approval of the new one",
        repair="see the change with strata plan, approve it with strata apply; or take it back",
    )


def _held_policy(weaker: list[str]) -> HeldChange:
    return HeldChange(POLICY, POLICY, "changed", "breaking", tuple(weaker))
