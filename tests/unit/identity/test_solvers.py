"""The stage comes to the same result whoever finds the components."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation.identity.candidate import build_candidate

_VALUE = {
    "email": lambda n: f"person{n}@post.net",
    "user_id": lambda n: f"u{n}",
    "device_id": lambda n: f"d{n}",
    "anonymous_id": lambda n: f"a{n}",
}

#: Rows of few identifiers, so that components are large and limits are broken.
ROWS = st.lists(
    st.dictionaries(st.sampled_from(sorted(_VALUE)), st.integers(0, 4), min_size=1, max_size=3), min_size=1, max_size=25
)


def _tables(world, run, catalog, solver):
    build_candidate(world.con, run, catalog, solver=solver)
    return [
        world.rows("select * from identity.candidate_identifier_map order by node_id"),
        world.rows("select * from identity.candidate_customers order by customer_id"),
        world.rows("select * from identity.candidate_edges order by all"),
        world.rows("select * from identity.candidate"),
    ]


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS)
def test_both_solvers_give_the_same_candidate(world, run, catalog, rows):
    world.clear("events")
    world.clear("orders")
    for row in rows:
        values = {name: _VALUE[name](number) for name, number in row.items()}
        world.add("orders" if "email" in values else "events", **values)
    # The registry is made by the first of them, so that both have the same node ids.
    build_candidate(world.con, run, catalog)
    embedded = _tables(world, run, catalog, "embedded")
    assert _tables(world, run, catalog, "contraction") == embedded


@pytest.mark.parametrize("solver", ["embedded", "contraction"])
def test_a_chain_longer_than_a_customer_is_cut(world, run, catalog, solver):
    for number in range(300):
        world.add("events", device_id=f"d{number}", anonymous_id=f"a{number}")
        world.add("events", device_id=f"d{number}", anonymous_id=f"a{number + 1}")
    world.add("events", device_id="d", anonymous_id="elsewhere")
    build_candidate(world.con, run, catalog, solver=solver)
    [(raw, over, largest, refused)] = world.rows(
        "select raw_max_component, raw_components_over_limit, max_customer_nodes, n_edges_rejected "
        "from identity.candidate"
    )
    assert (raw, over) == (601, 1)
    assert largest <= catalog.rules.max_nodes
    assert refused >= 601 // catalog.rules.max_nodes
