"""What the customers who move are worth, ask for and look like, and what consent does to them.

Belongs here: sections of a plan that read features of those who move. Does not belong here: who moves
(``plan_effects.py``). Cost follows from those who move alone: nobody else is looked at.

No personal data is shown: of a customer the id, which is ours, and features that a rule names, but no identifiers and
no text that fewer than ``RARE`` customers share.
"""

from collections.abc import Sequence
from datetime import datetime

from segmentation.segments.conditions import AS_OF, PURPOSES, features_of
from segmentation.segments.kinds import Kind, kind_of
from segmentation.segments.plan_effects import reached_from
from segmentation.segments.plan_sections import Column, ColumnKind, PlanContext, Section
from segmentation.warehouse import Connection, quote

#: Customers shown per segment and direction.
SAMPLE = 3
#: A text that fewer customers share is not shown: it could tell who somebody is.
RARE = 20
#: Units of features that name somebody, or something that belongs to somebody.
_NAMING_UNITS = ("id", "identifier", "text", "email", "phone", "name", "address")

#: Features shown of one customer at most.
_FEATURES = 8

_MOVERS = """
select p.segment_key, m.is_entry, {values}
from segments.candidate_moves as m
inner join segments.candidate_places as p on m.place = p.place
inner join features.customer_features as f on m.customer_id = f.customer_id
group by 1, 2
"""

# Every member of an account carries the account's: it counts once per segment and direction.
_ONCE = """
select segment_key, is_entry, cast(sum(amount) as bigint)
from (
    select p.segment_key, m.is_entry, {owner} as owner, max(f.mrr_micros) as amount
    from segments.candidate_moves as m
    inner join segments.candidate_places as p on m.place = p.place
    inner join features.customer_features as f on m.customer_id = f.customer_id
    group by 1, 2, 3
) group by 1, 2
"""


def revenue_section(context: PlanContext) -> Sequence[Section]:
    """Return the revenue of those who enter and leave each segment."""
    present = _columns(context.con)
    sums: dict[str, str] = {}
    if "revenue_micros_365d" in present:
        sums["in 365 days"] = _MOVERS.format(values="cast(coalesce(sum(f.revenue_micros_365d), 0) as bigint)")
    if "mrr_micros" in present:
        owner = "coalesce(f.account_id, f.customer_id)" if "account_id" in present else "f.customer_id"
        sums["recurring a month"] = _ONCE.format(owner=owner)
    note = "Of the customers who move, in the currencies they paid in; an account's recurring revenue counts once."
    return _moved(context, "revenue", "Revenue that moves", sums, "money", note)


def traffic_section(context: PlanContext) -> Sequence[Section]:
    """Return the requests of those who enter and leave each segment."""
    if "requests_30d" not in _columns(context.con):
        return []
    sums = {"requests in 30 days": _MOVERS.format(values="cast(coalesce(sum(f.requests_30d), 0) as bigint)")}
    return _moved(context, "traffic", "Traffic that moves", sums, "count", "Of the customers who move.")


def _moved(
    context: PlanContext, name: str, title: str, sums: dict[str, str], kind: ColumnKind, note: str
) -> Sequence[Section]:
    """Return a section of sums per segment: of those who enter, of those who leave, and the difference."""
    found: dict[str, dict[tuple[str, bool], int]] = {}
    for heading, query in sums.items():
        for key, is_entry, amount in context.con.execute(query).fetchall():
            found.setdefault(key, {})[heading, is_entry] = amount or 0
    rows = []
    for key, amounts in sorted(found.items()):
        cells: list[int] = []
        for heading in sums:
            entering, leaving = amounts.get((heading, True), 0), amounts.get((heading, False), 0)
            cells += [entering, leaving, entering - leaving]
        if any(cells):
            rows.append((key, *cells))
    columns = [Column("segment")]
    for heading in sums:
        columns += [Column(f"{heading}: entering", kind), Column("leaving", kind), Column("net", kind)]
    return [Section(name, title, tuple(columns), tuple(rows), (note,))] if rows else []


def consent_section(context: PlanContext) -> Sequence[Section]:
    """Return what changes about consent: purposes that are asked for, and who moves because of them."""
    by_cause = {
        (key, change): customers
        for key, change, customers in context.con.execute(
            "select segment_key, change, count(*) from segments.candidate_changes where cause = 'consent' group by all"
        ).fetchall()
    }
    rows = []
    for key in sorted({*context.live.segments, *context.catalog.segments}):
        before, after = context.live.segments.get(key), context.catalog.segments.get(key)
        asked = before.required_purposes if before and before.definition.is_evaluated else ()
        asks = after.required_purposes if after and after.definition.is_evaluated else ()
        entering, leaving = by_cause.get((key, "enter"), 0), by_cause.get((key, "exit"), 0)
        unasked = _entering_without(context, key, sorted(set(asked) - set(asks))) if after else 0
        if (before and after and asked != asks) or entering or leaving:
            rows.append((key, _listed(asked), _listed(asks), leaving, entering, unasked))
    columns = (
        Column("segment"), Column("asks for now"), Column("would ask for"), Column("leaving for want of it", "count"),
        Column("entering by it", "count"), Column("entering without a consent no longer asked for", "count"),
    )  # fmt: skip
    return [Section("consent", "Consent", columns, tuple(rows))] if rows else []


