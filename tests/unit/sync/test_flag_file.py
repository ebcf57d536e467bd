"""The flag file as real applications read it: through OpenFeature and the flagd provider, in file mode."""

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from openfeature import api
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from openfeature.evaluation_context import EvaluationContext
from openfeature.flag_evaluation import Reason

from segmentation.sync.faults import DestinationError, FencedError
from segmentation.sync.stores.contract import SEGMENTS_KEY, Batch
from segmentation.sync.stores.flagd import FlagdStore, render_flags


@pytest.fixture
def client(company) -> Iterator[object]:
    company.sync()
    provider = FlagdProvider(
        resolver_type=ResolverType.FILE, offline_flag_source_path=company.destination("feature_flags").path
    )
    api.set_provider_and_wait(provider)
    yield api.get_client()
    api.shutdown()


def ask(client, company, customer_id, key="vip"):
    found = company.lookup(customer_id)
    context = EvaluationContext(customer_id, found.evaluation_context())
    return client.get_string_details(f"segment-{key}", "default of the caller", context)


def test_three_answers(client, company):
    assert ask(client, company, "c_0").value == "member"
    assert ask(client, company, "c_5").value == "not_member"
    assert ask(client, company, "c_9").value == "not_member"
    assert ask(client, company, "nobody").value == "unknown"


def test_a_caller_that_passes_nothing_is_told_unknown(client):
    for context in (None, EvaluationContext("c_0"), EvaluationContext("c_0", {"segments": None})):
        assert client.get_string_value("segment-vip", "default", context) == "unknown"


def test_the_answer_says_which_version_of_the_segment(client, company):
    details = ask(client, company, "c_0")
    assert details.reason == Reason.TARGETING_MATCH
    assert details.flag_metadata["version"] == 3
    assert details.flag_metadata["seq"] == 1


def test_a_segment_that_does_not_exist_is_the_callers_default(client, company):
    assert ask(client, company, "c_0", key="no_such").value == "default of the caller"


def test_no_customer_is_in_the_file(company):
    company.sync()
    assert "c_" not in (company.folder / "flags.json").read_text()


def test_a_segment_that_is_gone_is_gone_from_the_file(company, in_step):
    company.sync()
    company.con.execute("delete from segments.catalog where segment_key = 'risky'")
    company.con.execute("delete from segments.membership where segment_key = 'risky'")
    company.sync()
    assert set(company.flags["flags"]) == {"segment-vip", "segment-standard"}
    assert "in_risky" not in company.flags["$evaluators"]
    in_step()


def test_position_and_rules_move_together(company):
    company.sync()
    company.segment("fresh")
    before = company.flags["metadata"]
    company.sync()
    after = company.flags["metadata"]
    assert after["seq"] == before["seq"] + 1
    assert after["ref"] != before["ref"]
    assert after["max_staleness_seconds"] == 3600


@pytest.fixture
def store(tmp_path) -> FlagdStore:
    return FlagdStore("flags", tmp_path / "deep" / "flags.json")


def test_an_older_worker_is_refused(store):
    store.acquire(3)
    store.acquire(4)
    for epoch in (3, 4):
        with pytest.raises(FencedError):
            store.acquire(epoch)
    with pytest.raises(FencedError):
        store.repair(3, [], [])


def test_a_gap_is_refused_and_a_repetition_changes_nothing(store):
    store.acquire(1)
    value = '{"segments":{"vip":{"version":1}}}'
    with pytest.raises(DestinationError, match="lacks what comes before"):
        store.apply(1, Batch(1, 1, "ref", [(SEGMENTS_KEY, value)], []))
    start = store.position()
    store.replace(1, [[(SEGMENTS_KEY, value)]], replace(start, seq=5, ref="a", view_id="v"), lambda point: None)
    store.apply(1, Batch(5, 5, "other", [], [SEGMENTS_KEY]))
    assert list(store.read_back()) == [[(SEGMENTS_KEY, value)]]
    with pytest.raises(DestinationError, match="it stands at 5"):
        store.apply(1, Batch(7, 7, "b", [], []))
    store.apply(1, Batch(6, 6, "b", [], [SEGMENTS_KEY]))
    assert list(store.read_back()) == [[(SEGMENTS_KEY, '{"segments":{}}')]]
    assert store.position().seq == 6
    store.close()


def test_a_file_that_is_gone_while_it_is_delivered_to_is_noticed(store):
    store.acquire(1)
    store.path.unlink()
    assert store.position() is None
    assert list(store.read_back()) == []
    with pytest.raises(FencedError):
        store.repair(1, [], [])


def test_evaluation_is_fast_enough_for_every_request(client, company):
    context = EvaluationContext("c_0", company.lookup("c_0").evaluation_context())
    started = time.process_time()
    for _ in range(200):
        client.get_string_value("segment-vip", "default", context)
    assert (time.process_time() - started) / 200 < 0.005


def test_rendering_depends_on_the_segments_alone():
    value = '{"segments":{"b":{"version":1},"a":{"version":2,"group":"g"}}}'
    assert render_flags(value) == render_flags('{"segments":{"a":{"group":"g","version":2},"b":{"version":1}}}')
