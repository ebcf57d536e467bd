"""The figures per segment that summaries show: what the domain lists, with what each segment costs."""

from dataclasses import dataclass, fields

from segmentation.segments.queries import SegmentSummary, list_segments
from segmentation.warehouse import Connection, table_exists


@dataclass(frozen=True, slots=True)
class PricedSegment(SegmentSummary):
    """One segment at a glance; money in micros of the reporting currency.

    Attributes:
        cost_micros: Exclusive cost over the newest billed month.
        cost_per_member_micros: Null where nobody was in the segment or too few for the figure to be shown.
    """

    cost_micros: int | None
    cost_per_member_micros: int | None


_UNIT_COSTS = """
select segment_key, exclusive_effective_micros, cost_per_member_micros
from marts.fct_segment_unit_costs_monthly
where cost_month = (select max(cost_month) from marts.fct_segment_unit_costs_monthly)
"""


def summarise_segments(con: Connection) -> list[PricedSegment]:
    """Return every live segment with its size, its changes and its cost; empty before the first run."""
    costs: dict[str, tuple[int | None, int | None]] = {}
    if table_exists(con, "marts", "fct_segment_unit_costs_monthly"):
        costs = {key: (cost, per_member) for key, cost, per_member in con.execute(_UNIT_COSTS).fetchall()}
    names = [field.name for field in fields(SegmentSummary)]
    found = []
    for one in list_segments(con):
        cost, per_member = costs.get(one.segment_key, (None, None))
        facts = {name: getattr(one, name) for name in names}
        found.append(PricedSegment(**facts, cost_micros=cost, cost_per_member_micros=per_member))
    return found
