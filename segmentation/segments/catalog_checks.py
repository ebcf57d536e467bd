"""What must hold between the files of a catalog: groups, ranks, references, dependencies without cycles.

Belongs here: checks that need more than one definition, and the order of evaluation. Does not belong here:
checks of one file (``definitions.py``) and of a rule (``parser.py``).
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from datetime import date

from segmentation.errors import CatalogProblem, did_you_mean
from segmentation.segments.compiled import CatalogGroup, CatalogSegment
from segmentation.segments.conditions import Always, features_of, segments_of
from segmentation.segments.rivalry import connect_groups, find_cycles
from segmentation.segments.syntax import look_alikes

Segments = Mapping[str, CatalogSegment]
AllGroups = Mapping[str, CatalogGroup]


def due_reviews(segments: Segments, today: date) -> Iterator[CatalogProblem]:
    """Yield a warning for each segment whose review is due or that has expired."""
    for segment in segments.values():
        definition = segment.definition
        if definition.is_evaluated and definition.review_by and definition.review_by <= today:
            yield CatalogProblem(
                segment.file,
                segment.line("review_by"),
                f"the review of {segment.key} was due on {definition.review_by}",
                repair="look at it again and move review_by, or retire the segment",
                severity="warning",
            )
        if definition.is_evaluated and definition.expires_on and definition.expires_on <= today:
            what = f"{segment.key} expired on {definition.expires_on}: it has no members"
            yield CatalogProblem(segment.file, segment.line("expires_on"), what, repair="retire it", severity="warning")


def check_references(segments: Segments, destinations: Collection[str] | None) -> Iterator[CatalogProblem]:
    """Yield a problem for each name of a segment or destination that means nothing."""
    for segment in segments.values():
        for key in asked_segments(segment):
            other = segments.get(key)
            if other is None:
                what = f"in_segment names the unknown segment {key}{look_alikes(key)}{did_you_mean(key, segments)}"
            elif not other.definition.is_evaluated:
                what = f"in_segment names {key}, which is {other.definition.lifecycle}: nobody is in it"
            else:
                continue
            yield CatalogProblem(segment.file, segment.line("rule"), what, expected="the key of an active segment")
        for key in segment.definition.destinations:
            if destinations is not None and key not in destinations:
                yield CatalogProblem(
                    segment.file,
                    segment.line("destinations"),
                    f"unknown destination {key}{did_you_mean(key, destinations)}",
                    expected="a key of destinations.yml",
                )


def check_sensitive(segments: Segments, categories: Mapping[str, Mapping[str, str]]) -> Iterator[CatalogProblem]:
    """Yield a problem for each segment that reads sensitive data, itself or by another segment, and does not say so.

    Args:
        segments: By key.
        categories: By entity, the special category of each feature that has one.
    """
    for segment in segments.values():
        definition = segment.definition
        allowed = set(definition.sensitive or ())
        known = categories.get(definition.entity, {})
        read = features_of(segment.rule) if segment.rule else []
        metrics = [metric.feature for metric in definition.canary.metrics] if definition.canary else []
        for name in dict.fromkeys([*read, *metrics]):
            if known.get(name) and known[name] not in allowed:
                yield _unsaid(segment, known[name], f"reads {name}, which is {known[name]} data", metrics, name)
        for key in asked_segments(segment):
            other = segments.get(key)
            for category in sorted(set(other.definition.sensitive or ()) - allowed if other else ()):
                yield _unsaid(segment, category, f"asks for {key}, which may read {category} data", (), key)


def _unsaid(segment: CatalogSegment, category: str, what: str, metrics: Collection[str], name: str) -> CatalogProblem:
    return CatalogProblem(
        segment.file,
        segment.line("canary" if name in metrics else "rule"),
        f"{segment.key} {what}",
        expected=f"a segment that says so, sensitive: [{category}], or a rule without it",
        repair="take it out of the rule; or, where law and purpose allow it, add the category under sensitive",
    )


def check_groups(segments: Segments, groups: AllGroups) -> Iterator[CatalogProblem]:
    """Yield a problem for each fault in groups, ranks and default segments."""
    members: dict[str, list[CatalogSegment]] = defaultdict(list)
    for segment in segments.values():
        for group in segment.definition.ranks:
            members[group].append(segment)
            if group not in groups:
                yield CatalogProblem(
                    segment.file,
                    segment.line("group", "groups"),
                    f"unknown group {group}{did_you_mean(group, groups)}",
                    expected="a key of groups.yml",
                )
    for group, listed in members.items():
        yield from _check_ranks(group, listed)
    yield from _check_cycles(segments)
    for found in groups.values():
        yield from _check_default(found, segments)
        parent = found.definition.parent
        if parent is not None and parent not in groups:
            what = f"group {found.key} names the unknown parent {parent}{did_you_mean(parent, groups)}"
            yield CatalogProblem(found.file, found.line, what, expected="a key of this file")
    yield from _check_costing(groups)


def _check_ranks(group: str, listed: list[CatalogSegment]) -> Iterator[CatalogProblem]:
    ranks: dict[int | None, CatalogSegment] = {}
    for segment in listed:
        if segment.definition.lifecycle == "retired":
            continue
        rank = segment.definition.ranks[group]
        first = ranks.setdefault(rank, segment)
        if first is not segment:
            yield CatalogProblem(
                segment.file,
                segment.line("precedence", "groups"),
                f"{segment.key} and {first.key} have the same precedence {rank} in group {group}; "
                f"the other is in {first.file}:{first.line('precedence', 'groups')}",
                expected="a precedence of its own for each segment of a group",
                repair=f"free in {group}: {_free_rank(group, listed)}",
            )


def _free_rank(group: str, listed: list[CatalogSegment]) -> int:
    taken = {segment.definition.ranks[group] for segment in listed}
    return next(rank for rank in range(1, len(taken) + 2) if rank not in taken)


def _check_cycles(segments: Segments) -> Iterator[CatalogProblem]:
    """Yield a problem for each circle of segments in which each wins over the next in some group."""
    ranks = {key: one.definition.ranks for key, one in segments.items() if one.definition.lifecycle != "retired"}
    for cycle in find_cycles({key: groups for key, groups in ranks.items() if groups}):
        steps = list(zip(cycle, [*cycle[1:], cycle[0]], strict=True))
        shown = ", ".join(
            f"{winner} ({ranks[winner][group]}) wins over {loser} ({ranks[loser][group]}) in group {group}"
            for (winner, group), (loser, _) in steps
        )
        segment = segments[cycle[0][0]]
        others = ", ".join(f"{segments[key].file}:{segments[key].line('precedence', 'groups')}" for key, _ in cycle[1:])
        yield CatalogProblem(
            segment.file,
            segment.line("precedence", "groups"),
            f"segments win over each other in a circle: {shown}; the others are in {others}",
            expected="ranks by which, of segments that share groups, the same one wins wherever they meet",
            repair="change the ranks of one of them, or take it out of a group",
        )


def _check_default(group: CatalogGroup, segments: Segments) -> Iterator[CatalogProblem]:
    key = group.definition.default
    if key is None:
        return
    default = segments.get(key)
    if default is None or group.key not in default.definition.ranks or not default.definition.is_evaluated:
        what = f"the default {key} of group {group.key} is not an active segment of the group"
        yield CatalogProblem(group.file, group.line, what)
        return
    if others := sorted(set(default.definition.ranks) - {group.key}):
        yield CatalogProblem(
            default.file,
            default.line("groups"),
            f"{key} is the default of group {group.key}, but whom it loses in {', '.join(others)} nobody takes",
            expected=f"a default that is in group {group.key} alone",
            repair=f"write group: {group.key} and precedence, or name another default in {group.file}",
        )
    if default.rule is not None and default.condition != Always(truth=True):
        yield CatalogProblem(
            default.file,
            default.line("rule"),
            f"{key} is the default of group {group.key}, but its rule leaves customers out",
            expected="rule: 'true'",
        )
    ranks = [rank for found in segments.values() if (rank := found.definition.ranks.get(group.key)) is not None]
    if default.definition.ranks[group.key] < max(ranks):
        yield CatalogProblem(
            default.file,
            default.line("precedence", "groups"),
            f"{key} is the default of group {group.key}, but it wins over other segments",
            expected=f"the highest precedence number of the group, above {max(ranks)}",
        )


def _check_costing(groups: AllGroups) -> Iterator[CatalogProblem]:
    chosen = [group for group in groups.values() if group.definition.costing]
    if groups and not chosen:
        first = next(iter(groups.values()))
        yield CatalogProblem(first.file, 1, "no group has costing: true", expected="exactly one, to split costs by")
    for group in chosen[1:]:
        what = f"groups {chosen[0].key} and {group.key} both have costing: true"
        yield CatalogProblem(group.file, group.line, what, expected="exactly one, to split costs by")


def asked_segments(segment: CatalogSegment) -> list[str]:
    """Return the segments that a segment's rule asks about, or that of the version that its canary stands beside."""
    conditions = [segment.condition, *segment.conditions]
    return list(dict.fromkeys(key for one in conditions if one is not None for key in segments_of(one)))


