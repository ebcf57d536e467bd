"""Past days by command and by job, on the sample company a week after its first run."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from orchestration.definitions import build_definitions
from orchestration.jobs import BACKFILL
from orchestration.segment_backfill import STEPS, Request, backfill
from segmentation.segments.backfill_days import STEPS as KEEPING

pytestmark = pytest.mark.timeout(1800)

Ask = Callable[..., Any]

SIGNED = ("--by", "jo", "--reason", "case 12")
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
OWN = frozenset({"segments.backfills", "segments.backfill_days"})

#: Who was in what at the end of October, as it was published then.
PUBLISHED = """
select segment_key, customer_id from segments.membership_history
where valid_from <= timestamp '2026-11-01' and coalesce(valid_to, timestamp 'infinity') > timestamp '2026-11-01'
order by all
"""
FOUND = "select segment_key, customer_id from segments.backfills where day = date '2026-10-31' order by all"


@pytest.fixture
def own(week_later: Path, install: Callable[..., Any]) -> Any:
    return install(copy_of=week_later)


def read_copy(house: Any) -> dict[str, list[tuple[object, ...]]]:
    """Return every row of the readers' copy, but for what a backfill writes."""
    with duckdb.connect(str(house.settings.warehouse.published_path), read_only=True) as con:
        tables = con.execute("select schema_name || '.' || table_name from duckdb_tables() order by 1").fetchall()
        return {name: con.execute(f"from {name} order by all").fetchall() for (name,) in tables if name not in OWN}


def test_a_past_day_is_what_was_published_then_but_for_what_is_known_since(ask: Ask, own: Any, delivery: Any) -> None:
    data = own.settings.data
    live, copy, store = own.results(), read_copy(own), own.online_store()
    keys = [str(key) for (key,) in own.sql("select segment_key from segments.catalog where is_evaluated order by 1")]

    done = ask(data, "backfill", *keys, "--from", "2026-10-31", "--to", "2026-10-31", *SIGNED, "--json")

    assert done.code == 0, done.out + done.err
    assert {one["segment_key"] for one in done.json["segments"]} == set(keys)
    found, published = set(own.sql(FOUND)), set(own.sql(PUBLISHED))
    assert len(found) > 900
    # A belated order has come since; who withdrew is in nothing that asks for it; identity may have learned something.
    known_since = {delivery.belated, delivery.withdrawn, delivery.cancelled}
    known_since |= {
        str(customer)
        for row in own.sql(
            "select customer_id, other_customer_id from identity.events where effective_at > '2026-11-01'"
        )
        for customer in row
    }
    # Scores rank customers against each other: a belated order moves the score of somebody else.
    ranked = {str(key) for (key,) in own.sql("select segment_key from segments.catalog where group_key = 'rfm'")}
    others = {(key, customer) for key, customer in found ^ published if customer not in known_since}
    assert {key for key, _ in others} <= ranked
    assert len(others) <= 4
    assert ("marketing_reachable", delivery.withdrawn) in published
    assert ("marketing_reachable", delivery.withdrawn) not in found

    after = own.results()
    assert {name for name in after if after[name] != live[name]} == OWN
    assert read_copy(own) == copy
    assert own.online_store() == store
    assert not own.settings.backfill_folder.exists()