def _entering_without(context: PlanContext, key: str, dropped: list[str]) -> int:
    if not dropped:
        return 0
    return int(
        context.con.execute(
            "select count(*) from segments.candidate_changes as c "
            "inner join features.customer_features as f on c.customer_id = f.customer_id "
            "where c.segment_key = ? and c.change = 'enter' and not list_has_all(f.consented_purposes, ?::varchar[])",
            [key, dropped],
        ).fetchall()[0][0]
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "nothing"


def mover_section(context: PlanContext) -> Sequence[Section]:
    """Return some of the customers who enter and leave, with the features that deciding rules read."""
    picked = context.con.execute(
        "select p.segment_key, m.is_entry, min(m.customer_id, $n) from segments.candidate_moves as m "
        "inner join segments.candidate_places as p on m.place = p.place group by 1, 2 order by 1, 2 desc",
        {"n": SAMPLE},
    ).fetchall()
    causes = {
        (key, change, customer): cause
        for key, change, customer, cause in context.con.execute(
            "select segment_key, change, customer_id, cause from segments.candidate_changes "
            "where customer_id in (select unnest($customers::varchar[]))",
            {"customers": sorted({customer for _, _, customers in picked for customer in customers})},
        ).fetchall()
    }
    rows = []
    shown = _Shown(context, picked)
    for key, is_entry, customers in picked:
        change = "enter" if is_entry else "exit"
        rows += [
            (key, change, customer, causes.get((key, change, customer), ""), shown.words(key, customer))
            for customer in customers
        ]
    columns = (Column("segment"), Column("change"), Column("customer"), Column("cause"), Column("features"))
    note = f"Up to {SAMPLE} per segment and direction; a text that fewer than {RARE} customers share is hidden."
    return [Section("movers", "Some of those who move", columns, tuple(rows), (note,))] if rows else []


class _Shown:
    """Describes customers by the features that decide about a segment, as far as they name nobody.

    The features of all who are picked are read at once: the table has a row per customer and no index.
    """

    def __init__(self, context: PlanContext, picked: Sequence[tuple[str, bool, list[str]]]) -> None:
        self._context = context
        self._present = _columns(context.con)
        self._names = {key: self._features(key) for key in dict.fromkeys(key for key, _, _ in picked)}
        self._common: dict[str, set[str]] = {}
        columns = list(dict.fromkeys(name for names in self._names.values() for name in names))
        self._values = {
            row[0]: dict(zip(columns, row[1:], strict=True))
            for row in context.con.execute(
                f"select {', '.join(quote(name) for name in ('customer_id', *columns))} "
                "from features.customer_features where customer_id in (select unnest($customers::varchar[]))",
                {"customers": sorted({customer for _, _, customers in picked for customer in customers})},
            ).fetchall()
        }

    def words(self, key: str, customer_id: str) -> str:
        names = self._names[key]
        if not names:
            return ""
        values = self._values.get(customer_id)
        if values is None:
            return "no features any more"
        return ", ".join(f"{name} {self._word(name, values[name])}" for name in names)

    def _features(self, key: str) -> list[str]:
        """Return what the rules read that decide about a segment: its own, and those of what changed around it."""
        deciding = [key, *sorted(reached_from(self._context, key) & self._context.changed_segments)]
        named: dict[str, None] = {}
        for one in deciding:
            for catalog in (self._context.live, self._context.catalog):
                segment = catalog.segments.get(one)
                if segment and segment.condition:
                    named |= dict.fromkeys(features_of(segment.condition))
        return [name for name in named if self._names_nobody(name)][:_FEATURES]

    def _names_nobody(self, name: str) -> bool:
        if name not in self._present or name in {AS_OF, PURPOSES, "customer_id"}:
            return False
        if self._context.feature_units.get(name, "") in _NAMING_UNITS:
            return False
        return kind_of(self._present[name]) not in {Kind.STRINGS, Kind.OTHER}

    def _word(self, name: str, value: object) -> str:
        if value is None:
            return "null"
        if isinstance(value, datetime):
            # To the day: a moment to the second is as good as a name.
            return f"{value:%Y-%m-%d}"
        if isinstance(value, str):
            return value if value in self._shared(name) else "(rare)"
        if self._context.feature_units.get(name) == "micros" and isinstance(value, int):
            return f"{value / 1_000_000:,.2f}"
        return format(value, ",") if isinstance(value, int) and not isinstance(value, bool) else str(value).lower()

    def _shared(self, name: str) -> set[str]:
        if name not in self._common:
            rows = self._context.con.execute(
                f"select {quote(name)} from features.customer_features group by 1 having count(*) >= {RARE}"
            ).fetchall()
            self._common[name] = {value for (value,) in rows}
        return self._common[name]


def _columns(con: Connection) -> dict[str, str]:
    return {row[0]: row[1] for row in con.execute("describe features.customer_features").fetchall()}
