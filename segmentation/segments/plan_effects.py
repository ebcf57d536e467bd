"""Who would be in which segment: sizes, ways between segments, conflicts, guards, and segments affected indirectly.

Belongs here: sections of a plan that follow from membership alone. Does not belong here: what customers are worth
or look like (``plan_values.py``).
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from segmentation.segments.catalog_checks import needed_segments
from segmentation.segments.pins import read_pins
from segmentation.segments.plan_sections import Column, PlanContext, Section
from segmentation.segments.rivalry import MOVING_GROUPS

#: In a matrix, who was or will be in no segment of the group.
NONE = "(none)"

_SIZES = """
with causes as (
    select
        segment_key,
        string_agg(
            cause || case when entered > 0 then ' +' || entered else '' end
            || case when exited > 0 then ' −' || exited else '' end,
            ', ' order by entered + exited desc, cause
        ) as causes
    from (
        select
            segment_key,
            cause,
            count(*) filter (change = 'enter') as entered,
            count(*) filter (change = 'exit') as exited
        from segments.candidate_changes group by all
    ) group by segment_key
)
select
    s.segment_key, s.members_before, s.entering, s.leaving, s.members_before - s.leaving, s.members_after,
    coalesce(c.causes, '')
from segments.candidate_sizes as s
left join causes as c on s.segment_key = c.segment_key
order by s.segment_key
"""

_WAYS = f"""
select group_key, from_key, to_key, count(*)
from (
    select
        m.customer_id,
        g.group_key,
        coalesce(max(p.segment_key) filter (not m.is_entry), $none) as from_key,
        coalesce(max(p.segment_key) filter (m.is_entry), $none) as to_key
    from segments.candidate_moves as m
    inner join segments.candidate_places as p on m.place = p.place
    inner join {MOVING_GROUPS} as g on m.place = g.place
    group by all
)
group by all order by all
"""

_CONFLICTS = """
with counted as (
    select group_key, winner_key, loser_key, 0 as before, count(*) as after
    from segments.candidate_conflicts group by all
    union all
    select group_key, winner_key, loser_key, count(*), 0 from segments.conflicts group by all
)
select group_key, winner_key, loser_key, sum(before)::bigint as before, sum(after)::bigint as after
from counted group by all having sum(before) <> sum(after) order by all
"""

_GUARDS = """
select segment_key, guard, allowed, found
from (
    select
        segment_key,
        unnest([
            {'guard': 'min_size', 'allowed': min_size::double, 'found': members_after::double, 'ok': is_min_size_kept},
            {'guard': 'max_size', 'allowed': max_size, 'found': members_after, 'ok': is_max_size_kept},
            {'guard': 'max_share', 'allowed': max_share, 'found': share, 'ok': is_max_share_kept},
            {'guard': 'max_churn_ratio', 'allowed': max_churn_ratio, 'found': churn_ratio, 'ok': is_max_churn_kept},
            {'guard': 'max_exits', 'allowed': max_exits, 'found': churning, 'ok': is_max_exits_kept}
        ], recursive := true)
    from segments.candidate_sizes where not are_guards_waived
) where not ok
order by all
"""


def size_section(context: PlanContext) -> Sequence[Section]:
    """Return members before and after by segment, with the causes of what differs."""
    rows = context.con.execute(_SIZES).fetchall()
    shown = [row for row in rows if row[2] or row[3] or row[0] in context.changed_segments]
    quiet = len(rows) - len(shown)
    columns = [Column("segment")]
    columns += [Column(name, "count") for name in ("before", "entering", "leaving", "staying", "after")]
    if not shown:
        return []
    notes = (f"{quiet} other segments keep all of their members and gain none.",) if quiet else ()
    return [Section("members", "Members", (*columns, Column("causes")), tuple(shown), notes)]


def transition_sections(context: PlanContext) -> Sequence[Section]:
    """Return a matrix for each exclusive group in which customers move: rows are where from, columns where to."""
    ways: dict[str, dict[tuple[str, str], int]] = defaultdict(dict)
    for group, origin, target, customers in context.con.execute(_WAYS, {"none": NONE}).fetchall():
        ways[group][origin, target] = customers
    staying = dict(
        context.con.execute("select segment_key, members_before - leaving from segments.candidate_sizes").fetchall()
    )
    return [_matrix(context, group, found, staying) for group, found in sorted(ways.items())]


def _matrix(context: PlanContext, group: str, ways: dict[tuple[str, str], int], staying: dict[str, int]) -> Section:
    named = {key for way in ways for key in way}
    ranks = {}
    for key in named - {NONE}:
        # A segment that left the group ranks in it as it did.
        held = [one.segments[key].definition.ranks for one in (context.catalog, context.live) if key in one.segments]
        ranks[key] = (next((found[group] for found in held if group in found), 0), key)
    keys = [*sorted(ranks, key=lambda key: ranks[key]), *([NONE] if NONE in named else [])]
    rows = tuple(
        (origin, *(
            staying.get(origin) if origin == target else ways.get((origin, target), 0) for target in keys
        ))
        for origin in keys
    )  # fmt: skip
    columns = (Column("from ↓ to →"), *(Column(key, "count") for key in keys))
    note = "On the diagonal, who stays; segments that nobody enters or leaves are left out."
    return Section(f"transitions_{group}", f"Moves within group {group}", columns, rows, (note,))


def indirect_section(context: PlanContext) -> Sequence[Section]:
    """Return the segments that keep their definition and change members by another one's."""
    changed = context.changed_segments
    rows = context.con.execute(
        "select segment_key, count(*) filter (change = 'enter'), count(*) filter (change = 'exit') "
        "from segments.candidate_changes where cause = 'rule' group by 1 order by 1"
    ).fetchall()
    found = tuple(
        (key, entering, leaving, ", ".join(sorted(reached_from(context, key) & changed)) or "its group")
        for key, entering, leaving in rows
        if key not in changed
    )
    columns = (Column("segment"), Column("entering", "count"), Column("leaving", "count"), Column("because of"))
    return [Section("indirect", "Segments affected indirectly", columns, found)] if found else []


