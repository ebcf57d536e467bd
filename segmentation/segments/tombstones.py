"""Keys that are used up: a segment that ran, and was retired or removed, keeps its key for ever.

Belongs here: which keys those are, and refusing a definition that takes one for something else. Does not belong
here: who still uses a segment that goes (``usages.py``). Logs, deliveries, invoices and flags name a segment by its
key: a second meaning would make lies of all of them.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date

from segmentation.errors import CatalogProblem, CatalogProblems
from segmentation.segments.catalog import Catalog, normal_form
from segmentation.segments.compiled import CatalogSegment
from segmentation.warehouse import Connection, table_exists

#: What makes it the same segment. The rest may differ after a pause as it may from one version to the next.
_MEANING = ("entity", "kind", "rule")

_TOMBSTONES = """
select
    v.segment_key,
    max(v.segment_version),
    cast(min(v.first_as_of) as date),
    cast(greatest(
        max(v.first_as_of), coalesce((
            select max(s.size_date) from segments.sizes_daily as s
            where s.segment_key = v.segment_key and s.members > 0
        ), max(v.first_as_of))
    ) as date),
    bool_or(c.segment_key is not null),
    arg_max(v.definition, v.segment_version)
from segments.versions as v
left join segments.catalog as c on v.segment_key = c.segment_key
where c.segment_key is null or c.lifecycle = 'retired'
group by v.segment_key
"""


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A key that a segment had.

    Attributes:
        key: The key.
        version: Its last version that ran.
        first_day: Day from which it ran.
        last_day: Last day known to have had members, or on which its last version began.
        is_retired: Its file is still there and says ``retired``; ``False`` for one that was removed.
        definition: What its last version said, in normal form.
    """

    key: str
    version: int
    first_day: date
    last_day: date
    is_retired: bool
    definition: dict[str, object]

    @property
    def sentence(self) -> str:
        """When it ran, for people."""
        end = "retired" if self.is_retired else "removed"
        return f"it ran from {self.first_day} to {self.last_day} as version {self.version} and was {end}"


def read_tombstones(con: Connection) -> dict[str, Tombstone]:
    """Return the keys of segments that ran and are, as published, retired or gone; by key."""
    if not table_exists(con, "segments", "versions"):
        return {}
    return {
        key: Tombstone(key, version, first_day, last_day, is_retired, json.loads(definition))
        for key, version, first_day, last_day, is_retired, definition in con.execute(_TOMBSTONES).fetchall()
    }


def published_files(con: Connection) -> dict[str, str]:
    """Return every key that is published or once ran, with the file that defines, or defined, it."""
    if not table_exists(con, "segments", "versions"):
        return {}
    found = con.execute(
        "select segment_key, coalesce(any_value(catalog_file), 'catalog/segments/' || segment_key || '.yml') "
        "from (from segments.versions select distinct segment_key) left join segments.catalog using (segment_key) "
        "group by 1"
    ).fetchall()
    return dict(found)


def check_tombstones(
    segments: Mapping[str, CatalogSegment], tombstones: Mapping[str, Tombstone]
) -> Iterator[CatalogProblem]:
    """Yield a problem for each segment that takes a used key for something else.

    The same segment may come back: one that decides by the same rule, for example after a removal by mistake.
    """
    for key in sorted(segments.keys() & tombstones.keys()):
        segment, grave = segments[key], tombstones[key]
        if segment.definition.lifecycle == "retired" or _means_the_same(segment, grave):
            continue
        yield CatalogProblem(
            segment.file,
            segment.line("key"),
            f"the key {key} belonged to another segment: {grave.sentence}",
            expected="a key that no segment ever had, or the rule that it had: "
            f"{grave.definition.get('rule') or 'a list'}",
            repair=f"name it {_free_key(key, {*segments, *tombstones})}, and its file likewise",
        )


def refuse_used_keys(con: Connection, catalog: Catalog) -> None:
    """Refuse a catalog in which a used key means something else.

    Raises:
        CatalogProblems: With the file and line of each.
    """
    problems = list(check_tombstones(catalog.segments, read_tombstones(con)))
    if problems:
        raise CatalogProblems(problems)


def _means_the_same(segment: CatalogSegment, grave: Tombstone) -> bool:
    now = normal_form(segment.definition, segment.rule)
    # A list has no rule: what it lists is data, so its name says which segment it is.
    names = (*_MEANING, "name") if segment.rule is None else _MEANING
    return all(now.get(name) == grave.definition.get(name) for name in names)


def _free_key(key: str, taken: set[str]) -> str:
    number = next(number for number in range(2, len(taken) + 3) if f"{key[:58]}_{number}" not in taken)
    return f"{key[:58]}_{number}"
