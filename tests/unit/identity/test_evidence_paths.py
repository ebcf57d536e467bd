"""Why two identifiers are one customer: the shortest path; and why they are not: what was refused, and by what."""

from collections import deque
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation.errors import NotFoundError
from segmentation.identity.dossier import open_dossier
from segmentation.identity.evidence_paths import explain_pair
from segmentation.identity.rule_book import Draft, Signature, add_rule


def why(world, a, b):
    return explain_pair(world.con, world.node(a), world.node(b))


def path(answer):
    return [answer.steps[0].start.id_value, *(step.end.id_value for step in answer.steps)] if answer.steps else []


def test_the_shortest_path_with_sources_tiers_times_and_counts(world, run):
    world.add("customer_records", source="crm", source_customer_id="K1", email="ann@shop.com")
    world.add("events", event_type="login", source_customer_id="K1", anonymous_id="cookie")
    world.add("events", event_type="login", source_customer_id="K1", anonymous_id="cookie")
    world.add("form_submissions", email="ann@shop.com", anonymous_id="cookie")
    world.add("events", device_id="phone", anonymous_id="cookie")
    world.resolve(run)
    answer = why(world, "ann@shop.com", "phone")
    assert answer.is_one_customer
    assert path(answer) == ["ann@shop.com", "cookie", "phone"]
    assert all(step.is_admitted for step in answer.steps)
    [evidence] = answer.steps[0].evidence
    assert (evidence.source, evidence.evidence, evidence.tier, evidence.n_obs) == ("shop", "form_submissions", 3, 1)
    assert evidence.first_seen_at == evidence.last_seen_at
    assert answer.separations == ()
    # Two ways of two steps: the stronger evidence is shown.
    world.add("subscriptions", user_id="u", email="ann@shop.com")
    world.add("orders", user_id="u", phone="+447700900123")
    world.add("form_submissions", email="ann@shop.com", device_id="tablet")
    world.add("form_submissions", device_id="tablet", phone="+447700900123")
    world.resolve(run)
    answer = why(world, "ann@shop.com", "+447700900123")
    assert path(answer) == ["ann@shop.com", "u", "+447700900123"]


def test_an_identifier_and_itself(world, run):
    world.add("orders", user_id="u")
    world.resolve(run)
    answer = why(world, "u", "u")
    assert answer.is_one_customer
    assert answer.steps == ()


def test_what_kept_two_apart_is_told_with_whom_it_would_have_joined(world, run):
    world.add("events", event_type="login", user_id="mum", device_id="tablet")
    world.add("events", event_type="login", user_id="dad", device_id="tablet")
    world.add("orders", user_id="dad", email="dad@shop.com")
    world.resolve(run)
    answer = why(world, "mum", "dad@shop.com")
    assert not answer.is_one_customer
    assert path(answer) == ["mum", "tablet", "dad", "dad@shop.com"]
    assert [step.is_admitted for step in answer.steps] == [True, False, True]
    [refused] = answer.steps[1].evidence
    assert refused.reject_rule == "R4 more than 1 user_id"
    assert refused.reason == "it would give one customer more than 1 user_id: mum and dad"


def test_a_shared_value_between_two_is_told(world, run):
    for user in range(5):
        world.add("events", event_type="login", user_id=f"u{user}", device_id="kiosk", anonymous_id=f"c{user}")
    world.resolve(run)
    answer = why(world, "c0", "c4")
    assert path(answer) == ["c0", "u0", "kiosk", "u4", "c4"]
    assert [step.is_admitted for step in answer.steps] == [True, False, False, True]
    assert answer.steps[1].end.status == "shared"
    assert answer.steps[1].end.status_reason == "more than 3 user_id were seen with this device_id: people share it"
    # From the kiosk itself it is one step.
    assert path(why(world, "kiosk", "c4")) == ["kiosk", "u4", "c4"]


def test_nothing_connects_strangers(world, run):
    world.add("orders", user_id="a")
    world.add("orders", user_id="b")
    world.resolve(run)
    answer = why(world, "a", "b")
    assert (answer.is_one_customer, answer.steps, answer.separations) == (False, (), ())
    with pytest.raises(NotFoundError, match="node:99 is not published"):
        explain_pair(world.con, 0, 99)


@pytest.fixture
def separated(world, run, later):
    """Ann and the user of her cookie, merged by a borrowed login and kept apart since."""
    world.add("customer_records", source_customer_id="K1", email="ann@shop.com")
    world.add("events", event_type="login", user_id="u", anonymous_id="cookie")
    world.add("form_submissions", email="ann@shop.com", anonymous_id="cookie")
    world.resolve(run)
    draft = Draft("must_not_link", nodes=(world.node("K1"),), other_nodes=(world.node("u"),))
    add_rule(world.con, world.catalog.rules, draft, Signature("jo", "case 7: a borrowed login", run.recorded_at))
    world.resolve(later(1))
    return world


def test_a_rule_of_people_is_told_with_author_and_reason(separated):
    answer = why(separated, "ann@shop.com", "u")
    assert answer.separations == ("r1 of jo: case 7: a borrowed login",)
    refused = [one for step in answer.steps for one in step.evidence if not one.admitted]
    assert [one.reason for one in refused] == ["kept apart by jo, rule r1: case 7: a borrowed login"]


def test_a_dossier_holds_all_about_a_customer(separated, run, later):
    ann, user = separated.customer("K1"), separated.customer("u")
    dossier = open_dossier(separated.con, ann)
    assert [one.id_value for one in dossier.identifiers] == ["K1", "ann@shop.com"]
    assert (dossier.former_ids, dossier.match_basis, dossier.created_at) == ((), "deterministic", run.as_of)
    assert [(one.event, one.customer_id, one.other_customer_id) for one in dossier.events] == [
        ("split", user, ann),
        ("create", ann, None),
    ]
    assert [rule.rule_id for rule in dossier.rules] == ["r1"]
    assert [(one.inside.id_value, one.outside.id_value, one.outside.customer_id) for one in dossier.refused] == [
        ("ann@shop.com", "cookie", user)
    ]
    assert dossier.refused_count == 1
    separated.con.execute("update identity.rules set valid_to = valid_from, ended_by = 'jo'")
    separated.resolve(later(2))
    merged = open_dossier(separated.con, ann)
    assert merged.former_ids == (user,)
    assert merged.rules == ()


_PAIRS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=14)


@given(_PAIRS, st.data())
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_path_is_as_short_as_any(world, run, pairs, data):
    world.clear("events")
    for a, b in pairs:
        if a != b:
            world.add("events", anonymous_id=f"c{a}", device_id=f"d{b}")
    world.resolve(run)
    edges = {}
    for a, b, admitted in world.rows("select node_a, node_b, admitted from identity.edges"):
        edges.setdefault(a, {})[b] = edges.setdefault(b, {})[a] = admitted
    nodes = sorted(edges)
    if not nodes:
        return
    start, end = data.draw(st.sampled_from(nodes)), data.draw(st.sampled_from(nodes))
    answer = explain_pair(world.con, start, end)
    distance = _distance(edges, start, end)
    if answer.is_one_customer:
        assert len(answer.steps) == distance
    walked = [start, *(step.end.node_id for step in answer.steps)]
    assert all(b in edges[a] for a, b in pairwise(walked))
    assert not answer.steps or walked[-1] == end


def _distance(edges, start, end):
    seen, queue = {start: 0}, deque([start])
    while queue:
        node = queue.popleft()
        for neighbour, admitted in edges[node].items():
            if admitted and neighbour not in seen:
                seen[neighbour] = seen[node] + 1
                queue.append(neighbour)
    return seen.get(end)
