"""What is live as a catalog: its definitions brought back from what was published.

Belongs here: reading ``segments.catalog``, its groups and the policy in force. Does not belong here: what of an edited
catalog may take its place (``in_force.py``).
"""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

from segmentation.segments.canary_rows import read_canaries
from segmentation.segments.catalog import Catalog, assemble
from segmentation.segments.catalog_reader import CatalogReader
from segmentation.segments.compiled import CatalogGroup, CatalogSegment, Trial
from segmentation.segments.definitions import Group
from segmentation.segments.kinds import Contract, TypedFeatures, account_types, column_types
from segmentation.segments.lists import Listing, Side
from segmentation.segments.policy import Policy
from segmentation.segments.publications import latest_publication
from segmentation.warehouse import Connection, table_exists


def has_published(con: Connection) -> bool:
    """Say whether anything is live."""
    return table_exists(con, "segments", "publications") and latest_publication(con) is not None


def read_live(con: Connection, folder: Path, contract: Contract | TypedFeatures) -> Catalog:
    """Return what is live as a catalog, its definitions brought back from what was published.

    Raises:
        CandidateError: A published definition can't be brought back, such as one whose feature is gone.
    """
    reader = CatalogReader(
        folder, column_types(contract), account_types(contract), lambda *place: _published_listings(con, *place)
    )
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


def _published_listings(con: Connection, segment_key: str, side: Side, file: str) -> list[Listing]:
    """Return the entries of a list file as the last publication read them, each by the customer that it stood for.

    An entry that nobody was found for is not among them: what it said is nowhere.
    """
    rows: list[tuple[str, str, date | None, str]] = con.execute(
        "select customer_id, reason, until_date, listed_in from segments.overrides where customer_id is not null "
        "and segment_key = ? and side = ? and starts_with(listed_in, ?) order by all",
        [segment_key, side, f"{file}:"],
    ).fetchall()
    return [
        Listing(segment_key, side, customer, None, "", None, reason, until, place)
        for customer, reason, until, place in rows
    ]


def read_policy(con: Connection) -> Policy | None:
    """Return the policy in force; ``None`` where none was published yet."""
    rows = con.execute("select policy from segments.policies order by policy_seq desc limit 1").fetchall()
    return Policy.model_validate(json.loads(rows[0][0])) if rows else None
