"""What a backfill decides by: the definitions of the segments that are asked for, and of all that have a part in them.

Belongs here: choosing versions, and cutting the catalog down to what is needed. Does not belong here: which days
(``backfill_days.py``), and deciding (``backfill_evaluation.py``).

The asked segments are decided by their live version or by a recorded one; everything else (segments that rules ask
about, rivals of a group, parents of a group) by what is live today.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segmentation.errors import NotFoundError, StrataError
from segmentation.segments.catalog import Catalog, assemble, digest
from segmentation.segments.catalog_checks import needed_segments
from segmentation.segments.catalog_reader import CatalogReader
from segmentation.segments.compiled import CatalogSegment
from segmentation.segments.in_force import definitions_live
from segmentation.segments.kinds import Contract, TypedFeatures, account_types, column_types
from segmentation.segments.moments import require_known
from segmentation.warehouse import Connection


@dataclass(frozen=True, slots=True)
class Subject:
    """One segment that is recomputed.

    Attributes:
        segment_key: The segment.
        segment_version: The version that decides.
        definition_hash: Of that version.
        decision_hash: Of everything that has a part in deciding: other segments, lists, consent.
        purposes: What its members must have consented to.
    """

    segment_key: str
    segment_version: int
    definition_hash: str
    decision_hash: str
    purposes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scope:
    """The segments that are recomputed, and the definitions that are needed for it."""

    subjects: tuple[Subject, ...]
    catalog: Catalog


def choose_scope(
    con: Connection,
    folder: Path,
    contract: Contract | TypedFeatures,
    keys: Sequence[str],
    version: int | None = None,
) -> Scope:
    """Return what the segments called ``keys`` are decided by.

    A canary holds for everybody here, because the question is what its version would do; canaries of other segments
    hold for those for whom they hold today. Pins have no part.

    Args:
        con: The warehouse, or a scratch database over the readers' copy.
        folder: The catalog folder, of which list files and purposes are read alone.
        contract: Feature name to column type.
        keys: The segments.
        version: A recorded version, for one segment alone; else the live ones.

    Raises:
        NotFoundError: There is no such segment, version, or live definition of it.
        StrataError: The segment can't have members, or the version does not fit what is live now.
    """
    keys = list(dict.fromkeys(keys))
    for key in keys:
        require_known(con, key)
    if version is not None and len(keys) != 1:
        raise StrataError(
            f"version {version} of {len(keys)} segments",
            expected="--version with one segment: each has versions of its own",
            repair="strata backfill SEGMENT --version N, one segment at a time",
        )
    live = definitions_live(con, folder, contract)
    segments = dict(live.segments)
    for key in keys:
        segments[key] = _definition(con, folder, contract, live, key, version)
    asked = {key: segments[key] for key in keys}
    for key, segment in asked.items():
        _require_members(segment)
        segments[key] = _for_everybody(segment)
    full, problems = assemble(segments, live.groups)
    errors = [problem for problem in problems if problem.severity == "error"]
    if version is not None and errors:
        raise StrataError(
            f"version {version} of {keys[0]} does not fit what is live now: {errors[0].what}",
            where=errors[0].where,
            expected="a version that can stand beside today's other segments",
            repair="name another version, or none for the live one",
        )
    parts = {key: find_parts(full, [key]) for key in keys}
    catalog = _cut(full, set().union(*parts.values()))
    return Scope(
        tuple(
            Subject(
                segment_key=key,
                segment_version=segment.version or 0,
                definition_hash=segment.definition_hash,
                decision_hash=_decision_hash(catalog, parts[key]),
                purposes=segment.required_purposes,
            )
            for key, segment in asked.items()
        ),
        catalog,
    )


def find_parts(catalog: Catalog, keys: Iterable[str]) -> set[str]:
    """Return the segments that have a part in deciding others: what rules ask about, rivals, parents of groups."""
    found: set[str] = set()
    waiting = list(keys)
    while waiting:
        key = waiting.pop()
        if key in found:
            continue
        found.add(key)
        segment = catalog.segments[key]
        own = segment.definition.ranks.keys()
        waiting += needed_segments(segment, catalog.segments, catalog.groups)
        waiting += [one.key for one in catalog.segments.values() if own & one.definition.ranks.keys()]
    return found


def _definition(
    con: Connection,
    folder: Path,
    contract: Contract | TypedFeatures,
    live: Catalog,
    key: str,
    version: int | None,
) -> CatalogSegment:
    present = live.segments.get(key)
    if present is not None and version in {None, present.version}:
        return present
    rows = con.execute(
        "select segment_version, definition, definition_hash from segments.versions where segment_key = ? order by 1",
        [key],
    ).fetchall()
    known = ", ".join(str(number) for number, _, _ in rows)
    if version is None:
        raise NotFoundError(
            f"segment {key} left the catalog: it has no live version",
            where="segments.catalog",
            expected=f"one of the versions that it had: {known}",
            repair=f"strata backfill {key} --version N",
        )
    found = next(((facts, hash_) for number, facts, hash_ in rows if number == version), None)
    if found is None:
        raise NotFoundError(
            f"segment {key} has no version {version}",
            where="segments.versions",
            expected=f"one of {known}",
            repair=f"strata history {key} lists them",
        )
    reader = CatalogReader(folder, column_types(contract), account_types(contract))
    file = present.file if present else f"{folder.name}/segments/{key}.yml"
    before = len(reader.problems)
    segment = reader.bring_back(json.loads(found[0]), file, present.line() if present else 1, ())
    errors = [problem for problem in reader.problems[before:] if problem.severity == "error"]
    if errors:
        raise StrataError(
            f"version {version} of {key} can't be evaluated any more: {errors[0].what}",
            where=f"segments.versions, {key} version {version}",
            expected="a version that today's features and lists still allow",
            repair="name another version, or none for the live one",
        )
    return replace(segment, version=version, definition_hash=found[1])


def _require_members(segment: CatalogSegment) -> None:
    if not segment.definition.is_evaluated:
        raise StrataError(
            f"nobody can be in {segment.key}: version {segment.version} is {segment.definition.lifecycle}",
            where=f"segments.versions, {segment.key}",
            expected="a version that is active, deprecated or a canary",
            repair=f"strata backfill {segment.key} --version N",
        )


def _for_everybody(segment: CatalogSegment) -> CatalogSegment:
    if segment.definition.canary is None:
        return segment
    definition = segment.definition.model_copy(update={"lifecycle": "active", "canary": None})
    return replace(segment, definition=definition, trial=None)


def _cut(catalog: Catalog, keys: set[str]) -> Catalog:
    segments = {key: one for key, one in catalog.segments.items() if key in keys}
    groups = {group for one in segments.values() for group in one.definition.ranks}
    parents = {catalog.groups[key].definition.parent for key in groups if key in catalog.groups}
    # Whatever does not hold between the parts of a whole that holds is not theirs, such as what another part would say.
    return assemble(segments, {key: one for key, one in catalog.groups.items() if key in groups | parents})[0]


def _decision_hash(catalog: Catalog, keys: set[str]) -> str:
    return digest(
        {
            key: {
                "decided_by": catalog.segments[key].membership_hash,
                # Where an entry stands in its file does not matter.
                "listed": sorted(
                    repr([one.side, one.customer_id, one.id_type, one.id_namespace, one.id_value, str(one.until)])
                    for one in catalog.segments[key].listings
                ),
            }
            for key in sorted(keys)
        }
    )
