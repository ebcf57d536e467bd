"""Memberships as bits: they say what the rows say, however many segments there are and however they change."""

from datetime import datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation.segments.masks import WORD_BITS, bits_of, word_count

DAY_TWO = datetime(2026, 11, 2)


def changes_of(company, day: datetime) -> list:
    return company.rows(
        "select customer_id, segment_key, change, cause from segments.membership_changes "
        "where effective_at = ? order by change_seq",
        day,
    )


@given(st.sets(st.integers(0, 300)))
def test_every_place_has_one_bit_of_its_own(places: set[int]) -> None:
    words = bits_of(sorted(places), word_count(301))
    assert sum(word.bit_count() for word in words) == len(places)
    assert all(0 <= word < 1 << WORD_BITS for word in words)
    assert {place for place in range(301) if words[place // WORD_BITS] >> (place % WORD_BITS) & 1} == places


def test_more_segments_than_a_word_has_bits(tiers) -> None:
    for number in range(WORD_BITS + 10):
        tiers.write(f"more_{number:03}", f"orders_90d > {number}")
    tiers.write("asks_far_away", "in_segment('more_070') or in_segment('vip')")
    tiers.write_list("few.csv", "customer_id,reason\nc_c,asked\n")
    tiers.write("zz_listed", "orders_90d > 71", kind="hybrid", include="[{file: lists/few.csv, reason: asked}]")
    tiers.alter("c_b", orders_90d=71)
    tiers.decide()
    tiers.check_consistency()
    assert tiers.members("asks_far_away") == {"c_a", "c_b"}
    assert tiers.members("zz_listed") == {"c_c"}
    assert tiers.members("more_070") == {"c_b"}
    assert tiers.members("more_071") == set()
    keys = [row[0] for row in tiers.rows("select segment_key from segments.membership where customer_id = 'c_b'")]
    logged = [segment for customer, segment, _, _ in tiers.changes() if customer == "c_b"]
    assert logged == sorted(keys)
    tiers.alter("c_b", orders_90d=3, mrr_micros=500)
    tiers.decide(days=1)
    tiers.check_consistency()
    moved = [(segment, change) for customer, segment, change, _ in changes_of(tiers, DAY_TWO) if customer == "c_b"]
    gone = sorted(["core", *(f"more_{number:03}" for number in range(3, 71))])
    assert moved == [*((key, "exit") for key in gone), ("vip", "enter")]


def test_new_and_removed_segments_renumber_the_others(tiers) -> None:
    tiers.decide()
    tiers.write("aardvark", "mrr_micros > 0")
    tiers.remove("core")
    tiers.decide(days=1)
    tiers.check_consistency()
    assert changes_of(tiers, DAY_TWO) == [
        ("c_a", "aardvark", "enter", "rule"),
        ("c_b", "core", "exit", "rule"),
        ("c_b", "aardvark", "enter", "rule"),
        ("c_b", "free", "enter", "rule"),
    ]


@pytest.mark.parametrize(
    "done",
    [
        pytest.param("drop table segments.masks", id="an older version published last"),
        pytest.param("update segments.places set publication_seq = 0", id="an older version published meanwhile"),
        pytest.param("delete from segments.masks where customer_id = 'c_a'", id="masks are damaged"),
    ],
)
def test_masks_that_are_not_the_memberships_are_made_anew(tiers, done: str) -> None:
    tiers.decide()
    if "drop" in done:
        tiers.con.execute("drop view segments.candidate_masks")
    tiers.con.execute(done)
    tiers.alter("c_a", mrr_micros=7)
    tiers.decide(days=1)
    tiers.check_consistency()
    assert changes_of(tiers, DAY_TWO) == [("c_a", "vip", "exit", "data"), ("c_a", "core", "enter", "data")]


def test_a_membership_changed_by_hand_is_put_right_and_logged(tiers) -> None:
    tiers.decide()
    tiers.con.execute("delete from segments.membership where customer_id = 'c_a' and segment_key = 'vip'")
    tiers.decide(days=1)
    assert changes_of(tiers, DAY_TWO) == [("c_a", "vip", "enter", "data")]


KEYS = [f"s{number}" for number in range(6)]


def let_catalogs_come_and_go(company, catalogs: list[set[str]]) -> None:
    company.features(*({"customer_id": f"c_{number}", "orders_90d": number} for number in range(7)))
    for table in ("membership", "membership_changes", "membership_history", "effective", "conflicts", "publications"):
        if company.rows("select 1 from duckdb_tables() where schema_name = 'segments' and table_name = ?", table):
            company.con.execute(f"delete from segments.{table}")
    company.con.execute("delete from ops.candidates")
    company.write("always", "orders_90d >= 5")
    for day, keys in enumerate(catalogs):
        for key in KEYS:
            path = company.folder / "segments" / f"{key}.yml"
            path.unlink(missing_ok=True)
            if key in keys:
                company.write(key, f"orders_90d > {KEYS.index(key)}")
        company.decide(days=day)
        company.check_consistency()
        for key in keys:
            assert company.members(key) == {f"c_{number}" for number in range(KEYS.index(key) + 1, 7)}


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(catalogs=st.lists(st.sets(st.sampled_from(KEYS)), min_size=2, max_size=4))
def test_catalogs_that_come_and_go_keep_the_log_whole(company, catalogs: list[set[str]]) -> None:
    let_catalogs_come_and_go(company, catalogs)


@pytest.mark.slow
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(catalogs=st.lists(st.sets(st.sampled_from(KEYS)), min_size=2, max_size=4))
def test_catalogs_that_come_and_go_keep_the_log_whole_many_times_over(company, catalogs: list[set[str]]) -> None:
    let_catalogs_come_and_go(company, catalogs)


def test_a_warehouse_of_an_earlier_version_goes_on(tiers):
    tiers.decide()
    tiers.con.execute("drop view segments.candidate_changes")
    tiers.con.execute("create table segments.candidate_changes (customer_id varchar, segment_key varchar)")
    tiers.decide(1)
    tiers.check_consistency()
