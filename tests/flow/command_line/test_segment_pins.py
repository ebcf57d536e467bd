"""Freezing, killing and rolling back by command: from the decision to what runtime systems are told."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestration.commands.run import one_run
from orchestration.settings import ROOT

pytestmark = pytest.mark.timeout(1800)

Ask = Callable[..., Any]

SIGNED = ("--by", "jo", "--reason", "case 12")
MEMBERS = "select customer_id from segments.membership where segment_key = 'tier_vip' order by 1"


@pytest.fixture
def own(ask: Ask, company: Path, install: Callable[..., Any]) -> Any:
    return install(copy_of=company)


def test_a_kill_and_a_rollback_reach_whoever_acts_on_membership(ask: Ask, own: Any) -> None:
    data = own.settings.data
    before = own.sql(MEMBERS)
    assert before

    tried = ask(data, "kill", "tier_vip", *SIGNED, "--dry-run", "--ids", "--json")
    assert tried.code == 0, tried.err
    assert (tried.json["effect"]["leaving"], tried.json["is_published"]) == (len(before), False)
    assert tried.json["customers"]["leaving"] == [customer for (customer,) in before]
    assert own.sql("select * from segments.pins") == []
    assert own.sql(MEMBERS) == before

    killed = ask(data, "kill", "tier_vip", *SIGNED, "--json")
    assert killed.code == 0, killed.out + killed.err
    assert killed.json["is_published"]
    assert killed.json["effect"] == tried.json["effect"]
    assert own.sql(MEMBERS) == []
    [customer] = before[0]
    told = ask(data, "lookup", customer, "--json").json
    assert "tier_vip" not in told["segments"]
    assert {"tier_core", "tier_free"} & set(told["segments"])
    explained = ask(data, "explain", customer, "tier_vip", "--json").json["segments"][0]
    assert (explained["reason"], explained["pin"]["kind"]) == ("pin", "kill")
    assert "emptied by jo since" in explained["sentence"]
    # The same again is neither written nor run.
    again = ask(data, "kill", "tier_vip", *SIGNED, "--json").json
    assert (again["is_new"], again["run_id"], again["is_published"]) == (False, None, True)

    restored = ask(data, "rollback", "tier_vip", "--to", "p1", *SIGNED, "--json")
    assert restored.code == 0, restored.out + restored.err
    assert restored.json["effect"]["kept_out"] == {}
    assert own.sql(MEMBERS) == before
    assert "tier_vip" in ask(data, "lookup", customer, "--json").json["segments"]
    store = next(one for one in restored.json["side_effects"]["deliveries"] if one["destination"] == "online_store")
    assert store["affected_told"] == len(before)
    kept = list((data / "reports" / "segments").glob("*.json"))
    assert sorted(path.name.split("-")[1] for path in kept) == ["kill", "rollback"]
    assert not any(customer in path.read_text() for path in kept)

    listed = ask(data, "history", "tier_vip", "--json").json
    assert [one["members"] for one in listed["publications"]] == [len(before), 0, len(before)]
    assert [pin["kind"] for pin in listed["pins"]] == ["rollback", "kill"]
    shown = ask(data, "history", "tier_vip", COLUMNS="200")
    assert "rolled back to publication 1" in shown.out
    # As it was known when it was empty.
    made_at = listed["publications"][1]["recorded_at"]
    at = listed["publications"][1]["as_of"]
    empty = ask(data, "history", "tier_vip", "--at", at, "--known-at", made_at, "--json").json
    assert (empty["members"], ask(data, "history", "tier_vip", "--at", at, "--json").json["members"]) == (
        0,
        len(before),
    )
    was = ask(data, "explain", customer, "tier_vip", "--at", at, "--json").json
    assert was["is_member"]
    assert was["stays"][0]["cause"] == "rollback"
    assert not ask(data, "explain", customer, "tier_vip", "--at", at, "--known-at", made_at, "--json").json["is_member"]
    assert ask(data, "audit", "verify").code == 0


def test_beside_another_run_the_decision_stands_and_is_told(ask: Ask, own: Any) -> None:
    data = own.settings.data
    with one_run(own.settings):
        busy = ask(data, "freeze", "tier_vip", *SIGNED, "--json")
    assert busy.code == 4
    assert "strata run --from segments" in busy.json["problem"]
    assert not busy.json["is_published"]
    assert own.sql("select kind, author, reason from segments.pins") == [("freeze", "jo", "case 12")]
    # Somebody else's command waits for nobody who only holds the right to run, and writes no second pin.
    again = ask(data, "freeze", "tier_vip", "--by", "kim", "--reason", "case 12", "--no-run", "--json").json
    assert (again["is_new"], again["pin"]["author"]) == (False, "jo")
    # A plan is made on the readers' copy, which does not know of it yet.
    planned = ask(data, "plan", COLUMNS="400")
    assert planned.code == 0
    assert "Made without what was decided since the last run" in planned.err
    # While somebody writes the warehouse, nothing is decided at all.
    with own.settings.warehouse.exclusive():
        shut = ask(data, "unfreeze", "tier_vip", *SIGNED, STRATA_LOCK_WAIT_SECONDS="0.2")
    assert shut.code == 4
    assert own.sql("select ended_at from segments.pins") == [(None,)]
    released = ask(data, "unfreeze", "tier_vip", *SIGNED, "--no-run", "--json").json
    assert (released["is_new"], released["run_id"]) == (True, None)
    assert "Made without" not in ask(data, "plan", COLUMNS="400").err


def test_of_two_commands_at_once_one_comes_first(ask: Ask, own: Any) -> None:
    data = own.settings.data
    commands = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                "from orchestration.cli import main; main()",
                action,
                "tier_vip",
                *SIGNED,
                "--no-run",
            ],
            env={**own.environment, "STRATA_LOCK_WAIT_SECONDS": "120"},
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
        )
        for action in ("freeze", "kill")
    ]
    assert [command.wait(300) for command in commands] == [0, 0]
    pins = own.sql("select kind, ended_reason from segments.pins order by ended_at nulls last")
    assert sorted(kind for kind, _ in pins) == ["freeze", "kill"]
    assert [reason is None for _, reason in pins] == [False, True]
    # Whom the first one held is kept no longer than it holds.
    held = own.sql("select count(distinct pin_id) from segments.pin_members")
    assert held == [(1 if pins[-1][0] == "freeze" else 0,)]
    assert ask(data, "audit", "verify").code == 0


def test_what_can_not_be_meant_is_told(ask: Ask, house: Any) -> None:
    data = house.settings.data
    for arguments, code, text in (
        (("kill", "tier_vi"), 5, "did you mean tier_vip?"),
        (("rollback", "tier_vip", "--to", "p99"), 5, "there is no publication 99"),
        (("rollback", "tier_vip", "--to", "2001-01-01"), 5, "membership begins with"),
        (("rollback", "tier_vip", "--to", "soon"), 1, "is no version, publication or moment"),
    ):
        answer = ask(data, *arguments, *SIGNED, COLUMNS="200")
        assert (answer.code, text in " ".join(answer.err.split())) == (code, True), answer.err
    assert ask(data, "history", "tier_vip", "--known-at", "2026-11-01").code == 1
    assert ask(data, "history", "nobody").code == 5
    assert ask(data, "history", "tier_vip", "--at", "2001-01-01").code == 5


def test_a_kill_works_whatever_state_the_catalog_is_in(ask: Ask, own: Any, catalog: Path) -> None:
    data = own.settings.data
    edited = catalog / "segments" / "tier_core.yml"
    edited.write_text(edited.read_text().replace("name: ", "name: Renamed ", 1))
    (catalog / "segments" / "half_written.yml").write_text("key: [half_written")
    (catalog / "groups.yml").write_text("groups: 3")
    names = "select segment_key, name, segment_version from segments.catalog order by 1"
    before = own.sql(names)
    for dry in (("--dry-run",), ()):
        answer = ask(data, "kill", "tier_vip", *SIGNED, *dry, "--json", STRATA_CATALOG=str(catalog))
        assert answer.code == 0, answer.out + answer.err
        assert answer.json["effect"]["members_after"] == 0
    assert answer.json["is_published"]
    assert own.sql(MEMBERS) == []
    assert own.sql(names) == before
