"""Publishing features: all or nothing, once, and with the age of each."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import pytest

from segmentation.contracts import latest_candidate
from segmentation.errors import CandidateError
from segmentation.features import publish as publishing
from segmentation.features.candidate import build_candidate
from segmentation.features.contract import FeatureContract
from segmentation.features.publish import publish
from segmentation.run import Run
from segmentation.warehouse import Connection

Build = Callable[..., None]


def published(con: Connection) -> list[str]:
    rows = con.execute("select customer_id from features.customer_features order by customer_id").fetchall()
    return [customer_id for (customer_id,) in rows]


def test_the_candidate_takes_the_published_name(
    con: Connection, run: Run, contract: FeatureContract, build: Build
) -> None:
    build("c_1", "c_2")
    stamped = build_candidate(con, run, contract)
    report = publish(con, run)
    assert report.candidate_id == stamped.candidate_id
    assert report.rows == {"customer_features": 2, "account_features": 0}
    assert published(con) == ["c_1", "c_2"]
    newest = latest_candidate(con, "features", published=True)
    assert newest is not None
    assert newest.published_at == run.recorded_at
    assert con.execute("select count(*) from features.candidate_customer_features").fetchall() == [(2,)]


def test_publishing_twice_changes_nothing(con: Connection, run: Run, contract: FeatureContract, build: Build) -> None:
    build("c_1")
    build_candidate(con, run, contract)
    first = publish(con, run)
    freshness = con.execute("from features.feature_freshness order by all").fetchall()
    assert publish(con, run) == first
    assert published(con) == ["c_1"]
    assert con.execute("from features.feature_freshness order by all").fetchall() == freshness


def test_the_next_run_replaces_what_was_published(
    con: Connection, run: Run, contract: FeatureContract, build: Build
) -> None:
    build("c_1")
    build_candidate(con, run, contract)
    publish(con, run)
    later = replace(run, run_id="run-2", as_of=datetime(2026, 11, 2))
    build("c_2")
    build_candidate(con, later, contract)
    assert published(con) == ["c_1"], "a candidate is not published by being built"
    publish(con, later)
    assert published(con) == ["c_2"]


def test_another_runs_candidate_is_not_published(
    con: Connection, run: Run, contract: FeatureContract, build: Build
) -> None:
    build("c_1")
    build_candidate(con, run, contract)
    publish(con, run)
    build("c_2")
    build_candidate(con, replace(run, run_id="run-2"), contract)
    with pytest.raises(CandidateError, match="not this run's"):
        publish(con, run)
    assert published(con) == ["c_1"]


def test_accounts_are_published_with_customers_or_not_at_all(
    con: Connection, run: Run, contract: FeatureContract, build: Build
) -> None:
    def accounts() -> list[tuple[str]]:
        return con.execute("select account_id from features.account_features").fetchall()

    build("c_1")
    con.execute("insert into features.candidate_account_features (account_id, as_of) values ('a_1', now()::timestamp)")
    build_candidate(con, run, contract)
    publish(con, run)
    assert accounts() == [("a_1",)]
    build("c_2")
    later = replace(run, run_id="run-2")
    build_candidate(con, later, contract)
    con.execute("drop table features.candidate_account_features")
    with pytest.raises(CandidateError, match="no candidate feature table"):
        publish(con, later)
    assert (accounts(), published(con)) == ([("a_1",)], ["c_1"])


@pytest.mark.parametrize("change", ["drop column seats", "add column x bigint", "alter column seats type varchar"])
def test_accounts_keep_their_contract(
    con: Connection, run: Run, contract: FeatureContract, build: Build, change: str
) -> None:
    build("c_1")
    con.execute(f"alter table features.candidate_account_features {change}")
    with pytest.raises(CandidateError, match="does not keep its contract") as refused:
        build_candidate(con, run, contract)
    assert refused.value.where == "features.candidate_account_features"


def test_nothing_is_published_without_a_candidate(con: Connection, run: Run) -> None:
    with pytest.raises(CandidateError):
        publish(con, run)


def test_a_lost_table_is_named_and_the_published_one_stays(
    con: Connection, run: Run, contract: FeatureContract, build: Build
) -> None:
    build("c_1")
    build_candidate(con, run, contract)
    publish(con, run)
    later = replace(run, run_id="run-2")
    build_candidate(con, later, contract)
    with pytest.raises(CandidateError, match="no candidate feature table"):
        publish(con, later)
    assert published(con) == ["c_1"]
    newest = latest_candidate(con, "features")
    assert newest is not None
    assert newest.published_at is None


def test_a_kill_between_swap_and_freshness_leaves_the_old_table(
    con: Connection, run: Run, contract: FeatureContract, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    build("c_1")
    build_candidate(con, run, contract)
    publish(con, run)
    later = replace(run, run_id="run-2")
    build("c_2")
    build_candidate(con, later, contract)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(publishing, "_write_freshness", die)
        with pytest.raises(KeyboardInterrupt):
            publish(con, later)
    assert published(con) == ["c_1"]
    publish(con, later)
    assert published(con) == ["c_2"]


def test_features_say_how_old_their_newest_fact_is(
    con: Connection, run: Run, contract: FeatureContract, build: Build
) -> None:
    build("c_1")
    build_candidate(con, run, contract)
    report = publish(con, run)
    rows = {
        feature: rest
        for feature, *rest in con.execute(
            "select feature, max_event_at, age_seconds, max_age_seconds, is_fresh from features.feature_freshness"
        ).fetchall()
    }
    assert set(rows) == set(contract.names)
    assert rows["orders_30d"] == [datetime(2026, 10, 31), 86400, 48 * 3600, True]
    assert rows["tickets_open"][3] is False
    assert rows["sessions_30d"] == [None, None, 48 * 3600, None], "without a fact, freshness is unknown"
    assert report.facts["stale_features"] == ["csat_mean", "tickets_90d", "tickets_open"]
