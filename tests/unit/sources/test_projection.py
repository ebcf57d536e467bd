"""Values become what their column's type says, exactly, or not at all."""

from datetime import date, datetime
from decimal import Decimal

import duckdb
import pytest

from segmentation.sources.projection import cast_value, without_nulls


@pytest.fixture(scope="module")
def engine():
    with duckdb.connect() as con:
        con.execute("set timezone = 'UTC'")
        yield con


def cast(engine, sql: str, wanted: str, text_format: str | None = None) -> object:
    (given,) = {
        str(row[1]).strip('"') for row in engine.execute(f"describe select x from (select {sql} as x)").fetchall()
    }
    return engine.execute(f"select {cast_value('x', given, wanted, text_format)} from (select {sql} as x)").fetchall()[
        0
    ][0]


NOON = datetime(2026, 2, 1, 12)


@pytest.mark.parametrize(
    ("sql", "wanted", "text_format", "value"),
    [
        ("'12'", "BIGINT", None, 12),
        ("' 12 '", "BIGINT", None, 12),
        ("'12.0'", "BIGINT", None, 12),
        ("'12.7'", "BIGINT", None, None),
        ("'1,000'", "BIGINT", None, None),
        ("'9007199254740993'", "BIGINT", None, 9007199254740993),
        ("'99999999999999999999'", "BIGINT", None, None),
        ("cast(7 as utinyint)", "BIGINT", None, 7),
        ("cast(7 as integer)", "BIGINT", None, 7),
        ("cast('170141183460469231731687303715884105727' as hugeint)", "BIGINT", None, None),
        ("cast(7.5 as double)", "BIGINT", None, None),
        ("cast(7 as double)", "BIGINT", None, 7),
        ("cast('nan' as double)", "BIGINT", None, None),
        ("'1.5'", "DOUBLE", None, 1.5),
        ("'nan'", "DOUBLE", None, None),
        ("'inf'", "DOUBLE", None, None),
        ("cast('inf' as double)", "DOUBLE", None, None),
        ("cast(2 as integer)", "DOUBLE", None, 2.0),
        ("'true'", "BOOLEAN", None, True),
        ("'no'", "BOOLEAN", None, False),
        ("'perhaps'", "BOOLEAN", None, None),
        ("1", "BOOLEAN", None, True),
        ("'2026-02-01'", "TIMESTAMP", None, datetime(2026, 2, 1)),
        ("'2026-02-01 12:00:00'", "TIMESTAMP", None, NOON),
        ("'2026-02-01T12:00'", "TIMESTAMP", None, NOON),
        ("'2026-02-01T12:00:00Z'", "TIMESTAMP", None, NOON),
        ("'2026-02-01T12:00:00.000Z'", "TIMESTAMP", None, NOON),
        ("'2026-02-01T14:00:00+02:00'", "TIMESTAMP", None, NOON),
        ("'2026-02-01 14:00+02'", "TIMESTAMP", None, NOON),
        ("'2026-02-01 07:00:00-05'", "TIMESTAMP", None, NOON),
        ("'infinity'", "TIMESTAMP", None, None),
        ("'2026-02-30'", "TIMESTAMP", None, None),
        ("'01/02/2026 12h'", "TIMESTAMP", "%d/%m/%Y %Hh", NOON),
        ("'13/13/2026 12h'", "TIMESTAMP", "%d/%m/%Y %Hh", None),
        ("'2026-02-01 14:00 +0200'", "TIMESTAMP", "%Y-%m-%d %H:%M %z", NOON),
        ("timestamp '2026-02-01 12:00'", "TIMESTAMP", None, NOON),
        ("timestamptz '2026-02-01 14:00+02'", "TIMESTAMP", None, NOON),
        ("timestamp_ns '2026-02-01 12:00'", "TIMESTAMP", None, NOON),
        ("date '2026-02-01'", "TIMESTAMP", None, datetime(2026, 2, 1)),
        ("'2026-02-01'", "DATE", None, date(2026, 2, 1)),
        ("'01.02.2026'", "DATE", "%d.%m.%Y", date(2026, 2, 1)),
        ("'infinity'", "DATE", None, None),
        ("'soon'", "DATE", None, None),
        ("date '2026-02-01'", "DATE", None, date(2026, 2, 1)),
        ("timestamp '2026-02-01 12:00'", "DATE", None, date(2026, 2, 1)),
        ("'1.25'", "DECIMAL(38,12)", None, Decimal("1.25")),
        ("'0.1234567890125'", "DECIMAL(38,12)", None, Decimal("0.123456789013")),
        ("'pending'", "DECIMAL(38,12)", None, None),
        ("cast(1.25 as decimal(9,2))", "DECIMAL(38,12)", None, Decimal("1.25")),
        ("""'{"a": 1}'""", "JSON", None, '{"a": 1}'),
        ("'{a'", "JSON", None, None),
        ("{'a': 1}", "JSON", None, '{"a":1}'),
        ("map {'a': 'b'}", "JSON", None, '{"a":"b"}'),
        ("7", "VARCHAR", None, "7"),
        ("'x'", "VARCHAR", None, "x"),
        ("null", "VARCHAR", None, None),
        ("null", "TIMESTAMP", None, None),
    ],
)
def test_casts_are_exact_or_null(engine, sql: str, wanted: str, text_format: str | None, value: object) -> None:
    assert cast(engine, sql, wanted, text_format) == value


