"""Questions people ask of what is published: who, why, since when, is all well."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestration.stages import STAGE_NAMES

pytestmark = pytest.mark.timeout(900)

Ask = Callable[..., Any]


def test_segments_lists_what_is_published(ask: Ask, house: Any, data: Path) -> None:
    listed = ask(data, "segments", "--json")
    assert listed.code == 0
    sizes = dict(house.sql("select segment_key, count(*) from segments.membership group by 1"))
    assert {one["segment_key"]: one["members"] for one in listed.json if one["members"]} == sizes
    shown = ask(data, "segments", COLUMNS="200")
    assert shown.code == 0
    assert all(key in shown.out for key in sizes)


def test_lookup_and_segments_agree_for_every_customer(ask: Ask, house: Any, data: Path) -> None:
    members: dict[str, set[str]] = {}
    for customer_id, key in house.sql("select customer_id, segment_key from segments.membership"):
        members.setdefault(customer_id, set()).add(key)
    for customer_id, keys in sorted(members.items())[::50]:
        known = ask(data, "lookup", customer_id, "--json")
        assert known.code == 0
        assert known.err == ""
        assert known.json["status"] == "known"
        assert set(known.json["segments"]) == keys
        assert known.json["as_of"] == "2026-11-08T00:00:00"
        assert known.json["staleness_seconds"] <= known.json["max_staleness_seconds"]


def test_lookup_of_a_stranger_is_unknown_and_not_no(ask: Ask, data: Path) -> None:
    unknown = ask(data, "lookup", "c_nobody", "--json")
    assert unknown.code == 5
    assert unknown.json["status"] == "unknown"
    assert unknown.json["segments"] is None
    shown = ask(data, "lookup", "c_nobody")
    assert shown.code == 5
    assert "unknown" in shown.out
    elsewhere = ask(data, "lookup", "c_nobody", "--destination", "nowhere", "--json")
    assert elsewhere.code == 5
    assert "online_store" in elsewhere.json["expected"]


def test_lookup_takes_identifiers_too(ask: Ask, house: Any, data: Path) -> None:
    customer_id, email, source, number = house.sql(
        "select p.customer_id, p.email, i.id_namespace, i.id_value from identity.profiles as p "
        "join identity.identifier_map as m using (customer_id) join identity.identifiers as i using (node_id) "
        "where p.email is not null and i.id_type = 'source_customer_id' order by 1 limit 1"
    )[0]
    for named in (email, email.upper(), f"email:{email}", f"source_customer_id@{source}:{number}", f" {customer_id}"):
        found = ask(data, "lookup", named, "--json")
        assert found.code == 0, found.out
        assert (found.json["status"], found.json["customer_id"]) == ("known", customer_id)
        assert (found.json["asked_for"], found.json["hint"]) == (named, "")
    for stranger in ("nobody@nowhere.example", "email:nobody@nowhere.example", "it's nobody"):
        unknown = ask(data, "lookup", stranger, "--json")
        assert (unknown.code, unknown.json["status"]) == (5, "unknown")
        assert unknown.json["hint"].endswith(f"strata identity show {shlex.quote(stranger)}")
        assert "strata identity show" in ask(data, "lookup", stranger, COLUMNS="200").out


def test_explain_tells_of_whom_without_repeating_itself(ask: Ask, house: Any, data: Path) -> None:
    customer_id, source = house.sql(
        "select m.customer_id, any_value(i.id_namespace) filter (i.id_namespace <> '') "
        "from identity.identifier_map as m join identity.identifiers as i using (node_id) group by 1 "
        "having bool_or(i.id_type = 'source_customer_id') order by count(*) desc, 1 limit 1"
    )[0]
    told = ask(data, "explain", customer_id, "--json").json["identifiers"]
    assert any("links" in line for one in told for line in one["evidence"])
    for one in told:
        kinds = [line.partition(" (")[0] for line in one["evidence"]]
        assert len(kinds) == len(set(kinds))
    shown = ask(data, "explain", customer_id, COLUMNS="200").out
    assert f"({source})" in next(line for line in shown.splitlines() if line.startswith("source_customer_id"))
    assert not re.search(r"\d{2}:\d{2}:\d{2}\.\d", shown)
    typed = ask(data, "explain", f"source_customer_id@{source}:{told[0]['id_value']}", "--json")
    assert (typed.code, typed.json["customer_id"]) == (0, customer_id)
    assert ask(data, "explain", "email:nobody@nowhere.example", "--json").code == 5


def test_explain_says_why_in_why_not_and_of_whom(ask: Ask, house: Any, data: Path) -> None:
    customer_id, key = house.sql(
        "select customer_id, segment_key from segments.membership where segment_key = 'champions' order by 1 limit 1"
    )[0]
    member = ask(data, "explain", customer_id, key, "--json")
    assert member.code == 0
    (told,) = member.json["segments"]
    assert told["is_member"] is True
    assert "recency_score" in json.dumps(told["clauses"])
    assert member.json["identifiers"]
    golden = {one["attribute"]: one for one in member.json["profile"] if one["is_golden"]}
    assert golden["email"]["stated_by"].count("/") == 1
    assert golden["email"]["seen_at"] is not None

    stranger = ask(data, "explain", customer_id, "hibernating", "--json").json["segments"][0]
    assert stranger["is_member"] is False
    assert stranger["sentence"].startswith("is not a member because")

    email = house.sql(f"select email from identity.profiles where customer_id = '{customer_id}'")[0][0]
    shown = ask(data, "explain", email, COLUMNS="200")
    assert shown.code == 0
    assert customer_id in shown.out
    assert "stated by" in shown.out
    dossier = ask(data, "identity", "show", customer_id, "--json")
    assert dossier.json["profile"] == member.json["profile"]
    assert "Profile" in ask(data, "identity", "show", customer_id, COLUMNS="200").out
    assert "champions" in shown.out
    shown = ask(data, "explain", customer_id, "champions", COLUMNS="200")
    assert "✓" in shown.out

    assert ask(data, "explain", "nobody@nowhere.example", "--json").code == 5
    unknown = ask(data, "explain", customer_id, "champion", "--json")
    assert unknown.code == 5
    assert "champions" in unknown.out


def test_gates_and_doctor_see_a_closed_gate(ask: Ask, week_later: Path, install: Callable[..., Any]) -> None:
    house = install(copy_of=week_later)
    data = house.settings.data
    gates = ask(data, "gates", "--json")
    assert gates.code == 0
    assert [(gate["stage"], gate["state"]) for gate in gates.json] == [(stage, "open") for stage in STAGE_NAMES]
    healthy = ask(data, "doctor", "--json")
    assert healthy.code == 0, healthy.out
    assert {finding["state"] for finding in healthy.json} <= {"ok", "note"}

    with house.settings.warehouse.write() as con:
        con.execute(
            "update ops.gate_results set passed = false where gate_result_seq = "
            "(select max(gate_result_seq) from ops.gate_results where stage = 'segments')"
        )
    closed = ask(data, "gates", COLUMNS="200")
    assert closed.code == 3
    assert "closed" in closed.out
    sick = ask(data, "doctor", "--json")
    assert sick.code == 1
    (wrong,) = [finding for finding in sick.json if finding["state"] == "wrong"]
    assert "segments" in wrong["fact"]
    assert wrong["repair"] == "strata gates"


def test_doctor_is_well_before_the_first_run(ask: Ask, tmp_path: Path, catalog: Path) -> None:
    assert ask(tmp_path / "data", "doctor").code == 0
    (catalog / "groups.yml").write_text("groups: 3\n", encoding="utf-8")
    sick = ask(tmp_path / "data", "doctor", "--json", STRATA_CATALOG=str(catalog))
    assert sick.code == 1
    assert [finding["repair"] for finding in sick.json if finding["state"] == "wrong"] == ["strata validate"]


def test_restored_customers_keep_their_ids_and_their_history(
    ask: Ask, week_later: Path, install: Callable[..., Any]
) -> None:
    house = install(copy_of=week_later)
    data = house.settings.data
    customers = "select customer_id, anchor_node_id, status, first_seen_at from identity.customers order by 1"
    before = house.sql(customers)
    log = "select * from segments.membership_changes order by change_seq"
    history = "select * from segments.membership_history order by all"
    held, stays, store = house.sql(log), house.sql(history), house.online_store()
    house.settings.warehouse.path.unlink()

    restored = ask(data, "restore", "identity", "--json")
    assert restored.code == 0
    assert restored.json["customers"] == len(before)
    assert ask(data, "restore", "segments", "--json").json["membership_history"] == len(stays)
    done = house.run("2026-11-08T00:00:00")
    assert done.success, done.errors
    assert house.sql(customers) == before
    assert house.sql(log) == held
    assert house.sql(history) == stays
    assert house.sql(f"select entered, exited from segments.publications where run_id = '{done.run_id}'") == [(0, 0)]
    assert house.online_store() == store

    assert ask(data, "restore", "everything", "--json").code == 1
