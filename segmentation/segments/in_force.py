"""Which definitions a run evaluates: those of the catalog, but for changes that wait for approval.

Belongs here: what is live as a catalog, units of approval, and the mixture of approved and live definitions. Does not
belong here: which change is breaking (``change_classes.py``) and writing approvals down (``approvals.py``).

A unit is approved as one: an exclusive group with all of its segments, or a segment outside of groups; where a
segment is in several groups, or moves from one to another, the groups and their segments are one unit. What is
approved is a step, from what is live to what the catalog says: neither the way back nor another edit is approved with
it.
"""

from collections.abc import Callable, Container, Iterable, Mapping, Set
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from segmentation.errors import CandidateError, CatalogProblem, CatalogProblems
from segmentation.segments.approvals import Approval, Step, find_approval, find_fates, read_approvals
from segmentation.segments.canaries import with_canaries
from segmentation.segments.canary_metrics import judge_canaries
from segmentation.segments.catalog import Catalog, assemble, digest, load_catalog
from segmentation.segments.change_classes import DefinitionChange, compare_catalogs, deciding_form, heaviest
from segmentation.segments.kinds import Contract, TypedFeatures
from segmentation.segments.live_catalog import has_published, read_live, read_policy
from segmentation.segments.policy import Policy, given_way, join, load_policy
from segmentation.segments.provenance import CATALOG_AUTHOR, ChangeClass, HeldChange, Provenance
from segmentation.segments.refusals import check_first, find_refusals
from segmentation.segments.usages import Usage
from segmentation.warehouse import Connection

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

    @property
    def step(self) -> Step:
        """What its approval approves."""
        return Step(self.key, self.base_hash, self.target_hash)


def definitions_to_evaluate(
    con: Connection,
    folder: Path,
    contract: Contract | TypedFeatures,
    *,
    at: datetime,
    check: Callable[[Catalog, Policy], None] | None = None,
    usages: Iterable[Usage] = (),
) -> Catalog:
    """Return what a run evaluates of the catalog below ``folder``, and in ``held`` what waits.

    The first publication of all has nothing to be compared with, so it is approved as it is.

    Args:
        con: The warehouse.
        folder: The catalog folder.
        contract: Feature name to column type.
        at: The machine's time, UTC: approvals get old.
        check: Called with the catalog and the policy as they were read: what a run was promised is what it reads.
        usages: The places outside of segments that name one, so that it may not go.

    Raises:
        CatalogProblems: The catalog has errors.
        CandidateError: A definition must be kept and can't be evaluated any more.
    """
    catalog = load_catalog(folder, contract)
    policy = load_policy(folder)
    if check:
        check(catalog, policy)
    if not has_published(con):
        if problems := check_first(catalog, policy, folder):
            raise CatalogProblems(problems)
        return with_policy(with_canaries(None, catalog), policy)
    live = read_live(con, folder, contract)
    catalog = with_canaries(live, catalog)
    approvals = read_approvals(con)

    in_force = read_policy(con)
    policy, weaker, taken = _policy_to_heed(in_force, policy, approvals, at)
    units = find_units(live, catalog)
    days = policy.approvals.expire_after_days
    approvers = {unit.key: find_approval(approvals, unit.step, at, days) for unit in units}
    refused = find_refusals(live, catalog, policy, folder, usages)
    units = tuple(_refuse(unit, refused) for unit in units)
    approved = {
        unit.key
        for unit in units
        if (approvers[unit.key] or not policy.approvals.breaking) and not unit.segments & refused.keys()
    }
    mixed, held_units = mix_catalogs(live, catalog, units, approved)
    held = [_held_policy(weaker)] if weaker else []
    held += [
        HeldChange(unit.key, change.key, change.what, change.change_class, (*change.reasons, *_notes(live, change)))
        for unit in held_units
        for change in unit.changes
        if change.change_class != "metadata" or _is_kept(change, mixed, catalog)
    ]
    waiting = {change.subject for change in held}
    provenance = {
        change.key: Provenance(change.change_class, approval.approver if approval else CATALOG_AUTHOR)
        for unit in units
        for approval in (approvers[unit.key],)
        for change in unit.changes
        if change.kind == "segment" and change.key not in waiting
    }
    kept = {unit.key for unit in held_units}
    taken += [unit.step for unit in units if unit.key not in kept and unit.base_hash != unit.target_hash]
    judged = judge_canaries(con, with_policy(mixed, policy))
    return replace(
        judged,
        held=tuple(held),
        provenance=provenance,
        fates=find_fates(approvals, taken),
        warnings=catalog.warnings,
    )


