"""Recognising what the columns of an unknown table are."""

import duckdb
import pytest

from segmentation.identity.matching.profile import recognise
from segmentation.identity.matching.training import learn

NAMES = ["anna", "berta", "carl", "dora", "emil", "frida", "gustav", "hanna", "ida", "jakob", "karl", "lena"]


def table(columns: str, rows: int = 600) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute(f"create macro pick(n, salt) as {NAMES!r}[(hash(n, salt) % {len(NAMES)})::integer + 1]")
    con.execute("create macro word(n, salt) as md5(n || salt::varchar)[1:6]")
    con.execute(f"create table t as select {columns} from range({rows}) as r(n)")
    return con


@pytest.mark.parametrize(
    ("columns", "kinds"),
    [
        ("n as id, pick(n,1) as Vorname, word(n,2) as Nachname", {"vorname": "given_name", "nachname": "surname"}),
        (
            "pick(n,1) || ' ' || word(n,2) as name, 1950 + n % 50 as by, n % 12 + 1 as bm, n % 28 + 1 as bd",
            {"birth": "birth_date", "namegiven": "given_name", "namefamily": "surname"},
        ),
        ("word(n,1) || '@x.org' as kontakt, n % 3 as grp", {"kontakt": "email", "grp": "category"}),
        ("(date '1970-01-01' + n::integer)::varchar as d", {"d": "birth_date"}),
        ("n * 1.5 as price, n % 2 = 0 as flag", {"price": "number", "flag": "category"}),
        (
            "word(n,1) || ' ' || word(n,2) || ' ' || word(n,3) || ' ' || word(n,4) || ' of ' || word(n,5) as title",
            {"title": "text"},
        ),
        (
            "pick(n,1) as first_name, word(n,2) as surname, pick(n,1) || ' ' || word(n,2) as full_name",
            {"firstname": "given_name", "surname": "surname"},
        ),
        ("n as record_id, 'x' as constant, null as nothing, word(n,1) as thing", {"thing": "string"}),
        ('word(n,1) as "order", word(n,2) as "weird na""me"', {"order2": "string", "weirdname": "string"}),
    ],
)
def test_columns_are_recognised_by_name_and_content(columns: str, kinds: dict[str, str]) -> None:
    con = table(columns)
    profile = recognise(con, "t")
    assert profile.kinds == kinds
    con.execute(f"create table records as {profile.select('t', 'rowid')}")
    assert {row[0] for row in con.execute("describe records").fetchall()} == {"record_id", *kinds}


def test_the_truth_is_not_read() -> None:
    con = table("word(n,1) as thing, (n // 2)::varchar as cluster")
    assert recognise(con, "t", leave_out=("cluster",)).kinds == {"thing": "string"}


def test_a_table_that_is_not_of_people_can_be_learned() -> None:
    con = table(
        "word(n//2,1) || ' ' || word(n//2,2) || ' ' || word(n//2,3) || ' ' || word(n,4) as title, "
        "word(n//2,5) || ' ' || word(n//2,6) as authors, 1990 + (n//2) % 20 as year"
    )
    profile = recognise(con, "t")
    con.execute(f"create table records as {profile.select('t', 'rowid')}")
    learned = learn(con, "records", profile.kinds)
    assert learned.summary["expected_matches"] == pytest.approx(300, rel=0.1)


def test_names_in_other_scripts_are_compared() -> None:
    con = table(
        "['Анна','Борис','Вера','Глеб'][(n % 4) + 1] || word(n//2,1) as first_name, 'Ж' || word(n//2,2) as surname"
    )
    profile = recognise(con, "t")
    con.execute(f"create table records as {profile.select('t', 'rowid')}")
    learned = learn(con, "records", profile.kinds)
    assert set(learned.kinds) == {"firstname", "surname"}