@pytest.mark.parametrize(
    ("nulls", "left"),
    [((), ["", "NULL", "x"]), (("",), [None, "NULL", "x"]), (("", "NULL"), [None, None, "x"])],
)
def test_texts_that_mean_no_value_become_null(engine, nulls: tuple[str, ...], left: list[str | None]) -> None:
    values = engine.execute(
        f"select {without_nulls('x', nulls)} from (values ('', 1), ('NULL', 2), ('x', 3)) as t(x, n) order by n"
    )
    assert [row[0] for row in values.fetchall()] == left


TYPED = """\
source: typed
feeds:
  - folder: typed
    null_values: ["", "n/a"]
    entities:
      - entity: customer_records
        columns:
          source_customer_id: id
          updated_at: at
          email_is_verified: ok
          birth_date: {column: born, format: "%d.%m.%Y"}
          country: {constant: FR}
      - entity: requests
        columns:
          request_id: id
          occurred_at: at
          service: {constant: api}
          status_code: {constant: 200}
          latency_ms: ms
          is_throttled: {constant: true}
      - entity: charges
        columns:
          charge_id: id
          billing_period_start: at
          billing_period_end: at
          charge_period_start: at
          charge_period_end: at
          charge_category: {constant: Usage}
          billed_cost: cost
          effective_cost: {expression: "cast(cost as decimal(38, 12)) * 2"}
          billing_currency: {constant: EUR}
          tags: tags
"""


def test_every_kind_of_column_loads_or_says_why_not(yard) -> None:
    yard.map(TYPED, "typed.yml")
    yard.land(
        "typed/a.csv",
        "id,at,ok,born,ms,cost,tags\n"
        'a,2026-02-01,yes,01.02.1990,1.5,0.000000000001,"{""team"": ""x""}"\n'
        "b,2026-02-01,n/a,,,2,\n"
        "c,2026-02-01,perhaps,1990-02-01,fast,much,{\n",
    )
    yard.build()
    assert yard.rows(
        "select source_customer_id, email_is_verified, birth_date::varchar, country "
        "from sources.candidate_customer_records order by 1"
    ) == [("a", True, "1990-02-01", "FR"), ("b", None, None, "FR")]
    assert yard.rows(
        "select request_id, service, status_code, latency_ms, is_throttled from sources.candidate_requests order by 1"
    ) == [("a", "api", 200, 1.5, True), ("b", "api", 200, None, True)]
    assert yard.rows(
        "select charge_id, billed_cost, effective_cost, tags from sources.candidate_charges order by 1"
    ) == [
        ("a", Decimal("0.000000000001"), Decimal("0.000000000002"), '{"team": "x"}'),
        ("b", Decimal(2), Decimal(4), None),
    ]
    assert yard.rows("select entity, line, reason from sources.candidate_quarantine order by 1") == [
        (
            "charges",
            3,
            (
                "billed_cost: 'much' is not a number of type DECIMAL(38,12); "
                "effective_cost: can not be computed from the row: cast(cost as decimal(38, 12)) * 2; "
                "tags: '{' is not valid JSON"
            ),
        ),
        (
            "customer_records",
            3,
            (
                "email_is_verified: 'perhaps' is not true or false; "
                "birth_date: '1990-02-01' is not a date (format %d.%m.%Y)"
            ),
        ),
        ("requests", 3, "latency_ms: 'fast' is not a number"),
    ]
