"""Which segments rule each other out, and in which order they are decided where a segment is in several groups.

Belongs here: the order of ranks over groups that hang together, its cycles, and the rows that say who is in which
group. Does not belong here: the SQL that decides customers (``decisions.py``).

One segment *beats* another where both are in one group and it ranks better there; pins beat all that is not pinned. A
claim makes a member where nobody who beats it is a member. That is the kernel of the relation: on a relation without
cycles there is exactly one (von Neumann and Morgenstern, Theory of Games and Economic Behavior, 1944), so who is a
member follows from the claims alone. Pins bring no cycle: what is not pinned never beats what is.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import takewhile

from segmentation.errors import CandidateError

#: Rank by exclusive group.
Ranks = Mapping[str, int]


def _by_group_sql(text: str) -> str:
    """Return SQL that makes a row of each group, as ``key`` and ``value``, of ranks written as JSON."""
    return f"unnest(map_entries(cast(cast({text} as json) as map(varchar, integer))))"


_SEVERAL = "definition ->> '$.groups'"


def ranks_sql(catalog: str) -> str:
    """Return a query of ``segment_key, group_key, precedence``: every segment of a catalog in each of its groups.

    Args:
        catalog: ``segments.catalog`` or what has its columns. Of a segment in several groups ``group_key`` is null
            there: its definition says which.
    """
    return (
        f"(select segment_key, group_key, precedence from {catalog} where group_key is not null union all "
        f"select segment_key, held.key, held.value from (select segment_key, {_by_group_sql(_SEVERAL)} as held "
        f"from {catalog} where {_SEVERAL} is not null))"
    )


#: ``segments.candidate_places`` once per group, numbered such that the lower ``standing`` of a group's segments wins.
GROUPED_PLACES = (
    "(select *, row_number() over (order by pin_id is null, precedence, segment_key) as standing from ("
    "select * from segments.candidate_places where group_key is not null union all "
    "select * exclude (held) replace (held.key as group_key, held.value as precedence) "
    f"from (select *, {_by_group_sql('ranks')} as held from segments.candidate_places where ranks is not null)))"
)

#: Place and group: within which groups a customer moves who enters or leaves a segment.
MOVING_GROUPS = (
    "(select place, moving_group_key as group_key from segments.candidate_places where moving_group_key is not null "
    f"union all select place, held.key from (select place, {_by_group_sql('moving_ranks')} as held "
    "from segments.candidate_places where moving_ranks is not null))"
)


def connect_groups(ranks: Iterable[Ranks]) -> dict[str, frozenset[str]]:
    """Return, by group, the groups that are decided with it: those that share a segment with it, or with one of those.

    A group whose segments are in no other is alone.
    """
    sets: dict[str, frozenset[str]] = {}
    for groups in ranks:
        joined = frozenset(groups).union(*(sets.get(group, ()) for group in groups))
        for group in joined:
            sets[group] = joined
    return sets


def rivals_of(group: str, ranks: Mapping[str, Ranks], pinned: Collection[str] = ()) -> list[str]:
    """Return the segments of a group, those that win first."""
    found = [key for key, groups in ranks.items() if group in groups]
    return sorted(found, key=lambda key: (key not in pinned, ranks[key][group], key))


def rounds_of(ranks: Mapping[str, Ranks], pinned: Collection[str] = ()) -> list[list[str]]:
    """Return segments in rounds, such that each is decided by its own round and the rounds before.

    Of a group, a round holds segments that follow each other and are in that group alone, in the order of their ranks.
    A segment in several groups comes a round after the last of those that beat it.

    Args:
        ranks: By segment, without cycles.
        pinned: Segments that beat all others of their groups.

    Raises:
        CandidateError: There is a cycle.
    """
    rounds, stuck = _schedule(ranks, pinned)
    if stuck:
        shown = "; ".join(", ".join(f"{key} in {group}" for key, group in cycle) for cycle in find_cycles(ranks))
        raise CandidateError(
            f"segments win over each other in a circle, each over the next: {shown}",
            where="catalog/segments, the key groups",
            expected="ranks by which, of segments that share groups, the same one wins wherever they meet",
            repair="strata validate names the files; a past version whose ranks go round with today's can't be decided",
        )
    return rounds


def find_cycles(ranks: Mapping[str, Ranks]) -> Iterator[list[tuple[str, str]]]:
    """Yield the shortest way round each cycle: segments, each with the group in which it beats the next one.

    Of cycles that share a segment one is found.

    Args:
        ranks: By segment.
    """
    left = _schedule(ranks)[1]
    beaten: dict[str, dict[str, str]] = {key: {} for key in left}
    for group in sorted({group for key in left for group in ranks[key]}):
        rivals = [key for key in rivals_of(group, ranks) if key in left]
        for number, winner in enumerate(rivals):
            for loser in rivals[number + 1 :]:
                beaten[winner].setdefault(loser, group)
    while True:
        cycles = [way for key in sorted(left) if (way := _way_round(key, beaten, left))]
        if not cycles:
            return
        shortest = min(cycles, key=len)
        yield [(key, beaten[key][after]) for key, after in zip(shortest, [*shortest[1:], shortest[0]], strict=True)]
        left = left - set(shortest)


def _schedule(ranks: Mapping[str, Ranks], pinned: Collection[str] = ()) -> tuple[list[list[str]], frozenset[str]]:
    """Return the rounds, and the segments that come into none: those of cycles, and those that cycles beat."""
    waiting = {
        group: rivals_of(group, ranks, pinned) for group in sorted({one for found in ranks.values() for one in found})
    }
    rounds: list[list[str]] = []
    while any(waiting.values()):
        # Whoever is first in all of its groups is beaten by nobody who still waits.
        first = {keys[0] for keys in waiting.values() if keys}
        decided = sorted(
            key for key in first if len(ranks[key]) > 1 and all(waiting[group][0] == key for group in ranks[key])
        )
        for keys in waiting.values():
            decided += takewhile(lambda key: len(ranks[key]) == 1, keys)
        if not decided:
            break
        rounds.append(decided)
        gone = set(decided)
        waiting = {group: [key for key in keys if key not in gone] for group, keys in waiting.items()}
    return rounds, frozenset(key for keys in waiting.values() for key in keys)


def _way_round(start: str, beaten: Mapping[str, Mapping[str, str]], left: Collection[str]) -> list[str]:
    """Return the shortest way from a segment to itself; none where there is none."""
    before: dict[str, str] = {}
    waiting = [start]
    for key in waiting:
        for loser in sorted(beaten[key].keys() & left):
            if loser == start:
                way = [key]
                while way[-1] != start:
                    way.append(before[way[-1]])
                return way[::-1]
            if loser not in before:
                before[loser] = key
                waiting.append(loser)
    return []
