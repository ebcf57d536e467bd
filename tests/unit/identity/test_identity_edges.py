"""The measurement of many edges: its ways agree, and its report says what they found."""

from benchmarks import identity_edges
from benchmarks.identity_edges_report import render


def test_all_ways_find_the_same_and_the_report_says_how_dear_they_were(tmp_path):
    with identity_edges.open_house(tmp_path).write() as con:
        world = identity_edges.build_world(con, 4_000, 1)
    ways = {}
    for way, measure in identity_edges.WAYS.items():
        ways[way] = measure(tmp_path)
    identity_edges.require_agreement(ways)
    assert abs(world["edges"] - 4_000) < 200
    assert 0.005 < world["edges_of_the_second_day"] / world["edges"] < 0.02
    # An edge that would join two accounts is refused, so the stage has more customers than there are components.
    assert ways["stage"]["components"] > ways["limit"]["components"]
    assert ways["second_day_changed"]["identifiers_resolved"] < ways["second_day_whole"]["identifiers_resolved"] / 5
    machine = {"cores": 2, "processor": "any", "load": 0.0}
    text = render({"world": world, "ways": ways, "machine": machine, "date": "2026-11-21"})
    assert f"{world['edges']:,} edges" in text
    assert text.count("\n| ") == len(ways) + 2
