"""What the commands print, where, and with which exit code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestration.cli import app
from orchestration.stages import STAGE_NAMES

pytestmark = pytest.mark.timeout(900)

COMMANDS = [str(command.name) for command in app.registered_commands]

Ask = Callable[..., Any]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_it_does(ask: Ask, tmp_path: Path, command: str) -> None:
    told = ask(tmp_path, command, "--help")
    assert told.code == 0
    assert f"Usage: strata {command}" in told.out
    purpose = next(one.callback.__doc__ for one in app.registered_commands if one.name == command and one.callback)
    assert purpose.strip().splitlines()[0] in " ".join(told.out.split())
    # Servers and writers of pages answer nothing that a program could read.
    assert ("--json" in told.out) == (command not in {"dev", "docs"})


def test_no_command_is_not_an_error_of_the_program(ask: Ask, tmp_path: Path) -> None:
    told = ask(tmp_path)
    assert told.code == 2
    assert all(command in told.out + told.err for command in COMMANDS)
    assert "Traceback" not in told.out + told.err


def test_sample_writes_once_and_does_not_mix_with_other_files(ask: Ask, tmp_path: Path) -> None:
    made = ask(tmp_path, "sample", "--customers", "40", "--days", "40", "--seed", "3", "--json")
    assert made.code == 0
    assert made.err == ""
    assert made.json["as_of"] == "2026-11-01T00:00:00"
    assert made.json["rows"]["crm_contacts"] >= 40
    assert all((tmp_path / "landing" / file).is_file() for file in made.json["files"])

    refused = ask(tmp_path, "sample", "--json")
    assert refused.code == 1
    assert refused.json["what"] == "the landing folder is not empty"
    assert "--force" in refused.json["repair"]

    assert ask(tmp_path, "sample", "--customers", "5").code == 2


def test_nothing_published_is_said_and_not_a_trace(ask: Ask, tmp_path: Path) -> None:
    for command in (["segments"], ["explain", "c_0"], ["lookup", "c_0"], ["gates"]):
        plain = ask(tmp_path, *command)
        assert plain.code in {1, 5}, command
        assert "error:" in plain.err
        assert "strata run" in plain.err
        assert plain.out == ""
        as_json = ask(tmp_path, *command, "--json")
        assert as_json.code == plain.code
        assert as_json.err == ""
        assert as_json.json.keys() == {"error", "what", "where", "expected", "repair"}
        assert "strata run" in as_json.json["repair"]


def test_run_reports_every_part_as_json(ask: Ask, house: Any, data: Path) -> None:
    ran = ask(data, "run", "--only", "sources", "--as-of", "2026-11-08", "--json")
    assert ran.code == 0
    assert ran.err == ""
    assert ran.json["as_of"] == "2026-11-08T00:00:00"
    (part,) = ran.json["parts"]
    assert part["name"] == "sources"
    assert (part["state"], part["gate"]) == ("done", "open")
    assert part["truths_passed"] == part["truths"] > 0
    assert part["rows"]["read"] == 0
    assert {one["segment_key"] for one in ran.json["segments"]} == {
        key for (key,) in house.sql("select segment_key from segments.catalog")
    }
    runs = house.sql("select run_id from ops.candidates where stage = 'sources' order by candidate_seq desc limit 1")
    assert runs == [(ran.json["run_id"],)]


def test_run_from_a_stage_runs_it_and_what_follows(ask: Ask, data: Path) -> None:
    ran = ask(data, "run", "--from", "sync", "--as-of", "2026-11-08", COLUMNS="200")
    assert ran.code == 0
    rows = [line.split()[0] for line in ran.out.splitlines() if line.split()[1:2] == ["done"]]
    assert rows == ["sync", "marts"]
    assert "Where to look next" in ran.out
    assert "champions" in ran.out


def test_run_says_which_gate_is_in_the_way(ask: Ask, fresh: Path) -> None:
    ran = ask(fresh, "run", "--only", "identity", "--as-of", "2026-11-08", "--json")
    assert ran.code == 3
    (part,) = ran.json["parts"]
    assert part["state"] == "failed"
    assert "stage sources has never run" in part["message"]
    assert "strata run --from sources" in part["message"]


def test_run_refuses_what_it_does_not_know(ask: Ask, tmp_path: Path) -> None:
    unknown = ask(tmp_path, "run", "--from", "nowhere", "--json")
    assert unknown.code == 1
    assert "nowhere" in unknown.json["what"]
    assert all(stage in unknown.json["expected"] for stage in STAGE_NAMES)
    assert ask(tmp_path, "run", "--as-of", "soon").code == 2


def test_check_source_says_what_would_happen(ask: Ask, house: Any, data: Path, tmp_path: Path) -> None:
    known = next((data / "landing" / "shop_orders").glob("*.csv"))
    text = known.read_text(encoding="utf-8")

    loaded = ask(data, "check-source", str(known), "--json")
    assert loaded.code == 0
    assert [one["is_loaded"] for one in loaded.json["entities"]] == [True]

    new = tmp_path / "new.csv"
    header, first, *_ = text.splitlines()
    new.write_text("\n".join([header, first.replace("PED-", "PED-9"), ";" * header.count(";"), ""]), encoding="utf-8")
    good = ask(data, "check-source", str(new), "--feed", "shop_orders", "--json")
    assert good.code == 0
    assert good.err == ""
    assert good.json["is_accepted"] is True
    (entity,) = good.json["entities"]
    counts = ("rows_read", "rows_loaded", "rows_quarantined")
    assert [entity[name] for name in counts] == [2, 1, 1]
    assert entity["quarantined"][0]["line"] == 2

    new.write_text(text.replace("pedido", "ordine", 1), encoding="utf-8")
    bad = ask(data, "check-source", str(new), "--feed", "shop_orders", COLUMNS="200")
    assert bad.code == 1
    assert "would be rejected" in bad.out
    assert "columns missing: pedido" in bad.out
    bad = ask(data, "check-source", str(new), "--feed", "shop_orders", "--json")
    assert bad.code == 1
    assert bad.json["is_accepted"] is False
    assert bad.json["columns_missing"] == ["pedido"]

    absent = ask(data, "check-source", str(tmp_path / "absent.csv"), "--json")
    assert absent.code in {1, 5}
    assert "absent.csv" in absent.out
    # Checking loads nothing.
    assert house.sql("select count(*) from sources.files where contains(path, 'new.csv')") == [(0,)]
