import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation.errors import CandidateError
from segmentation.run import Run
from segmentation.segments.candidate import build_candidate
from segmentation.segments.publish import STEPS, publish

PUBLISHED = (
    "membership", "membership_changes", "membership_history", "effective", "conflicts", "catalog", "versions",
    "groups", "overrides", "sizes_daily", "publications", "publication_segments", "pins", "pin_members",
    "canaries",
)  # fmt: skip


def content(company) -> dict[str, list]:
    return {table: company.rows(f"select * from segments.{table} order by all") for table in PUBLISHED}


def test_the_first_publication_is_a_log_of_entries(tiers) -> None:
    tiers.decide()
    assert tiers.members("vip") == {"c_a"}
    assert {(change, cause) for _, _, change, cause in tiers.changes()} == {("enter", "rule")}
    assert tiers.rows("select publication_seq, members, entered, exited from segments.publications") == [(1, 6, 6, 0)]
    tiers.check_consistency()


def test_publishing_again_adds_nothing(tiers) -> None:
    run = tiers.decide()
    before = content(tiers)
    publish(tiers.con, run)
    assert content(tiers) == before


def test_a_replay_of_the_same_state_changes_nothing(tiers) -> None:
    tiers.decide()
    before = content(tiers)
    tiers.decide()
    after = content(tiers)
    for table in ("membership", "membership_changes", "membership_history", "effective", "versions"):
        assert after[table] == before[table]
    assert len(after["publications"]) == 2
    assert [row[:6] for row in after["sizes_daily"]] == [row[:6] for row in before["sizes_daily"]]


def test_a_move_within_a_group_logs_the_exit_first(tiers) -> None:
    tiers.decide()
    tiers.alter("c_a", mrr_micros=7)
    tiers.decide(days=1)
    assert tiers.changes()[-2:] == [("c_a", "vip", "exit", "data"), ("c_a", "core", "enter", "data")]
    history = tiers.rows(
        "select segment_key, valid_from, valid_to, superseded_at is null, cause, exit_cause "
        "from segments.membership_history where customer_id = 'c_a' and segment_key in ('vip', 'core') order by all"
    )
    start, end = datetime(2026, 11, 1), datetime(2026, 11, 2)
    assert history == [
        ("core", end, None, True, "data", None),
        ("vip", start, end, True, "rule", "data"),
        ("vip", start, None, False, "rule", None),
    ]
    assert tiers.rows(
        "select entered, exited, members from segments.sizes_daily where segment_key = 'vip' order by size_date"
    ) == [(1, 0, 1), (0, 1, 0)]
    tiers.check_consistency()


def test_who_was_in_it_then_as_known_then(tiers) -> None:
    first = tiers.decide()
    tiers.alter("c_a", mrr_micros=7)
    second = tiers.decide(days=1)

    def members(at: datetime, known: datetime) -> list[str]:
        return [
            row[0]
            for row in tiers.rows(
                "select customer_id from segments.membership_history where segment_key = 'vip' "
                "and valid_from <= $1 and (valid_to is null or $1 < valid_to) "
                "and recorded_at <= $2 and (superseded_at is null or $2 < superseded_at)",
                at,
                known,
            )
        ]

    assert members(first.as_of, second.recorded_at) == ["c_a"]
    assert members(second.as_of, second.recorded_at) == []
    # Before the second run it was believed that the membership goes on.
    assert members(second.as_of, first.recorded_at) == ["c_a"]


def test_a_stay_corrected_at_its_first_moment_never_was(tiers) -> None:
    tiers.decide()
    tiers.alter("c_a", mrr_micros=7)
    tiers.decide()
    assert tiers.rows("select valid_to from segments.membership_history where segment_key = 'vip'") == [(None,)]
    assert tiers.rows("select superseded_at is null from segments.membership_history where segment_key = 'vip'") == [
        (False,)
    ]
    tiers.check_consistency()


def test_versions_rise_with_the_definition_alone(tiers) -> None:
    def version() -> list:
        return tiers.rows("select segment_version from segments.catalog where segment_key = 'vip'")

    def versions() -> list:
        return tiers.rows("select segment_version from segments.versions where segment_key = 'vip' order by 1")

    tiers.decide()
    tiers.write("vip", "(MRR_MICROS >= 100)  -- the same", group="tier", precedence=1)
    tiers.decide(days=1)
    assert (version(), versions()) == ([(1,)], [(1,)])
    tiers.write("vip", "mrr_micros >= 100", group="tier", precedence=1, description="Other words.")
    tiers.decide(days=2)
    assert (version(), versions()) == ([(2,)], [(1,), (2,)])
    # Who stayed is a member by the version that was evaluated; nobody moved.
    assert tiers.rows("select segment_version from segments.membership where segment_key = 'vip'") == [(2,)]
    assert len(tiers.changes()) == 6
    tiers.write("vip", "mrr_micros >= 100", group="tier", precedence=1, lifecycle="draft")
    tiers.decide(days=3)
    # A draft is no version that ran.
    assert (version(), versions()) == ([(3,)], [(1,), (2,)])
    tiers.write("vip", "mrr_micros >= 100", group="tier", precedence=1)
    tiers.decide(days=4)
    assert (version(), versions()) == ([(3,)], [(1,), (2,), (3,)])


