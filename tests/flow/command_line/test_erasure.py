"""A customer is forgotten from the command line: no file of the installation holds them, and the chain goes on."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.settings import ROOT

pytestmark = pytest.mark.timeout(900)

Ask = Callable[..., Any]

#: Folders that are not the installation's own: what sources landed, and the made-up truth.
NOT_OURS = {"landing", "truth"}


@pytest.fixture
def house(week_later: Path, install: Callable[..., Any]) -> Any:
    """An installation of this test's own."""
    return install(copy_of=week_later)


def somebody(house: Any) -> tuple[str, str]:
    """Id and e-mail of a customer with many identifiers, none of which is part of anybody else's."""
    found: list[tuple[str, str]] = house.sql(
        "with told as (select m.customer_id, any_value(p.email) as email, count(*) as n "
        "from identity.identifier_map as m join identity.profiles as p using (customer_id) where p.email is not null "
        "and p.phone is not null and customer_id in (select customer_id from segments.membership) group by 1), "
        "known as (select node_id, id_value as spelling from identity.registry "
        "union select node_id, raw_value from identity.normalised_values), "
        "mine as (select m.customer_id, k.node_id, k.spelling from known as k "
        "join identity.identifier_map as m using (node_id) where m.customer_id in (select customer_id from told "
        "order by n desc, customer_id limit 40)) "
        "select customer_id, email from told where customer_id in (select customer_id from mine) "
        "and customer_id not in "
        "(select i.customer_id from mine as i join known as k on contains(lower(k.spelling), lower(i.spelling)) "
        "and k.node_id not in (select node_id from mine as x where x.customer_id = i.customer_id)) "
        "order by n desc, customer_id limit 1"
    )
    return found[0]


def values_of(house: Any, customer_id: str) -> list[str]:
    """Everything that identifies a customer and can't be part of something else."""
    rows = house.sql(
        f"select i.id_value from identity.identifiers as i join identity.identifier_map as m using (node_id) "
        f"where m.customer_id = '{customer_id}' union select raw_value from identity.identifier_lookup "
        f"where customer_id = '{customer_id}'"
    )
    return sorted(value for (value,) in rows if "@" in value or value.startswith(("u_", "a-", "d-", "+")))


def holding(data: Path, values: list[str], scratch: Path) -> dict[str, list[str]]:
    """Return the files of the installation that hold a value; databases as they are without compression."""
    found: dict[str, list[str]] = {}
    for path in sorted(data.rglob("*")):
        relative = path.relative_to(data)
        if not path.is_file() or relative.parts[0] in NOT_OURS:
            continue
        content = path.read_bytes()
        if path.suffix == ".duckdb":
            content += _uncompressed(path, scratch)
        elif path.suffix == ".parquet":
            with duckdb.connect() as con:
                content += str(con.execute(f"from read_parquet('{path}')").fetchall()).encode()
        if held := [value for value in values if value.encode() in content]:
            found[str(relative)] = held
    return found


def _uncompressed(path: Path, scratch: Path) -> bytes:
    copy = scratch / "uncompressed.duckdb"
    copy.unlink(missing_ok=True)
    with duckdb.connect() as con:
        con.execute("set force_compression = 'uncompressed'")
        con.execute(f"attach '{path}' as stored (read_only)")
        con.execute(f"attach '{copy}' as shown")
        # Views name the file that they were made in; the rows are what is asked for.
        for schema, table in con.execute(
            "select schema_name, table_name from duckdb_tables() where database_name = 'stored'"
        ).fetchall():
            con.execute(f'create schema if not exists shown."{schema}"')
            con.execute(f'create table shown."{schema}"."{table}" as from stored."{schema}"."{table}"')
    return copy.read_bytes()


def kept_of(data: Path, customer_id: str) -> dict[str, int]:
    """Return what exports of membership hold of a customer, by export and table."""
    found = {}
    for path in (data / "state" / "segments").rglob("*.parquet"):
        with duckdb.connect() as con:
            columns = [row[0] for row in con.execute(f"describe from read_parquet('{path}')").fetchall()]
            if "customer_id" in columns:
                query = f"select count(*) from read_parquet('{path}') where customer_id = '{customer_id}'"
                found[f"{path.parent.name}/{path.stem}"] = con.execute(query).fetchall()[0][0]
    return found


