"""Who uses a segment: rules, groups, destinations, cost pools, policies; and refusing to take it away from them.

Belongs here: the places that name a segment, each with file and line, and what follows where it goes. Does not
belong here: names that never meant anything (``catalog_checks.py`` and the catalogs of other stages say those).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from segmentation.errors import CatalogProblem
from segmentation.segments.compiled import CatalogGroup, CatalogSegment
from segmentation.segments.conditions import segments_of


@dataclass(frozen=True, slots=True)
class Usage:
    """One place that names a segment.

    Attributes:
        segment_key: The segment that is named.
        what: What names it, for people.
        where: ``file:line``.
    """

    segment_key: str
    what: str
    where: str


def usages_in_catalog(segments: Mapping[str, CatalogSegment], groups: Mapping[str, CatalogGroup]) -> Iterator[Usage]:
    """Yield what other segments and groups name; what a retired segment asks about is no use."""
    for segment in segments.values():
        if segment.condition is not None and segment.definition.lifecycle != "retired":
            for key in sorted(segments_of(segment.condition)):
                yield Usage(key, f"the rule of {segment.key}", f"{segment.file}:{segment.line('rule')}")
    for group in groups.values():
        if group.definition.default is not None:
            yield Usage(group.definition.default, f"the default of group {group.key}", f"{group.file}:{group.line}")


def check_departures(
    segments: Mapping[str, CatalogSegment],
    published: Mapping[str, str],
    usages: Iterable[Usage],
) -> Iterator[CatalogProblem]:
    """Yield a problem for each segment that is retired, or whose file is gone, while something uses it.

    Args:
        segments: The catalog's segments.
        published: The segments that are published or once ran: key to the file that defined it.
        usages: Every place that names a segment.
    """
    yield from (problem for _, problem in find_departures(segments, published, usages))


def find_departures(
    segments: Mapping[str, CatalogSegment],
    published: Mapping[str, str],
    usages: Iterable[Usage],
) -> Iterator[tuple[str, CatalogProblem]]:
    """Yield what ``check_departures`` does, each with the segment's key."""
    users: dict[str, list[Usage]] = {}
    for usage in usages:
        users.setdefault(usage.segment_key, []).append(usage)
    for key, found in sorted(users.items()):
        segment = segments.get(key)
        if segment is not None and segment.definition.lifecycle == "retired":
            file, line, end = segment.file, segment.line("lifecycle"), "retired"
        elif segment is None and key in published:
            file, line, end = published[key], 1, "removed"
        else:
            continue
        listed = "; ".join(f"{usage.what} ({usage.where})" for usage in found)
        problem = CatalogProblem(
            file,
            line,
            f"{key} is {end}, but it is used in {len(found)} place{'s' if len(found) != 1 else ''}: {listed}",
            expected="a segment that nothing names",
            repair="take it out of the places named first" + ("" if segment else ", or restore its file"),
        )
        yield key, problem