def test_a_segment_that_leaves_its_group_keeps_its_members(tiers) -> None:
    tiers.decide()
    tiers.write("vip", "mrr_micros >= 100")
    tiers.decide(days=1)
    assert tiers.members("vip") == {"c_a"}
    assert tiers.members("core") == {"c_a", "c_b"}
    tiers.check_consistency()
    tiers.write("vip", "mrr_micros >= 100", group="tier", precedence=1)
    tiers.decide(days=2)
    tiers.check_consistency()
    assert tiers.members("core") == {"c_b"}


def test_another_runs_candidate_is_not_published(tiers) -> None:
    first, _ = tiers.build()
    second, _ = tiers.build()
    with pytest.raises(CandidateError, match="another run replaced it"):
        publish(tiers.con, first)
    publish(tiers.con, second)
    tiers.check_consistency()


def test_a_candidate_that_was_overtaken_is_refused(tiers) -> None:
    run, _ = tiers.build()
    tiers.con.execute("update segments.candidate_summary set base_publication_seq = 7")
    with pytest.raises(CandidateError, match="published since this candidate was built"):
        publish(tiers.con, run)
    assert tiers.rows("select published_at from ops.candidates where stage = 'segments'") == [(None,)]
    assert tiers.changes() == []


@pytest.mark.parametrize("step", STEPS)
def test_a_failure_at_any_step_leaves_what_was_published(tiers, step: str) -> None:
    tiers.decide()
    before = content(tiers)
    tiers.alter("c_a", mrr_micros=7)
    run, _ = tiers.build(days=1)

    def fail(name: str) -> None:
        if name == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(tiers.con, run, fail)
    assert content(tiers) == before
    publish(tiers.con, run)
    assert tiers.members("vip") == set()
    tiers.check_consistency()


KILLED = """
import os, signal, sys
from datetime import datetime
import duckdb
from segmentation.run import Run
from segmentation.segments.publish import publish
def kill(step):
    if step == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)
publish(duckdb.connect(sys.argv[1]), Run("run-2", datetime(2026, 11, 2), datetime(2026, 11, 2, 5, 2)), kill)
"""


@pytest.mark.parametrize("step", ["membership", "publication"])
def test_a_kill_leaves_what_was_published(tiers, warehouse, step: str) -> None:
    tiers.decide()
    before = content(tiers)
    tiers.alter("c_a", mrr_micros=7)
    run, _ = tiers.build(days=1)
    tiers.con.close()
    root = Path(__file__).resolve().parents[3]
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(warehouse.path), step],
        env={**os.environ, "PYTHONPATH": str(root)},
        check=False,
        timeout=60,
    )
    assert ended.returncode == -signal.SIGKILL
    with duckdb.connect(str(warehouse.path)) as con:
        tiers.con = con
        assert content(tiers) == before
        publish(con, run)
        assert tiers.members("vip") == set()
        tiers.check_consistency()


@pytest.fixture
def reset(tiers) -> Callable[[], None]:
    """Return how to take the company back to before its first publication."""

    def clear() -> None:
        for table in PUBLISHED:
            tiers.con.execute(f"delete from segments.{table}")
        tiers.con.execute("delete from ops.candidates")

    tiers.build()
    return clear


CUSTOMERS = ["c_a", "c_b", "c_c", "c_d"]
DAY = st.lists(
    st.tuples(
        st.sampled_from(CUSTOMERS),
        st.sampled_from([("mrr_micros", 0), ("mrr_micros", 5), ("mrr_micros", 500), ("is_known", True)])
        | st.sampled_from(
            [("is_known", None), ("consented_purposes", []), ("consented_purposes", ["marketing.email"])]
        ),
    ),
    max_size=4,
)
RULE = st.sampled_from(["mrr_micros >= 100", "mrr_micros >= 1", "is_known", "true", "false"])


def publish_any_days(tiers, reset, days: list) -> None:
    reset()
    for number, (changes, rule, rank) in enumerate(days):
        for customer, (name, value) in changes:
            tiers.alter(customer, **{name: value})
        tiers.write("vip", rule, group="tier", precedence=rank)
        tiers.write("core", "mrr_micros > 0", group="tier", precedence=3 - rank)
        tiers.decide(days=number)
        tiers.check_consistency()
    lacking = tiers.rows(
        "select m.customer_id from segments.membership as m join features.customer_features as f using (customer_id) "
        "where m.segment_key = 'reachable' and list_contains(f.consented_purposes, 'marketing.email') is not true"
    )
    assert lacking == []


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(days=st.lists(st.tuples(DAY, RULE, st.integers(1, 2)), min_size=2, max_size=4))
def test_log_history_and_membership_always_agree(tiers, reset, days: list) -> None:
    publish_any_days(tiers, reset, days)


@pytest.mark.slow
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(days=st.lists(st.tuples(DAY, RULE, st.integers(1, 2)), min_size=2, max_size=4))
def test_log_history_and_membership_always_agree_many_times_over(tiers, reset, days: list) -> None:
    publish_any_days(tiers, reset, days)


def test_a_run_may_be_any_run(tiers) -> None:
    tiers.next_run(days=2)
    run = Run("scheduled__2026-11-03", datetime(2026, 11, 3), datetime(2026, 11, 3, 6))
    build_candidate(tiers.con, run, tiers.catalog())
    report = publish(tiers.con, run)
    assert report.rows["entered"] == 6
    assert report.facts["newest_change_seq"] == 6