def _refuse(unit: Unit, refused: Mapping[str, CatalogProblem]) -> Unit:
    """Return a unit with what is refused of it among its reasons; it waits whoever approved it."""
    if not unit.segments & refused.keys():
        return unit
    changes = tuple(
        replace(one, reasons=(refused[one.key].what, *one.reasons)) if _is_of(one, refused) else one
        for one in unit.changes
    )
    return replace(unit, changes=changes, change_class="breaking")


def _is_of(change: DefinitionChange, keys: Container[str]) -> bool:
    return change.kind == "segment" and change.key in keys


def _is_kept(change: DefinitionChange, mixed: Catalog, catalog: Catalog) -> bool:
    """Say whether a change is not in what a run evaluates."""
    if change.kind == "group":
        one, other = mixed.groups.get(change.key), catalog.groups.get(change.key)
        return (one and one.definition) != (other and other.definition)
    here, there = mixed.segments.get(change.key), catalog.segments.get(change.key)
    return (here and here.definition_hash) != (there and there.definition_hash)


def _notes(live: Catalog, change: DefinitionChange) -> tuple[str, ...]:
    """Return what is to be known of a live definition that is kept, such as a list file that is gone."""
    kept = live.segments.get(change.key) if change.kind == "segment" else None
    return tuple(one.what for one in live.warnings if kept and one.file == kept.file and one.severity == "warning")


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


def policy_hash(policy: Policy) -> str:
    """Return the digest of a policy, the same however its file is written."""
    return digest(policy.facts())


def policy_step(before: Policy, after: Policy) -> Step:
    """Return what approves the way from one policy to another."""
    return Step(POLICY, policy_hash(before), policy_hash(after))


def _policy_to_heed(
    in_force: Policy | None, written: Policy, approvals: list[Approval], at: datetime
) -> tuple[Policy, list[str], list[Step]]:
    """Return the policy of a run, in words what of the written one waits, and the step that the run takes."""
    if in_force is None:
        return written, [], []
    step = policy_step(in_force, written)
    weaker = given_way(in_force, written)
    if weaker and find_approval(approvals, step, at, in_force.approvals.expire_after_days) is None:
        return join(in_force, written), weaker, []
    return written, [], [step] if step.base_hash != step.target_hash else []


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

    Where a definition that changed leans on one that is held, it is held as well; in the end everything is, what
    only describes included, and a run evaluates what is live.
    """
    held = list(held)
    whole = False
    while True:
        mixed, problems = _put_together(live, catalog, held, whole=whole)
        errors = [problem for problem in problems if problem.severity == "error"]
        if not errors:
            return mixed, held
        keys = {unit.key for unit in held}
        free = [unit for unit in units if unit.key not in keys]
        files = {problem.file for problem in errors}
        involved = [
            unit
            for unit in free
            if any(key in mixed.segments and mixed.segments[key].file in files for key in unit.segments)
        ]
        if not involved and not whole:
            # What moves nobody may still be in the way of what is kept, such as the rank that a draft takes.
            whole = True
            continue
        if not free:
            raise _unusable(errors[0])
        held += involved or free


def _put_together(
    live: Catalog, catalog: Catalog, held: list[Unit], *, whole: bool
) -> tuple[Catalog, list[CatalogProblem]]:
    changes = [change for unit in held for change in unit.changes]
    # What only describes moves nobody, so it goes live whatever else of its unit waits.
    kept = {
        (change.kind, change.key)
        for change in changes
        if whole or change.what != "changed" or change.change_class != "metadata"
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