def needed_segments(segment: CatalogSegment, segments: Segments, groups: AllGroups) -> set[str]:
    """Return the segments that must be decided before this one.

    Membership of a segment in a group is known once the whole group is decided, and all groups that are decided with
    it, so all of their segments are needed; likewise those of the parents of the segment's own groups.
    """
    needed: set[str] = set()
    wanted_groups: set[str] = set()
    for name in segment.definition.ranks:
        own = groups.get(name)
        if own and own.definition.parent:
            wanted_groups.add(own.definition.parent)
    for key in asked_segments(segment):
        other = segments.get(key)
        if other is None:
            continue
        needed.add(key)
        wanted_groups.update(other.definition.ranks)
    if not wanted_groups:
        return needed
    evaluated = {key: other.definition.ranks for key, other in segments.items() if other.definition.is_evaluated}
    connected = connect_groups(ranks for ranks in evaluated.values() if len(ranks) > 1)
    wanted_groups = wanted_groups.union(*(connected.get(name, ()) for name in wanted_groups))
    return needed | {key for key, ranks in evaluated.items() if wanted_groups & ranks.keys()}


def dependency_levels(
    segments: Segments, groups: AllGroups
) -> tuple[tuple[tuple[str, ...], ...], list[CatalogProblem]]:
    """Order the evaluated segments such that each level needs earlier levels only.

    A group is decided as one, and with the groups that it shares segments with, so their segments are on one level.
    Returns the levels, and a problem for each segment that is part of a cycle or waits for one.
    """
    evaluated = {key: segment for key, segment in segments.items() if segment.definition.is_evaluated}
    connected = connect_groups(segment.definition.ranks for segment in evaluated.values())
    unit = {
        key: "+".join(sorted(connected[next(iter(segment.definition.ranks))]))
        if segment.definition.ranks
        else f"={key}"
        for key, segment in evaluated.items()
    }
    needs: dict[str, set[str]] = {name: set() for name in unit.values()}
    for key, segment in evaluated.items():
        for other in needed_segments(segment, segments, groups):
            if other in unit:
                needs[unit[key]].add(unit[other])
    levels: list[tuple[str, ...]] = []
    done: set[str] = set()
    while ready := {name for name, wanted in needs.items() if name not in done and wanted <= done}:
        levels.append(tuple(sorted(key for key in evaluated if unit[key] in ready)))
        done |= ready
    return tuple(levels), list(_cycles(evaluated, unit, needs, done))


def _cycles(
    evaluated: Segments, unit: Mapping[str, str], needs: Mapping[str, set[str]], done: set[str]
) -> Iterator[CatalogProblem]:
    reported: set[str] = set()
    for start in sorted(needs.keys() - done):
        path = [start]
        # Whatever is left waits for something that is left, so walking on ends where it has been before.
        while path[-1] not in path[:-1]:
            path.append(min(needs[path[-1]] - done))
        cycle = path[path.index(path[-1]) :]
        if reported & set(cycle):
            continue
        reported |= set(cycle)
        shown = " → ".join(name.removeprefix("=") for name in cycle)
        segment = min((evaluated[key] for key in evaluated if unit[key] == cycle[0]), key=lambda found: found.key)
        yield CatalogProblem(
            segment.file,
            segment.line("rule"),
            f"segments depend on each other in a cycle: {shown}",
            expected="an order in which each can be decided after those it asks about; "
            "asking about a segment of a group waits for the whole group, and for groups that share a segment with it",
            repair="take one in_segment, or one parent, out of the cycle",
        )
