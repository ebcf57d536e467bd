"""A table that is published as differences reads like one that is written whole, and does not grow without end."""

from itertools import pairwise

import pytest

from segmentation.identity import differences, reasons
from segmentation.identity.publish import publish
from segmentation.identity.tables import DIFFERENTIAL, relations

from .solving import build_both, resolve_both

_PEOPLE = 40


@pytest.fixture
def town(world, run):
    """Forty people with an account, an address and a cookie each, resolved."""
    for number in range(_PEOPLE):
        world.add("customer_records", source_customer_id=f"k{number}", email=f"person{number}@post.net")
        world.add("events", event_type="login", user_id=f"u{number}", anonymous_id=f"c{number}")
    world.resolve(run)
    return world


def _proposed(world):
    kinds = relations(world.con, "identity")
    return {table for table in DIFFERENTIAL if f"candidate_{table}_rows" in kinds}


def _holes(world, table):
    return world.rows(f"select max(rowid) + 1 - count(*) from identity.{table}")[0][0]


def test_an_increment_proposes_differences(town, later):
    town.add("events", event_type="login", user_id="u7", anonymous_id="c-new")
    town.build(later(1))
    assert _proposed(town) == set(DIFFERENTIAL)
    publish(town.con, later(1))
    assert _proposed(town) == set()


def test_evidence_that_stays_keeps_the_run_that_wrote_it(town, catalog, later):
    town.add("events", event_type="login", user_id="u7", anonymous_id="c7")
    resolve_both(town, later(1), catalog)
    written = "select run_id, count(*) from identity.{} group by 1 order by 1"
    assert town.rows(written.format("edges")) == [("run-1", 2 * _PEOPLE - 1), ("run-2", 1)]
    assert town.rows(written.format("identifiers")) == [("run-1", 4 * _PEOPLE - 2), ("run-2", 2)]


def test_a_worn_table_is_written_whole_so_that_holes_stay_few(town, catalog, later, monkeypatch):
    monkeypatch.setattr(differences, "_LEAST_HOLES", 10)
    holes = {table: [] for table in DIFFERENTIAL}
    for day in range(1, 13):
        for number in range(day % 3, _PEOPLE, 3):
            town.add("events", event_type="login", user_id=f"u{number}", device_id=f"d{number}-{day % 2}")
        town.resolve(later(day))
        for table, found in holes.items():
            found.append(_holes(town, table))
    for table, found in holes.items():
        rows = town.rows(f"select count(*) from identity.{table}")[0][0]
        assert max(found) <= max(10, 0.25 * rows)
    for table in ("identifiers", "edges"):
        # Rows of these go every day: differences left holes, and writing the whole filled them.
        assert any(before > after for before, after in pairwise(holes[table]))


@pytest.mark.parametrize("are_whole", [True, False])
def test_written_whole_or_not_the_next_run_finds_the_same(town, catalog, later, monkeypatch, are_whole):
    most = 0 if are_whole else 1_000_000
    monkeypatch.setattr(differences, "_LEAST_HOLES", most)
    monkeypatch.setattr(differences, "_MOST_HOLES", most)
    for day in range(1, 4):
        town.add("events", event_type="login", user_id=f"u{day}", anonymous_id=f"c{day + 1}", device_id=f"d{day}")
        town.con.execute(f"delete from sources.events where user_id = 'u{20 + day}'")
        full, incremental, resolved = build_both(town, later(day), catalog)
        assert incremental == full
        assert 0 < resolved < _PEOPLE
        assert _proposed(town) == (set() if are_whole else set(DIFFERENTIAL))
        publish(town.con, later(day))


def test_a_reason_in_other_words_is_written(town, catalog, later, monkeypatch):
    for number in range(8):
        town.add("events", event_type="login", user_id=f"u{number}", device_id="kiosk")
    town.add("events", event_type="login", user_id="u20", anonymous_id="c21")
    resolve_both(town, later(1), catalog)
    monkeypatch.setattr(reasons, "explain_refusal", lambda rule, _: f"because of {rule}")
    assert resolve_both(town, later(2), catalog) == 0
    reworded = "select bool_and(starts_with({}, 'because of ')) and count(*) > 0 from identity.{} where {} is not null"
    assert town.rows(reworded.format("status_reason", "identifiers", "status_rule")) == [(True,)]
    assert town.rows(reworded.format("reject_reason", "edges", "reject_rule")) == [(True,)]


def test_the_look_up_follows_new_spellings_and_numbers_that_become_ambiguous(town, catalog, later):
    town.add("customer_records", source_customer_id="k1", phone="020 7946 0958", country="GB")
    resolve_both(town, later(1), catalog)
    assert town.customer("020 7946 0958") == town.customer("k1")
    town.add("orders", email=" Person2@POST.net ")
    town.build(later(2))
    assert town.rows("select raw_value from identity.candidate_identifier_lookup_rows order by all") == [
        (" Person2@POST.net ",),
        ("person2@post.net",),
    ]
    resolve_both(town, later(2), catalog)
    assert town.customer(" Person2@POST.net ") == town.customer("k2")
    # The same digits dialled elsewhere are another number, and the first gains a spelling on that day.
    town.add("customer_records", source_customer_id="k3", phone="020 7946 0958", country="PL")
    town.add("customer_records", source_customer_id="k1", phone="020 79460958", country="GB")
    resolve_both(town, later(3), catalog)
    assert town.customer("020 7946 0958") is None
    assert town.customer("020 79460958") == town.customer("k1")
    assert resolve_both(town, later(4), catalog) == 0
