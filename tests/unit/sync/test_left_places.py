"""A place that a destination leaves is told until somebody empties it; no other place is touched."""

from datetime import datetime

import pytest
from sqlalchemy import create_engine, inspect, text

from segmentation.erasure.places import forget_at_left
from segmentation.erasure.requests import Erasure
from segmentation.errors import NotFoundError, StrataError
from segmentation.sync.left_places import LeftPlace, choose_left, clear_left, find_left, forget_left
from segmentation.sync.state import State

HIDDEN = LeftPlace("online_store", "postgresql+psycopg://strata:***@host/online", 10, datetime(2026, 11, 1))


def left(company):
    return find_left(company.state_url, company.destinations)


def move(company, name="elsewhere"):
    company.change_destination("online_store", url=f"sqlite:///{company.folder}/{name}.db")


def rows_at(company, name="online"):
    """Tables of ours in a place, with their rows."""
    engine = create_engine(f"sqlite:///{company.folder}/{name}.db")
    with engine.connect() as connection:
        tables = inspect(connection).get_table_names()
        found = {table: connection.execute(text(f"select count(*) from {table}")).scalar() for table in tables}
    engine.dispose()
    return found


def test_before_the_first_delivery_and_without_an_edit_nothing_is_left(company):
    assert left(company) == []
    assert not (company.folder / "state.db").exists()
    report = company.sync()
    assert left(company) == report.facts["places left"] == []


def test_an_edited_url_leaves_its_customers_behind_and_it_is_told_until_they_are_cleared(company, in_step):
    company.sync()
    move(company)
    # Before anything is delivered to the new place, and after.
    [told] = left(company)
    assert (told.destination, told.url) == ("online_store", f"sqlite:///{company.folder}/online.db")
    report = company.sync()
    assert report.facts["places left"] == [told.fact]
    assert "which still holds 10 customers" in told.fact
    assert told.repair == "strata destinations clear online_store --author YOU --reason WHY"
    assert clear_left(told, company.destinations) == 11
    assert rows_at(company) == {"strata_positions": 0}
    assert b"c_1" not in (company.folder / "online.db").read_bytes()
    # Killed before that was noted, it is cleared once more.
    assert [clear_left(one, company.destinations) for one in left(company)] == [0]
    state = State(company.state_url)
    forget_left(state, told)
    state.close()
    assert left(company) == []
    in_step()


def test_a_destination_that_leaves_the_catalog_is_told(company):
    company.sync()
    company.destinations = [one for one in company.destinations if one.name != "online_store"]
    assert [one.destination for one in left(company)] == ["online_store"]


def test_one_that_is_disabled_is_still_where_it_is(company):
    company.sync()
    company.change_destination("online_store", enabled=False)
    company.sync()
    assert left(company) == []


def test_another_spelling_of_the_same_file_is_the_same_place(company):
    company.sync()
    company.change_destination("online_store", url=f"sqlite:///{company.folder}/../{company.folder.name}/online.db")
    assert left(company) == []


def test_a_file_that_is_gone_holds_nobody(company):
    company.sync()
    move(company)
    for path in company.folder.glob("online.db*"):
        path.unlink()
    assert left(company) == []


def test_one_killed_before_its_first_load_is_known_all_the_same(company):
    def kill(point):
        if point == "mid_snapshot":
            raise KeyboardInterrupt

    run, _ = company.build()
    with pytest.raises(KeyboardInterrupt):
        company.publish(run, crash_point=kill)
    move(company)
    assert [one.destination for one in left(company)] == ["online_store"]


def test_what_others_keep_in_the_same_database_stays(company, in_step):
    second = company.destination("online_store").model_copy(update={"name": "second_store"})
    company.destinations.append(second)
    company.sync()
    move(company)
    company.sync()
    [told] = left(company)
    clear_left(told, company.destinations)
    assert [rows for name, rows in rows_at(company).items() if name.startswith("strata_members_second")] == [11]
    in_step()


def test_the_place_where_the_destination_is_now_is_not_cleared(company, in_step):
    company.sync()
    (company.folder / "alias.db").symlink_to(company.folder / "online.db")
    [told] = [LeftPlace("online_store", f"sqlite:///{company.folder}/alias.db", 10, datetime(2026, 11, 1))]
    with pytest.raises(StrataError, match="is where destination online_store is now"):
        clear_left(told, company.destinations)
    in_step()


def test_of_several_places_one_has_to_be_named(company):
    company.sync()
    move(company, "second")
    company.sync()
    move(company, "third")
    company.sync()
    places = [one.url for one in left(company)]
    assert len(places) == 2
    with pytest.raises(NotFoundError, match="left several places"):
        choose_left(company.state_url, company.destinations, "online_store")
    assert choose_left(company.state_url, company.destinations, "online_store", places[1]).url == places[1]
    with pytest.raises(NotFoundError, match="left no place"):
        choose_left(company.state_url, company.destinations, "feature_flags")


def test_a_place_that_needs_its_password_is_told_so_and_an_erasure_stays_open(company):
    assert HIDDEN.repair.startswith("strata destinations clear online_store --url URL_WITH_PASSWORD")
    with pytest.raises(StrataError, match="needs its password"):
        clear_left(HIDDEN, company.destinations)
    with pytest.raises(StrataError, match="the url is another place's"):
        clear_left(HIDDEN, company.destinations, f"sqlite:///{company.folder}/online.db")


def test_an_erasure_reaches_what_was_left_behind(company):
    company.sync()
    move(company)
    company.sync()
    [told] = left(company)
    at = told.delivered_at
    erasure = Erasure("e1", "c_1", (), 1, "dpo", "T-1", "suppression-v1", requested_at=at, due_at=at)
    done = forget_at_left(told, erasure)
    assert (done.state, done.detail["rows_deleted"]) == ("finished", 1)
    assert forget_at_left(HIDDEN, erasure).state == "failed"
    [members] = [rows for name, rows in rows_at(company).items() if name.startswith("strata_members")]
    assert members == 10
