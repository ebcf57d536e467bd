"""Every expectation type in use, and every way a check can go wrong: a gate that can't judge stays shut."""

import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb
import pytest

from expectations.bridge import SuiteError, validate
from expectations.truths import Suite, Truth, has_rows, holds_nowhere, is_between, is_known, is_one_of, is_unique
from segmentation.warehouse import Connection, Warehouse


@pytest.fixture
def identity(con: Connection) -> Connection:
    con.execute("create schema identity")
    con.execute("create schema sources")
    con.execute(
        "create table identity.candidate_customers as select 'c_' || i as customer_id, i % 3 as tier, "
        "'p' || i || '@example.org' as email, timestamp '2026-01-01' + to_days(i::integer) as seen_at, "
        "cast(i as decimal(18, 6)) as amount from range(10) as r(i)"
    )
    con.execute("create table sources.candidate_customers as select 1 as other_stage")
    con.execute("create table identity.candidate_nothing (customer_id varchar)")
    con.execute("create view identity.candidate_view as select * from identity.candidate_customers")
    return con


TABLE = "candidate_customers"
GOOD = (
    has_rows("customers_exist", TABLE, repair="land customers"),
    is_unique("customers_are_unique", TABLE, "customer_id", repair="dedupe"),
    is_known("customers_have_ids", TABLE, "customer_id", repair="fill"),
    is_one_of("tiers_are_known", TABLE, "tier", "0", "1", "2", repair="map"),
    is_between("amounts_are_positive", TABLE, "amount", 0, None, repair="negate"),
    holds_nowhere("tiers_are_small", TABLE, "select tier from {batch} where tier > 2", expected="<= 2", repair="cut"),
)
BAD = (
    has_rows("customers_abound", TABLE, at_least=11, repair="land more"),
    is_unique("tiers_are_unique", TABLE, "tier", repair="dedupe"),
    is_known("names_are_known", TABLE, "nullif(1, 1)", repair="fill"),
    is_one_of("tiers_are_odd", TABLE, "tier", "1", repair="map"),
    is_between("amounts_are_small", TABLE, "amount", None, 5, repair="negate"),
    holds_nowhere(
        "tiers_are_zero",
        TABLE,
        "select customer_id, tier from {batch} where tier > 0",
        expected="tier 0",
        repair="reset",
    ),
)


def test_every_way_to_write_a_truth_can_hold(identity: Connection) -> None:
    result = validate(identity, Suite("identity", GOOD))
    assert [truth.observed for truth in result.truths if not truth.passed] == []
    assert result.passed
    assert [truth.name for truth in result.truths] == [truth.name for truth in GOOD]
    assert result.truths[0].observed == "10"
    assert result.truths[1].observed == "none against it"


def test_every_way_to_write_a_truth_can_fail(identity: Connection) -> None:
    result = validate(identity, Suite("identity", BAD))
    assert not any(truth.passed for truth in result.truths)
    assert not result.passed
    found = {truth.name: truth for truth in result.truths}
    assert found["tiers_are_unique"].unexpected_count == 3
    assert found["tiers_are_odd"].observed == "7 rows of 10"
    assert found["amounts_are_small"].unexpected_count == 4
    assert found["tiers_are_zero"].observed == "6 rows against it"
    assert found["tiers_are_zero"].sample[0] == {"customer_id": "c_1", "tier": "1"}
    assert len(found["tiers_are_zero"].sample) == 5


def test_views_and_several_tables_are_one_suite(identity: Connection) -> None:
    result = validate(
        identity,
        Suite(
            "identity",
            (
                has_rows("nothing_is_something", "candidate_nothing", repair="-"),
                has_rows("the_view_has_rows", "candidate_view", at_least=10, repair="-"),
                is_known("nothing_is_known", "candidate_nothing", "customer_id", repair="-"),
            ),
        ),
    )
    assert [truth.passed for truth in result.truths] == [False, True, True]


