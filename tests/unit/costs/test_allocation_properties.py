"""Largest remainder in SQL: it adds up, whatever the amounts, the weights and their order."""

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.costs.allocate import apportion, round_half_even, round_rows, stage_allocations
from segmentation.costs.weights import MAX_WEIGHT, check_weights
from segmentation.errors import StrataError
from segmentation.warehouse import Connection

BIGINT = 2**63 - 1
amounts = st.one_of(st.integers(-1000, 1000), st.integers(-BIGINT, BIGINT))
keys = st.sampled_from(["core", "free", "vip", "pro", "__idle__", "__no_segment__", "new"])
weights = st.dictionaries(keys, st.one_of(st.integers(1, 9), st.integers(1, BIGINT // 8)), min_size=1)


def allocate(
    con: Connection, charges: list[tuple[int, int]], shares: dict[str, int], total: int | None = None
) -> list[tuple[str, str, int, int]]:
    """Allocate ``(effective, billed)`` amounts by the same weights; ``total`` other than their sum is view full."""
    con.execute(
        "create or replace temp table costs_work_charges "
        "(source varchar, origin_charge_id varchar, effective_micros bigint, billed_micros bigint, weight_set varchar)"
    )
    con.execute(
        "create or replace temp table costs_work_weights (weight_set varchar, allocation_view varchar, "
        "segment_key varchar, weight hugeint, total hugeint, driver_unit varchar, driver_quantity bigint, "
        "reason varchar)"
    )
    for number, (effective, billed) in enumerate(charges):
        con.execute("insert into costs_work_charges values ('s', ?, ?, ?, 'w')", [str(number), effective, billed])
    whole = sum(shares.values()) if total is None else total
    for key, weight in shares.items():
        con.execute(
            "insert into costs_work_weights values ('w', 'v', ?, ?::hugeint, ?::hugeint, null, null, null)",
            [key, weight, whole],
        )
    stage_allocations(con)
    return con.execute(
        "select origin_charge_id, segment_key, effective_micros, billed_micros from costs_work_allocations order by all"
    ).fetchall()


@pytest.fixture(scope="module")
def engine() -> Connection:
    return duckdb.connect()


@settings(max_examples=60, deadline=None)
@given(st.tuples(amounts, amounts), weights)
def test_sql_does_what_the_reference_does(engine: Connection, charge: tuple[int, int], shares: dict[str, int]) -> None:
    rows = allocate(engine, [charge], shares)
    assert {key: effective for _, key, effective, _ in rows} == apportion(charge[0], shares)
    assert {key: billed for _, key, _, billed in rows} == apportion(charge[1], shares)


@given(amounts, weights)
def test_parts_add_up_and_are_within_one_of_the_exact_share(amount: int, shares: dict[str, int]) -> None:
    parts = apportion(amount, shares)
    total = sum(shares.values())
    assert sum(parts.values()) == amount
    for key, part in parts.items():
        assert abs(part * total - amount * shares[key]) < total


@given(amounts, weights, st.randoms())
def test_the_order_of_rows_does_not_matter(amount: int, shares: dict[str, int], random) -> None:
    shuffled = list(shares.items())
    random.shuffle(shuffled)
    assert apportion(amount, dict(shuffled)) == apportion(amount, shares)


@given(amounts, weights)
def test_a_credit_is_the_mirror_of_a_charge(amount: int, shares: dict[str, int]) -> None:
    assert apportion(-amount, shares) == {key: -part for key, part in apportion(amount, shares).items()}


@pytest.mark.parametrize("shares", [{"a": 0, "b": 0}, {"a": 2, "b": -1}])
def test_weights_that_are_negative_or_all_zero_are_refused(shares: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="weights"):
        apportion(1, shares)


def test_the_largest_amounts_and_weights_do_not_overflow(engine: Connection) -> None:
    share = MAX_WEIGHT // 2
    rows = allocate(engine, [(BIGINT, -BIGINT)], {"a": share, "b": share + 1})
    assert sum(row[2] for row in rows) == BIGINT
    assert sum(row[3] for row in rows) == -BIGINT
    check_weights(engine)


def test_weights_that_could_overflow_stop_the_run(engine: Connection) -> None:
    allocate(engine, [(1, 1)], {"a": MAX_WEIGHT, "b": 1})
    with pytest.raises(StrataError, match="add up to more than") as caught:
        check_weights(engine)
    assert "coarser driver" in caught.value.repair


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(amounts, amounts), min_size=1, max_size=5), st.dictionaries(keys, st.integers(1, 99)))
def test_in_view_full_rows_are_within_one_of_their_whole_cost(
    engine: Connection, charges: list[tuple[int, int]], shares: dict[str, int]
) -> None:
    total = max(shares.values(), default=1)
    for number, _, effective, billed in allocate(engine, charges, shares, total):
        weight = shares[_]
        for amount, part in zip(charges[int(number)], (effective, billed), strict=True):
            assert abs(part * total - amount * weight) <= total


@given(st.dictionaries(keys, st.integers(-(10**12), 10**12), min_size=1), st.sampled_from([1, 10_000, 1_000_000]))
def test_printed_rows_add_up_to_the_printed_total(micros: dict[str, int], unit: int) -> None:
    rows = round_rows(micros, unit)
    assert sum(rows.values()) == round_half_even(sum(micros.values()), unit)
    for key, shown in rows.items():
        assert abs(shown * unit - micros[key]) < unit


def test_rounding_to_cents_gives_the_left_over_cent_to_the_largest_fraction() -> None:
    assert round_rows({"core": 33_333_334, "free": 33_333_333, "vip": 33_333_333}, 10_000) == {
        "core": 3334,
        "free": 3333,
        "vip": 3333,
    }
    assert [round_half_even(amount, 10) for amount in (5, 15, -5, -15, 16, -16)] == [0, 2, 0, -2, 2, -2]