@pytest.mark.slow
def test_nothing_of_a_forgotten_customer_is_left(ask: Ask, house: Any, tmp_path: Path) -> None:
    data = house.settings.data
    customer_id, email = somebody(house)
    values = values_of(house, customer_id)
    assert len(values) > 5
    others = f"select node_id, customer_id from identity.identifier_map where customer_id <> '{customer_id}' order by 1"
    before = house.sql(others)
    files = holding(data, values, tmp_path)
    assert {"warehouse.duckdb", "published.duckdb"} < set(files)
    assert any(path.endswith("registry.parquet") for path in files)
    assert customer_id in house.online_store()
    assert sum(rows for name, rows in kept_of(data, customer_id).items() if name.endswith("/membership_history")) > 0

    planned = ask(data, "erase", email, "--dry-run", "--json")
    assert planned.code == 0
    assert planned.json["identifiers"] >= 6
    assert set(holding(data, values, tmp_path)) == set(files)

    leave_past_days(data, customer_id)
    listed = list_in_catalog(tmp_path / "catalog", email.upper())
    here = {"STRATA_CATALOG": str(tmp_path / "catalog")}
    assert ask(data, "run", "--from", "segments", "--json", **here).code == 0
    in_a_version = f"select count(*) from segments.versions where contains(lower(definition::varchar), '{email}')"
    exported = sum(rows for name, rows in kept_of(data, customer_id).items() if name.endswith("/backfills"))
    assert (house.sql(in_a_version), exported) == ([(1,)], 1)

    erased = ask(data, "erase", email, "--reason", "T-1", "--author", "dpo", "--yes", "--json", **here)
    assert erased.code == 0, erased.out
    receipt = erased.json
    assert receipt["customer_id"] == customer_id
    assert receipt["state"] == "partial"
    states = {sink["sink"]: sink["state"] for sink in receipt["sinks"]}
    assert (states.pop("landing"), states.pop("catalog")) == ("partial", "partial")
    assert set(states.values()) == {"finished"}
    assert not any(value in erased.out for value in values)

    assert holding(data, [*values, email.upper()], tmp_path) == {}
    assert set(kept_of(data, customer_id).values()) == {0}
    assert len(list((data / "state" / "segments").iterdir())) == 1
    assert (customer_id in house.online_store(), kept_in_log(data, customer_id)) == (False, 0)
    assert {ask(data, *question, "--json").code for question in (("lookup", customer_id), ("explain", email))} == {5}
    assert ask(data, "audit", "verify").code == 0

    shutil.copy(ROOT / "catalog" / "segments" / listed.name, listed)
    again = ask(data, "erase", "--resume", receipt["erasure_id"], "--json", **here)
    assert again.code == 0, again.out
    assert again.json["state"] == "partial"
    assert {sink["sink"]: sink["state"] for sink in again.json["sinks"]}["catalog"] == "finished"
    send_again(data / "landing", next(sink["files"] for sink in receipt["sinks"] if sink["sink"] == "landing"))
    next_day = house.run("2026-11-09T00:00:00")
    assert next_day.success, next_day.errors
    assert all(next_day.gates.values())
    assert house.sql("select sum(rows_dropped) > 0 from ops.suppressed_rows") == [(True,)]
    assert house.sql(others) == before
    # What was dropped from a candidate may be in free blocks of the file; no row of any table has it.
    rows = _uncompressed(data / "warehouse.duckdb", tmp_path)
    assert [value for value in values if value.encode() in rows] == []


def kept_in_log(data: Path, customer_id: str) -> int:
    """Return the rows of sync's log that say anything of a customer."""
    with closing(sqlite3.connect(data / "state" / "sync.sqlite")) as con:
        query = "select count(*) from change_log where customer_id = ? and value is not null"
        return int(con.execute(query, [customer_id]).fetchone()[0])


def leave_past_days(data: Path, customer_id: str) -> None:
    """Write a recomputed day that names somebody, and what a killed backfill leaves: its copy of the warehouse."""
    with duckdb.connect(str(data / "warehouse.duckdb")) as con:
        con.execute(
            "insert into segments.backfills values ('tier_vip', 1, date '2026-11-01', ?, 'r', timestamp '2026-11-08')",
            [customer_id],
        )
    (data / "backfill").mkdir()
    shutil.copy(data / "warehouse.duckdb", data / "backfill" / "warehouse.duckdb")


def list_in_catalog(catalog: Path, email: str) -> Path:
    """Copy the catalog with a list that names somebody; return the segment's file."""
    shutil.copytree(ROOT / "catalog", catalog)
    path = catalog / "segments" / "renewal_due.yml"
    entry = json.dumps({"identifier": {"type": "email", "value": email}, "reason": "asked"})
    text = path.read_text(encoding="utf-8").replace("kind: rule", "kind: hybrid")
    path.write_text(f"{text}\ninclude: [{entry}]\n", encoding="utf-8")
    return path


def send_again(landing: Path, files: list[str]) -> None:
    """Land files anew under other names, a line longer: what was not loaded before, and what was erased, is new."""
    plain = [landing / file for file in files if file.endswith((".csv", ".ndjson"))]
    assert plain
    for path in plain:
        text = path.read_text(encoding="utf-8").rstrip("\n")
        again = f"{text}\n{text.splitlines()[-1]}\n"
        path.with_name(f"again_{path.name}").write_text(again, encoding="utf-8")


def test_an_erasure_is_signed_and_about_somebody(ask: Ask, house: Any) -> None:
    data = house.settings.data
    _, email = somebody(house)
    unsigned = ask(data, "erase", email, "--yes", "--json")
    assert unsigned.code == 1
    assert "--author" in unsigned.json["expected"]
    unknown = ask(data, "erase", "nobody@nowhere.example", "--reason", "T", "--author", "dpo", "--yes", "--json")
    assert unknown.code == 5
    assert ask(data, "erase", "--json").code == 1
    assert ask(data, "erase", "--resume", "erasure-0", "--json").code == 5
    assert json.loads(ask(data, "erasures", "--json").out) == []
