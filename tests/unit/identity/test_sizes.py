"""How many identifiers components hold: every one is counted once, before the guards and after them."""

from collections import Counter
from itertools import pairwise

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assets.identity_trends import CHARTS, build_trends
from segmentation.identity.components import fetch_integers, label_components
from segmentation.identity.scorecard import keep_run_figures, score_published
from segmentation.identity.sizes import CLASSES, CUSTOMERS, RAW, count_by_class, shown


def _ends(name):
    """The least and greatest size of a class, as its name says them."""
    least, _, most = name.replace("_or_more", "_to_1000000000").partition("_to_")
    return int(least), int(most or least)


def test_classes_follow_each_other_without_gap_and_are_readable():
    assert _ends(CLASSES[0])[0] == 1
    assert all(_ends(one)[1] + 1 == _ends(other)[0] for one, other in pairwise(CLASSES))
    assert [shown(name) for name in CLASSES[:3]] == ["1", "2", "3–5"]
    assert shown(CLASSES[-1]) == "100,001 or more"


@given(st.dictionaries(st.integers(1, 300_000), st.integers(1, 9)))
def test_every_component_is_in_the_class_that_its_size_names(counted):
    sizes, counts = (np.array(list(part), dtype=np.int64) for part in (counted.keys(), counted.values()))
    found = count_by_class("n_", sizes, counts)
    for name in CLASSES:
        least, most = _ends(name)
        assert found[f"n_{name}"] == sum(n for size, n in counted.items() if least <= size <= most)


def _read(world, prefix):
    [row] = world.rows(f"select {', '.join(f'{prefix}{name}' for name in CLASSES)} from identity.candidate")
    return {name: n for name, n in zip(CLASSES, row, strict=True) if n}


def test_a_kiosk_is_one_large_component_before_the_guards_and_nobodys_after(world, run):
    for user in range(5):
        world.add("events", event_type="login", user_id=f"u{user}", device_id="kiosk", anonymous_id=f"c{user}")
    world.add("events", anonymous_id="alone")
    world.resolve(run)
    assert _read(world, RAW) == {"11_to_100": 1, "1": 1}
    assert _read(world, CUSTOMERS) == {"2": 5, "1": 1}
    kept = {
        one.slice: one.value
        for one in keep_run_figures(world.con, recorded_at=run.recorded_at)
        if one.metric == "raw_components" and one.value
    }
    assert kept == {"11_to_100": 1, "1": 1}


def test_a_shared_identifier_that_nothing_is_seen_with_any_more_stands_alone(world, run):
    """Its edges were refused by R3 and join nothing else; without them it is a component by itself."""
    for user in range(5):
        world.add("events", user_id=f"u{user}", device_id="kiosk")
    world.resolve(run)
    assert _read(world, RAW) == {"6_to_10": 1}
    assert _read(world, CUSTOMERS) == {"1": 5}


_ROWS = st.lists(
    st.fixed_dictionaries(
        {}, optional={name: st.integers(0, 5) for name in ("user_id", "device_id", "anonymous_id")}
    ).filter(bool),
    min_size=1,
    max_size=25,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_ROWS)
def test_before_the_guards_all_edges_count(world, run, rows):
    world.clear("events")
    for row in rows:
        world.add("events", **{name: f"{name}-{number}" for name, number in row.items()})
    world.build(run)
    ids = [node for (node,) in world.rows("select node_id from identity.candidate_identifiers order by 1")]
    edges = fetch_integers(world.con, "select node_a, node_b from identity.candidate_edges")
    a, b = (np.searchsorted(ids, edges[name]) for name in ("node_a", "node_b"))
    sizes = Counter(Counter(label_components(len(ids), a, b).tolist()).values())
    places = {name: sum(n for size, n in sizes.items() if _ends(name)[0] <= size <= _ends(name)[1]) for name in CLASSES}
    assert _read(world, RAW) == {name: n for name, n in places.items() if n}
    customers = Counter(
        n for (n,) in world.rows("select n_nodes from identity.candidate_customers where status = 'active'")
    )
    assert sum(_read(world, CUSTOMERS).values()) == sum(customers.values())


def test_every_score_has_its_place_in_a_picture_over_runs(world, run, catalog):
    """Also one that is added later: a score that nobody sees over runs tells nothing."""
    world.add("orders", source_customer_id="1", email="ann@mail.test")
    world.resolve(run)
    world.con.execute("create temp table labels as select node_id as record, 'ann' as truth from identity.identifiers")
    drawn = {metric for _, metrics in CHARTS.values() for metric in metrics}
    assert {one.metric for one in score_published(world.con, catalog.rules)} <= drawn
    assert build_trends(world.con) == {}
    keep_run_figures(world.con, recorded_at=run.recorded_at)
    pictures = build_trends(world.con)
    assert {"customers_by_run", "ids_by_run", "largest_by_run"} <= set(pictures) <= set(CHARTS)