def test_values_that_could_be_personal_are_not_shown(identity: Connection) -> None:
    leak = Truth(
        "emails_are_odd", TABLE, "expect_column_values_to_match_regex", {"column": "email", "regex": "^z"}, "z", "r"
    )
    cast = holds_nowhere(
        "emails_are_numbers", TABLE, "select 1 as n from {batch} where cast(email as int) = 1", expected="-", repair="-"
    )
    result = validate(identity, Suite("identity", (leak, cast)))
    assert not any(truth.passed for truth in result.truths)
    assert "example.org" not in str([truth.as_dict() for truth in result.truths])


@pytest.mark.parametrize(
    "expectation", ["expect_table_row_count_to_be_betwen", "expect_column_values_to_be_lovely", "ExpectNothing"]
)
def test_an_expectation_that_does_not_exist_is_an_error(identity: Connection, expectation: str) -> None:
    typo = Truth("rows_exist", TABLE, expectation, {"min_value": 1}, "rows", "r")
    with pytest.raises(SuiteError, match="rows_exist"):
        validate(identity, Suite("identity", (*GOOD, typo)))


def test_an_argument_that_does_not_exist_is_an_error(identity: Connection) -> None:
    typo = Truth("rows_exist", TABLE, "expect_table_row_count_to_be_between", {"minimum": 1}, "rows", "r")
    with pytest.raises(SuiteError, match="minimum"):
        validate(identity, Suite("identity", (typo,)))


@pytest.mark.parametrize(
    ("truth", "reason"),
    [
        (is_known("it_is_known", TABLE, "no_such_column", repair="-"), "no_such_column"),
        (has_rows("it_exists", "candidate_missing", repair="-"), "candidate_missing"),
        (
            holds_nowhere("it_runs", TABLE, "select nope from {batch}", expected="-", repair="-"),
            "nope",
        ),
        (
            holds_nowhere("it_reads", TABLE, "delete from {batch} returning 1", expected="-", repair="-"),
            "could not be checked",
        ),
    ],
)
def test_what_can_not_be_checked_does_not_hold(identity: Connection, truth: Truth, reason: str) -> None:
    result = validate(identity, Suite("identity", (*GOOD, truth)))
    assert not result.passed
    assert [found.name for found in result.failures] == [truth.name]
    assert reason in result.failures[0].observed
    assert identity.execute("select count(*) from identity.candidate_customers").fetchall() == [(10,)]


def test_a_missing_schema_fails_every_truth(con: Connection) -> None:
    result = validate(con, Suite("identity", GOOD))
    assert len(result.failures) == len(GOOD)


def test_a_suite_without_truths_does_not_pass(identity: Connection) -> None:
    assert not validate(identity, Suite("identity", ())).passed


def test_warnings_leave_the_suite_passed(identity: Connection) -> None:
    warning = has_rows("customers_abound", TABLE, at_least=11, repair="-", severity="warning")
    result = validate(identity, Suite("identity", (*GOOD, warning)))
    assert result.passed
    assert [truth.name for truth in result.warnings] == ["customers_abound"]


def test_two_truths_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="customers_exist"):
        Suite("identity", (GOOD[0], GOOD[0]))


def test_a_query_about_no_table_is_refused() -> None:
    with pytest.raises(ValueError, match="it_is_one"):
        holds_nowhere("it_is_one", TABLE, "select 1", expected="-", repair="-")


def test_no_handle_stays_open(warehouse: Warehouse) -> None:
    with warehouse.write() as con:
        con.execute("create schema identity; create table identity.candidate as select 1 as one")
        assert validate(con, Suite("identity", (has_rows("it_exists", "candidate", repair="-"),))).passed
    # Another configuration, and another process: both are refused while any session is left open.
    duckdb.connect(str(warehouse.path), read_only=True).close()
    script = f"import duckdb; duckdb.connect({str(warehouse.path)!r}).close()"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_nothing_is_written_to_disk(identity: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    monkeypatch.setenv("HOME", str(empty))
    monkeypatch.setattr(tempfile, "tempdir", str(empty / "nowhere"))
    validate(identity, Suite("identity", GOOD))
    assert list(empty.iterdir()) == []


def test_great_expectations_is_loaded_only_to_check() -> None:
    script = (
        "import sys, expectations.gates as gates; gates.build_gate_checks(); "
        "sys.exit('great_expectations' in sys.modules or 'sqlalchemy.dialects.postgresql' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120, cwd=Path(__file__).parents[3])
