"""For every stage: bad data closes its gate, nothing after it runs, what was good stays, and repair opens it."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

from expectations import ledger
from orchestration.stages import STAGE_NAMES
from segmentation.errors import GateClosedError


@dataclass(frozen=True)
class Damage:
    """What goes wrong before a stage runs.

    Attributes:
        stage: The stage whose gate must close.
        truth: What no longer holds.
        spoil: Damages what the stage reads.
        mend: Takes the damage back.
        advice: What the message tells a person to do.
    """

    stage: str
    truth: str
    spoil: Callable[[Any], object]
    mend: Callable[[Any], object]
    advice: str


def land_file_of_other_columns(house: Any) -> None:
    good = next((house.settings.landing_folder / "crm_contacts").glob("*.csv"))
    header, *rows = good.read_text(encoding="utf-8").splitlines()
    bad = good.with_name("kontakte_neu.csv")
    bad.write_text("\n".join([header.replace("Kundennummer", "KdNr"), *rows]), encoding="utf-8")


def take_file_back(house: Any) -> None:
    (house.settings.landing_folder / "crm_contacts" / "kontakte_neu.csv").unlink()


def lose(*tables: str) -> tuple[Callable[[Any], object], Callable[[Any], object]]:
    """Empty published tables, and fill them again."""
    spoil = ["create schema spare"]
    mend = []
    for table in tables:
        spare = f"spare.{table.replace('.', '_')}"
        spoil += [f"create table {spare} as from {table}", f"delete from {table}"]
        mend += [f"insert into {table} from {spare}"]
    return (lambda house: house.sql("; ".join(spoil))), (lambda house: house.sql("; ".join(mend)))


def change(spoil: str, mend: str) -> tuple[Callable[[Any], object], Callable[[Any], object]]:
    """Change published tables with SQL, and change them back."""
    return (lambda house: house.sql(spoil)), (lambda house: house.sql(mend))


def ask_state(house: Any, statement: str) -> None:
    with closing(sqlite3.connect(house.settings.data / "state" / "sync.sqlite")) as state:
        state.execute(statement)
        state.commit()


def lose_proof(house: Any) -> None:
    ask_state(house, "update receipts set ref = '' where destination = 'online_store'")


def find_proof(house: Any) -> None:
    ask_state(
        house,
        "update receipts set ref = (select head_ref from views where views.view_id = receipts.view_id) "
        "where destination = 'online_store'",
    )


NAMING_CUSTOMERS = (
    "sources.customer_records",
    "sources.subscriptions",
    "sources.invoices",
    "sources.orders",
    "sources.events",
    "sources.requests",
    "sources.tickets",
    "sources.consent_events",
    "sources.form_submissions",
)

DAMAGES = (
    Damage(
        "sources",
        "every_file_is_readable",
        land_file_of_other_columns,
        take_file_back,
        "strata check-source FILE",
    ),
    Damage(
        "identity",
        "customers_exist",
        *lose(*NAMING_CUSTOMERS),
        "map the columns that identify customers in catalog/sources",
    ),
    Damage(
        "features",
        "counts_are_never_negative",
        *change(
            "update sources.subscriptions set seats = -coalesce(seats, 0) - 1",
            "update sources.subscriptions set seats = -seats - 1",
        ),
        "correct the model in dbt_project/models that computes it",
    ),
    Damage(
        "segments",
        "guards_are_kept",
        *change(
            "create table features.spare as from features.customer_features; "
            "update features.customer_features set chargebacks_365d = 1",
            "delete from features.customer_features; insert into features.customer_features from features.spare; "
            "drop table features.spare",
        ),
        "correct the segment's rule, or the guards in catalog/",
    ),
    Damage(
        "costs",
        "the_bill_is_attributed",
        *lose("sources.requests", "sources.events", "sources.orders", "segments.membership_history"),
        "catalog/cost_pools.yml",
    ),
    Damage(
        "sync",
        "members_are_known_customers",
        *change(
            "insert into segments.membership by name select * replace ('c_ghost' as customer_id) "
            "from segments.membership limit 1",
            "delete from segments.membership where customer_id = 'c_ghost'",
        ),
        "strata run --from segments",
    ),
    Damage("sync", "deliveries_change_few_members", *lose("segments.membership"), "raise max_changed_ratio"),
    Damage(
        "sync",
        "deliveries_carry_their_proof",
        lose_proof,
        find_proof,
        "asks it where it stands and writes a new receipt",
    ),
)


def assert_starts(house: Any, stage: str) -> None:
    with house.settings.warehouse.write() as con:
        ledger.require_upstream_open(con, stage)


#: dbt makes the test of features several times as long as the others.
SLOW = {"features": pytest.mark.slow}


@pytest.mark.parametrize(
    "damage",
    [pytest.param(damage, id=f"{damage.stage}-{damage.truth}", marks=SLOW.get(damage.stage, ())) for damage in DAMAGES],
)
def test_a_gate_holds(house: Any, damage: Damage) -> None:
    stage = damage.stage
    position = STAGE_NAMES.index(stage)
    later = STAGE_NAMES[position + 1 :]
    damage.spoil(house)
    before = house.served()

    # In this run the gate closes, and nothing after the candidate starts.
    bad = house.run(stage, *later, keys=("ops/published_copy",))
    assert not bad.success
    assert bad.gates == {f"{stage}_gate": False}
    allowed = {house.maker(f"{stage}/candidate").op.name, f"{stage}_gate"}
    # Who took consent back is taken out of destinations whatever comes after identity.
    if STAGE_NAMES.index(stage) > STAGE_NAMES.index("identity"):
        allowed.add(house.maker("sync/withdrawals").op.name)
    if stage == "features":
        allowed.add(house.maker("features/candidate_customer_features").op.name)
    assert bad.steps == allowed
    assert damage.truth in bad.repairs
    assert damage.advice in bad.repairs
    assert f"strata run --from {stage}" in bad.repairs
    assert house.served() == before

    # A later run of only what comes after is refused, and says why and what to do.
    refused = house.run(keys=(f"{later[0]}/candidate" if later else "sync/receipts",))
    assert not refused.success
    assert "GateClosedError" in refused.errors
    assert f"strata run --from {stage}" in refused.errors
    if later:
        assert damage.truth in refused.errors
        assert damage.advice in refused.errors
        assert "readers still get the last good version" in refused.errors
        with pytest.raises(GateClosedError):
            assert_starts(house, later[-1])
    assert house.served() == before

    # Repaired, the stage publishes and the next one may start.
    damage.mend(house)
    good = house.run(stage)
    assert good.success, good.errors
    assert good.gates == {f"{stage}_gate": True}
    for name in later[:1]:
        assert_starts(house, name)


def in_store(house: Any) -> dict[str, dict[str, Any]]:
    with closing(sqlite3.connect(house.settings.data / "online_store.db")) as store:
        (generation,) = store.execute("select generation from strata_positions").fetchone()
        rows = store.execute(f"select customer_id, value from strata_members_online_store_{generation}").fetchall()
    return {customer_id: json.loads(value) for customer_id, value in rows}


def test_withdrawn_consent_waits_for_no_closed_gate(house: Any) -> None:
    costs = next(damage for damage in DAMAGES if damage.stage == "costs")
    customer = str(
        house.sql(
            "select min(customer_id) from segments.membership as m where segment_key = 'marketing_reachable' "
            "and customer_id in (select customer_id from identity.identifier_lookup where id_type = 'user_id')"
        )[0][0]
    )
    before = in_store(house)
    house.sql(
        "insert into sources.consent_events by name "
        "select one.* replace ('CE-WITHDRAWN' as consent_event_id, 'refused' as consent_state, "
        "'marketing' as purpose, timestamp '2026-10-31 12:00:00' as occurred_at, person.raw_value as user_id) "
        "from (select * from sources.consent_events limit 1) as one cross join (select min(raw_value) as raw_value "
        f"from identity.identifier_lookup where id_type = 'user_id' and customer_id = '{customer}') as person"
    )
    assert house.run("identity").success
    # Others would move, too: nothing of that may arrive while the gate is closed.
    house.sql("delete from segments.membership where segment_key = 'recently_joined'")
    costs.spoil(house)
    closed = house.run("costs", "sync")

    assert closed.gates == {"costs_gate": False}
    after = in_store(house)
    assert "marketing_reachable" in before[customer]["segments"]
    expected = {key: version for key, version in before[customer]["segments"].items() if key != "marketing_reachable"}
    assert after[customer]["segments"] == expected
    assert {key: row for key, row in after.items() if key != customer} == {
        key: row for key, row in before.items() if key != customer
    }

    # Later, and with nothing else being delivered, it has happened already.
    assert not house.run("sync").success
    assert in_store(house) == after

    costs.mend(house)
    opened = house.run("costs", "sync")
    assert opened.success, opened.errors
    wanted = house.sql("select customer_id, value from sync.candidate_values where kind <> 'segments' order by 1")
    held = {key: row for key, row in in_store(house).items() if key != "#segments"}
    assert held == {str(key): json.loads(str(value)) for key, value in wanted}
    assert not any("recently_joined" in row.get("segments", {}) for row in held.values())


def test_a_person_can_let_one_run_pass_what_is_only_unusual(house: Any) -> None:
    land_file_of_other_columns(house)
    assert not house.run("sources").success
    accepted = house.run("sources", accept="every_file_is_readable")
    assert accepted.success, accepted.errors
    assert house.sql("select severity, passed from ops.gate_results order by gate_result_seq desc limit 1") == [
        ("warning", True)
    ]
    assert not house.run("sources").success


def test_nobody_can_accept_what_is_wrong(house: Any) -> None:
    outcome = house.run("sources", accept="every_row_is_accounted_for")
    assert not outcome.success
    assert "nobody can accept every_row_is_accounted_for" in outcome.errors
    assert outcome.gates == {}


def test_a_good_run_changes_nothing(house: Any) -> None:
    before = house.served(("sources", "segments"))
    assert house.run("sources", "identity").success
    assert house.served(("sources", "segments")) == before
