"""Files that are staged together give what they give one by one, and a bad one among them spoils no other."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation.sources import batches as batches_module
from segmentation.sources import staging as staging_module
from segmentation.sources.batches import Batch, Pending
from segmentation.sources.landing import Fingerprint, LandedFile, take_inventory

Lines = Callable[..., str]

FOLDING = """\
source: shop
feeds:
  - folder: lines
    entities:
      - entity: orders
        one_row_per: [order_id]
        columns:
          order_id: order
          order_status: {constant: completed}
          ordered_at: day
        reject:
          - {when: "cast(qty as int) < 0", reason: negative quantity}
      - entity: order_lines
        columns:
          order_id: order
          order_line_id: {expression: "cast(_line as varchar)"}
          ordered_at: day
          quantity: qty
          unit_price_micros: {constant: 1}
"""

ROW = st.one_of(
    st.tuples(
        st.sampled_from(["o1", "o2", "", "o3"]), st.sampled_from(["2026-01-01", "x", ""]), st.sampled_from("129-x")
    ),
    st.just(None),
)


def as_csv(rows: list[tuple[str, str, str] | None]) -> str:
    return "order,day,qty\n" + "".join("broken\n" if row is None else ",".join(row) + "\n" for row in rows)


def as_ndjson(rows: list[tuple[str, str, str] | None]) -> str:
    names = ("order", "day", "qty")
    return "".join("{\n" if row is None else json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows)


def outcome(yard) -> list[list[tuple]]:
    tables = ("candidate_orders", "candidate_order_lines", "candidate_quarantine", "candidate_files")
    return [yard.rows(f"select * from sources.{table} order by all") for table in tables]


def read_a_batch(yard, monkeypatch, files) -> None:
    yard.map(FOLDING, "shop.yml")
    for path in (yard.landing / "lines").glob("*"):
        path.unlink()
    for number, (is_csv, rows) in enumerate(files):
        text = as_csv(rows) if is_csv else as_ndjson([*rows, ("o9", "2026-01-01", "1")])
        yard.land(f"lines/{number}.{'csv' if is_csv else 'ndjson'}", text)
    yard.build()
    together = outcome(yard)
    with monkeypatch.context() as patch:
        patch.setattr(batches_module, "_MOST_FILES", 1)
        yard.build()
    assert outcome(yard) == together
    assert len(together[3]) >= len(files)


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.lists(st.tuples(st.booleans(), st.lists(ROW, max_size=8)), min_size=2, max_size=5))
def test_a_batch_gives_what_its_files_give_one_by_one(yard, monkeypatch, files) -> None:
    read_a_batch(yard, monkeypatch, files)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.lists(st.tuples(st.booleans(), st.lists(ROW, max_size=8)), min_size=2, max_size=5))
def test_a_batch_gives_what_its_files_give_one_by_one_many_times_over(yard, monkeypatch, files) -> None:
    read_a_batch(yard, monkeypatch, files)


def test_a_file_that_is_damaged_inside_is_rejected_alone(yard) -> None:
    rows = (
        "select 't' || range as id, 'open' as status, timestamp '2026-01-01' as opened, "
        "timestamp '2026-01-01' as updated, 1 as score, hash(range)::varchar as mail from range({})"
    )
    yard.land_parquet("tickets/a.parquet", rows.format("3"))
    path = yard.land_parquet("tickets/b.parquet", rows.format("100, 100100"))
    yard.land_parquet("tickets/c.parquet", rows.format("3, 7"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 2000] = bytes(2000)
    path.write_bytes(bytes(data))
    yard.build()
    fates = yard.fates()
    assert fates.pop("tickets/b.parquet") == ("rejected", 0, 0, 0, 0)
    assert fates == {"tickets/a.parquet": ("staged", 3, 3, 0, 0), "tickets/c.parquet": ("staged", 4, 4, 0, 0)}
    assert yard.rows("select distinct file_id from sources.candidate_tickets order by 1") == [(1,), (3,)]
    assert "b.parquet" in yard.rows("select message from sources.candidate_files where status = 'rejected'")[0][0]


def test_of_a_batch_only_the_file_that_changed_is_rejected(
    yard, tickets_csv: Lines, ticket: Lines, monkeypatch
) -> None:
    paths = [yard.land(f"tickets/{n}.csv", tickets_csv(ticket(n), "broken")) for n in range(3)]
    stage = staging_module.stage_rows

    def stage_and_append(*args, **kwargs):
        done = stage(*args, **kwargs)
        with paths[1].open("a") as file:
            file.write(ticket(9) + "\n")
        return done

    monkeypatch.setattr(batches_module, "stage_rows", stage_and_append)
    yard.build()
    assert {path: fate[0] for path, fate in yard.fates().items()} == {
        "tickets/0.csv": "staged",
        "tickets/1.csv": "rejected",
        "tickets/2.csv": "staged",
    }
    assert yard.rows("select ticket_id from sources.candidate_tickets order by 1") == [("t0",), ("t2",)]
    assert yard.rows("select file_id, line from sources.candidate_quarantine order by 1") == [(1, 2), (3, 2)]


def test_files_whose_types_differ_are_staged_apart(yard) -> None:
    select = "select 't{0}' as id, 'open' as status, {1} as opened, {1} as updated, {2} as score, 'm' as mail"
    yard.land_parquet("tickets/a.parquet", select.format(1, "timestamp '2026-01-01 08:00:00'", "4"))
    yard.land_parquet("tickets/b.parquet", select.format(2, "'2026-01-02T10:00:00+02:00'", "4.5::double"))
    yard.land_parquet("tickets/c.parquet", select.format(3, "timestamptz '2026-01-03 10:00:00+02'", "'5'"))
    yard.build()
    assert yard.rows(
        "select ticket_id, opened_at::varchar, csat_score, file_id from sources.candidate_tickets order by 1"
    ) == [("t1", "2026-01-01 08:00:00", 4, 1), ("t3", "2026-01-03 08:00:00", 5, 3)]
    assert yard.rows("select file_id, reason from sources.candidate_quarantine") == [
        (2, "csat_score: '4.5' is not a whole number")
    ]


def pending(file: LandedFile, size: int) -> Pending:
    return Pending(file, Fingerprint("x", size, (0, size, 0, 0)), 1, file.feed.entities)


def test_a_batch_is_of_one_feed_and_bounded(yard, monkeypatch) -> None:
    yard.map(FOLDING, "shop.yml")
    yard.land("tickets/a.csv", "x")
    for name in ("a.csv", "b.csv", "c.csv.gz", "d.parquet", "e.parquet"):
        yard.land(f"lines/{name}", "x")
    files = {file.relative: file for file in take_inventory(yard.landing, yard.mappings()).files}
    monkeypatch.setattr(batches_module, "_MOST_BYTES", 100)

    def takes(first: str, second: str, *, size: int = 50) -> bool:
        batch = Batch()
        batch.add(pending(files[first], 50))
        return batch.takes(pending(files[second], size))

    assert Batch().takes(pending(files["lines/a.csv"], 10_000))
    assert takes("lines/a.csv", "lines/b.csv")
    assert not takes("lines/a.csv", "lines/b.csv", size=51)
    assert takes("lines/a.csv", "lines/c.csv.gz", size=5)
    assert not takes("lines/a.csv", "lines/c.csv.gz", size=6)
    assert not takes("lines/a.csv", "lines/d.parquet")
    assert takes("lines/d.parquet", "lines/e.parquet", size=10_000)
    assert not takes("lines/a.csv", "tickets/a.csv")
    monkeypatch.setattr(batches_module, "_MOST_FILES", 1)
    assert not takes("lines/a.csv", "lines/b.csv")


def test_files_that_fill_different_entities_are_not_of_one_batch(yard) -> None:
    yard.map(FOLDING, "shop.yml")
    yard.land("lines/a.csv", "x")
    (file,) = take_inventory(yard.landing, yard.mappings()).files
    batch = Batch()
    batch.add(pending(file, 1))
    assert not batch.takes(replace(pending(file, 1), mappings=file.feed.entities[:1]))
