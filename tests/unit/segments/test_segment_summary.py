"""What the command line shows of each segment: what the domain lists, with its cost."""

from orchestration.commands.segment_summary import summarise_segments
from segmentation.segments.queries import list_segments


def test_a_segment_is_shown_with_its_cost_of_the_newest_month(tiers) -> None:
    assert summarise_segments(tiers.con) == []
    tiers.decide()
    assert {(one.cost_micros, one.cost_per_member_micros) for one in summarise_segments(tiers.con)} == {(None, None)}
    tiers.con.execute("create schema marts")
    tiers.con.execute(
        """
        create table marts.fct_segment_unit_costs_monthly as
        select * from (values
            ('vip', date '2026-09-01', 1, 1),
            ('vip', date '2026-10-01', 3000000, 3000000),
            ('free', date '2026-10-01', 8000000, null)
        ) as t (segment_key, cost_month, exclusive_effective_micros, cost_per_member_micros)
        """
    )
    shown = summarise_segments(tiers.con)
    assert [one.segment_key for one in shown] == [one.segment_key for one in list_segments(tiers.con)]
    costs = {one.segment_key: (one.members, one.cost_micros, one.cost_per_member_micros) for one in shown}
    assert costs["vip"] == (1, 3_000_000, 3_000_000)
    assert costs["free"] == (2, 8_000_000, None)
    assert costs["core"][1:] == (None, None)
