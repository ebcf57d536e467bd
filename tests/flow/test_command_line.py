"""The command line as people and programs meet it: what it prints, where, and with which exit code."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestration.cli import app, main
from orchestration.settings import ROOT
from orchestration.stages import STAGE_NAMES

pytestmark = pytest.mark.timeout(900)

COMMANDS = [str(command.name) for command in app.registered_commands]


@dataclass(frozen=True)
class Answer:
    """What a command said: exit code, standard output and standard error."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed as JSON, with nothing around it."""
        return json.loads(self.out)


Ask = Callable[..., Answer]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Ask:
    """Run a command on a data folder; what child processes print is caught as well."""

    def run(data: Path, *arguments: str, **settings: str) -> Answer:
        environment = {"STRATA_DATA": str(data), "DAGSTER_HOME": str(data / "home"), **settings}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["strata", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        return Answer(int(ended.value.code or 0), out, err)

    return run


@pytest.fixture(scope="module")
def house(week_later: Path, installation: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An installation after two runs; tests that change it take a copy of their own."""
    return installation(Path(shutil.copytree(week_later, tmp_path_factory.mktemp("command-line") / "data")))


@pytest.fixture
def data(house: Any) -> Path:
    """Its data folder."""
    folder: Path = house.settings.data
    return folder


@pytest.fixture
def fresh(company: Path, tmp_path: Path) -> Path:
    """A data folder where nothing has landed, though the dbt project has been read."""
    shutil.copytree(company / "dbt", tmp_path / "data" / "dbt")
    return tmp_path / "data"


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """A copy of the catalog to make mistakes in."""
    return Path(shutil.copytree(ROOT / "catalog", tmp_path / "catalog"))


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


@dataclass(frozen=True)
class Mistake:
    """A mistake in the catalog.

    Attributes:
        file: File that is changed.
        changes: Texts that occur once in it, and what becomes of them.
        said: Part of what is said.
        at: The line that it points at, as it begins.
        named: File that it points at, where another one is as much at fault.
    """

    file: str
    changes: dict[str, str]
    said: str
    at: str
    named: str = ""


CHAMPIONS = "segments/champions.yml"

MISTAKES = {
    "broken YAML": Mistake(CHAMPIONS, {"owner: {team: growth,": "owner: {team: [growth,"}, "not YAML", "rule: |"),
    "an unknown feature": Mistake(
        CHAMPIONS,
        {"recency_score = 5": "recncy_score = 5"},
        "unknown feature recncy_score; did you mean recency_score?",
        "  recncy_score",
    ),
    "a value of another type": Mistake(
        CHAMPIONS,
        {"recency_score = 5": "recency_score = 'high'"},
        "recency_score is a whole number, 'high' is a text",
        "  recency_score",
    ),
    "an unknown key": Mistake(
        CHAMPIONS, {"objective:": "objectve:"}, "unknown key objectve; did you mean objective?", "objectve:"
    ),
    "equal precedence": Mistake(
        CHAMPIONS,
        {"precedence: 1\n": "precedence: 2\n"},
        "loyal_customers and champions have the same precedence 2 in group rfm",
        "precedence: 2",
        named="segments/loyal_customers.yml",
    ),
    "a cycle of groups": Mistake(
        "groups.yml",
        {"  - key: tier\n": "  - key: tier\n    parent: rfm\n", "  - key: rfm\n": "  - key: rfm\n    parent: tier\n"},
        "segments depend on each other in a cycle: tier → rfm → tier",
        "rule: |",
        named="segments/tier_core.yml",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_validate_points_at_the_mistake(ask: Ask, tmp_path: Path, catalog: Path, mistake: Mistake) -> None:
    text = (catalog / mistake.file).read_text(encoding="utf-8")
    for old, new in mistake.changes.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    (catalog / mistake.file).write_text(text, encoding="utf-8")

    found = ask(tmp_path, "validate", "--json", STRATA_CATALOG=str(catalog))

    assert found.code == 1
    assert found.err == ""
    errors = [problem for problem in found.json["problems"] if problem["severity"] == "error"]
    assert len(errors) == found.json["errors"] == 1, errors
    (error,) = errors
    assert mistake.said in error["what"]
    assert error["expected"]
    named = catalog / (mistake.named or mistake.file)
    assert named == catalog.parent / error["file"]
    assert named.read_text(encoding="utf-8").splitlines()[error["line"] - 1].startswith(mistake.at)

    shown = ask(tmp_path, "validate", STRATA_CATALOG=str(catalog))
    assert shown.code == 1
    assert f"{error['file']}:{error['line']}" in shown.out
    assert "1 error, 0 warnings" in shown.out


def test_validate_passes_the_shipped_catalog(ask: Ask, tmp_path: Path) -> None:
    found = ask(tmp_path, "validate", "--json")
    assert found.code == 0
    assert found.json["errors"] == 0


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

    stranger = ask(data, "explain", customer_id, "hibernating", "--json").json["segments"][0]
    assert stranger["is_member"] is False
    assert stranger["sentence"].startswith("is not a member because")

    email = house.sql(f"select email from identity.profiles where customer_id = '{customer_id}'")[0][0]
    shown = ask(data, "explain", email, COLUMNS="200")
    assert shown.code == 0
    assert customer_id in shown.out
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


def test_restored_customers_keep_their_ids(ask: Ask, week_later: Path, install: Callable[..., Any]) -> None:
    house = install(copy_of=week_later)
    data = house.settings.data
    customers = "select customer_id, anchor_node_id, status, first_seen_at from identity.customers order by 1"
    before = house.sql(customers)
    house.settings.warehouse.path.unlink()

    restored = ask(data, "restore", "identity", "--json")
    assert restored.code == 0
    assert restored.json["customers"] == len(before)
    for stage in ("sources", "identity"):
        done = house.run("2026-11-08T00:00:00", only=stage)
        assert done.success, done.errors
    assert house.sql(customers) == before

    assert ask(data, "restore", "everything", "--json").code == 1