def test_what_happens_later_in_a_day_counts_from_that_day_on(ask: Ask, own: Any, delivery: Any) -> None:
    data = own.settings.data
    asked = ("backfill", "fraud_watch", "--from", "2026-11-05", "--to", "2026-11-06", *SIGNED)
    assert ask(data, *asked).code == 0
    # The order was disputed at noon of the sixth.
    shown = [ask(data, "backfill", "fraud_watch", "--at", f"2026-11-0{day}", "--json").json for day in (5, 6)]
    assert [delivery.disputed in one["customers"] for one in shown] == [False, True]
    sizes = ask(data, "backfill", "fraud_watch", "--show", "--json").json["days"]
    assert [one["members"] for one in sizes] == [one["members"] for one in shown]
    assert sizes[0]["entered"] is None
    assert sizes[1]["entered"] >= 1

    # Nothing is missing: nothing is written, not even who asked.
    before = own.sql("from segments.backfill_days order by all")
    again = ask(data, *asked, "--json")
    assert again.code == 0, again.err
    assert own.sql("from segments.backfill_days order by all") == before
    listed = ask(data, "backfill", "--list", "--json").json
    assert [(one["segment_key"], one["days_done"], one["days_missing"]) for one in listed] == [("fraud_watch", 2, 0)]
    assert "fraud_watch" in ask(data, "backfill", "--list").out

    for wrong, code, told in (
        (("backfill", "fraud_watch", "--from", "2026-11-06", "--to", "2026-11-05"), 1, "end before they begin"),
        (("backfill", "fraud_watch", "--from", "2026-11-08", "--to", "2026-11-08"), 1, "is not over"),
        (("backfill", "fraud_watch", "--from", "1999-01-01", "--to", "2026-11-05"), 1, "nothing is known of"),
        (("backfill", "fraud_wach", "--from", "2026-11-05", "--to", "2026-11-05"), 5, "did you mean fraud_watch"),
        (("backfill", "fraud_watch", "--version", "9", "--from", "2026-11-05", "--to", "2026-11-05"), 5, "one of 1"),
        (("backfill", "fraud_watch"), 1, "from a day to a day"),
        (("backfill", "tier_vip", "--show"), 5, "nobody recomputed past days of tier_vip"),
        (("backfill", "fraud_watch", "--at", "2026-11-01"), 5, "2026-11-01 is not computed"),
    ):
        refused = ask(data, *wrong)
        assert (refused.code, told in refused.err) == (code, True), refused.err
    assert own.sql("from segments.backfill_days order by all") == before


@pytest.mark.parametrize(("step", "kept"), [("features", 0), ("kept", 1)])
def test_a_stopped_backfill_goes_on_by_the_job(own: Any, step: str, kept: int) -> None:
    """Killed at a step of its first day; then the job is told no more than the days."""
    request = Request(("tier_vip",), date(2026, 11, 4), date(2026, 11, 5), "jo", "case 12")
    live = own.results()

    def stop(name: str) -> None:
        assert name in {*STEPS, *KEEPING}
        if name == step:
            raise KeyboardInterrupt

    told: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        backfill(own.settings, request, "killed", told.append, stop)
    after = own.results()
    assert {name for name in after if after[name] != live[name]} <= OWN
    assert own.sql("select count(*) from segments.backfill_days where state = 'done'") == [(kept,)]

    first = go_on(own)
    assert first.success
    ledger = own.sql("select day, state, run_id, author, members > 0 from segments.backfill_days order by 1")
    runs = ["killed"] * kept + [first.run_id] * (2 - kept)
    assert ledger == [(date(2026, 11, 4 + number), "done", run, "jo", True) for number, run in enumerate(runs)]

    second = go_on(own)
    errors = "\n".join(str(event.step_failure_data.error) for event in second.all_events if event.is_step_failure)
    assert "nothing is asked for from 2026-11-04 to 2026-11-05" in errors


def go_on(own: Any) -> dg.ExecuteInProcessResult:
    """Run the job over both days, as the UI does for a range of partitions."""
    with dg.DagsterInstance.ephemeral() as instance:
        result = (
            build_definitions(own.settings)
            .resolve_job_def(BACKFILL)
            .execute_in_process(
                instance=instance,
                raise_on_error=False,
                tags={ASSET_PARTITION_RANGE_START_TAG: "2026-11-04", ASSET_PARTITION_RANGE_END_TAG: "2026-11-05"},
                run_config=QUIET,
            )
        )
        done = instance.get_materialized_partitions(dg.AssetKey(["segments", "backfills"]))
    assert done == ({"2026-11-04", "2026-11-05"} if result.success else set())
    return result


def test_one_day_in_the_ui_is_one_partition(own: Any) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = (
            build_definitions(own.settings)
            .resolve_job_def(BACKFILL)
            .execute_in_process(
                instance=instance,
                partition_key="2026-11-03",
                run_config={
                    "ops": {
                        "segments__backfills": {
                            "config": {"segments": ["tier_vip", "tier_core"], "author": "jo", "reason": "case 12"}
                        }
                    },
                    **QUIET,
                },
            )
        )
    assert result.success
    assert own.sql("select segment_key, day, state from segments.backfill_days order by 1") == [
        ("tier_core", date(2026, 11, 3), "done"),
        ("tier_vip", date(2026, 11, 3), "done"),
    ]
    # One winner in a group, on past days too.
    assert own.sql("select customer_id from segments.backfills group by 1 having count(*) > 1") == []