def reached_from(context: PlanContext, key: str) -> set[str]:
    """Return the segments that decide about one: those it asks about and its rivals, and theirs."""
    segments, groups = {**context.live.segments, **context.catalog.segments}, context.catalog.groups
    reached: set[str] = set()
    waiting = [key]
    while waiting:
        segment = segments[waiting.pop()]
        own = segment.definition.ranks.keys()
        rivals = {one.key for one in segments.values() if own & one.definition.ranks.keys()}
        new = (needed_segments(segment, segments, groups) | rivals) - reached
        reached |= new
        waiting += sorted(new)
    return reached


def conflict_section(context: PlanContext) -> Sequence[Section]:
    """Return how many more, or fewer, customers two segments of one group claim."""
    rows = tuple(
        (group, winner, loser, before, after, after - before)
        for group, winner, loser, before, after in context.con.execute(_CONFLICTS).fetchall()
    )
    columns = (
        Column("group"), Column("wins"), Column("loses"), Column("before", "count"), Column("after", "count"),
        Column("more", "count"),
    )  # fmt: skip
    note = "Customers whom both segments claim; the one that wins has them."
    return [Section("conflicts", "Conflicts", columns, rows, (note,))] if rows else []


def guard_section(context: PlanContext) -> Sequence[Section]:
    """Return the guards that the outcome breaks, of definitions and of the policy."""
    rows = tuple(
        (key, guard, *_shown(guard, allowed, found))
        for key, guard, allowed, found in context.con.execute(_GUARDS).fetchall()
    )
    columns = (Column("segment"), Column("guard"), Column("allowed"), Column("would be"))
    note = "strata apply refuses, unless it is told --accept guards_are_kept."
    return [Section("guards", "Guards broken", columns, rows, (note,))] if rows else []


def _shown(guard: str, *values: float) -> Iterator[str]:
    for value in values:
        yield f"{value:.1%}" if guard in {"max_share", "max_churn_ratio"} else f"{value:,.0f}"


def pin_section(context: PlanContext) -> Sequence[Section]:
    """Return the segments that people hold to a set of members: what their rules say counts once that ends."""
    rows = tuple(
        (pin.segment_key, pin.sentence, pin.segment_key in context.changed_segments) for pin in read_pins(context.con)
    )
    columns = (Column("segment"), Column("held"), Column("its definition changes"))
    note = "A pin stands in place of rule and lists: a changed rule moves nobody before strata unfreeze."
    shown = tuple((key, held, "yes" if changed else "no") for key, held, changed in rows)
    return [Section("pins", "Pinned segments", columns, shown, (note,))] if rows else []
