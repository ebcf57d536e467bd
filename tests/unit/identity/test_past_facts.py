"""Facts of a past moment about today's customers: what identity would have published then, and nothing later."""

from datetime import datetime, timedelta

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation.identity.past_facts import keep_present, restate_facts
from segmentation.run import Run

BEGIN = datetime(2026, 9, 1)
END = datetime(2026, 10, 1)

#: Moments of facts and of questions: the edges of a day, and any hour.
hours = st.integers(0, 29 * 24)

facts = st.lists(
    st.tuples(
        st.sampled_from(["grant", "refuse", "record", "event", "form", "subscription"]),
        st.sampled_from(["ada", "bob", "eve"]),
        hours,
        st.integers(0, 3),
    ),
    max_size=14,
)

CONSENTS = "select l.raw_value, c.* exclude (customer_id, run_id, recorded_at) from identity.customer_consents as c"
ACCOUNTS = "select l.raw_value, c.* exclude (customer_id, run_id, recorded_at) from identity.customer_accounts as c"
PROFILES = (
    "select l.raw_value, c.country, c.residency_region, c.company_name, c.is_known, c.best_source_customer_id "
    "from identity.profiles as c"
)
CUSTOMERS = "select l.raw_value, c.status, c.n_nodes, c.first_seen_at, c.match_basis from identity.customers as c"
BY_USER = "join (from identity.identifier_lookup where id_type = 'user_id') as l using (customer_id) order by all"


def _at(hour: int) -> datetime:
    return BEGIN + timedelta(hours=hour)


def _land(world, kind: str, user: str, hour: int, number: int) -> None:
    """Add a row as its source would; every row names its user, so that who is who never changes."""
    at = _at(hour)
    countries, regions = ("DE", "FR", None, "ES"), ("eu", "us", None, "eu")
    if kind in {"grant", "refuse"}:
        state = "granted" if kind == "grant" else "denied"
        purpose = ("marketing", "marketing.email", "analytics", "personalize")[number]
        world.add("consent_events", at=at, user_id=user, purpose=purpose, consent_state=state)
    elif kind == "record":
        world.add(
            "customer_records",
            at=at,
            user_id=user,
            source_customer_id=f"number {user}",
            country=countries[number],
            residency_region=regions[number],
            account_id=(None, "acme", "acme", "blue")[number],
        )
    elif kind == "event":
        world.add("events", at=at, user_id=user, device_id=f"device {number} of {user}")
    elif kind == "form":
        world.add("form_submissions", at=at, user_id=user, country=countries[number], company_name=f"company {number}")
    else:
        world.add("subscriptions", at=at, user_id=user, account_id=f"account {number}", subscription_id=f"s {number}")


def _content(con: duckdb.DuckDBPyConnection) -> list[list[tuple[object, ...]]]:
    return [con.execute(f"{query} {BY_USER}").fetchall() for query in (CUSTOMERS, CONSENTS, ACCOUNTS, PROFILES)]


@given(told=facts, moments=st.lists(hours, min_size=1, max_size=2))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_past_is_what_identity_said_then(new_world, told, moments) -> None:
    with duckdb.connect() as con:
        copy = new_world(con)
        for fact in told:
            _land(copy, *fact)
        copy.resolve(Run("today", END, END))
        keep_present(con)
        # In any order: what a later day says leaves nothing behind.
        for moment in map(_at, moments):
            restate_facts(con, Run("past", moment, END), copy.catalog)
            with duckdb.connect() as other:
                then = new_world(other)
                for fact in told:
                    _land(then, *fact)
                then.resolve(Run("then", moment, END))
                known = {user for (user,) in other.execute(
                    "select raw_value from identity.identifier_lookup where id_type = 'user_id'"
                ).fetchall()}  # fmt: skip
                assert _content(con) == _content(other)
                assert {row[0] for row in _content(con)[0]} == known


@pytest.mark.parametrize(("day", "allowed"), [(1, None), (5, True), (15, False), (25, True)])
def test_consent_is_that_of_the_moment(world, day: int, allowed: bool | None) -> None:
    """So the comparison above has something to compare."""
    for on, state in ((3, "granted"), (10, "denied"), (20, "granted")):
        world.add("consent_events", at=_at(on * 24), user_id="ada", purpose="marketing", consent_state=state)
    world.resolve(Run("today", END, END))
    keep_present(world.con)

    restate_facts(world.con, Run("past", _at(day * 24), END), world.catalog)

    said = world.rows("select is_allowed from identity.customer_consents where purpose = 'marketing'")
    assert said == ([] if allowed is None else [(allowed,)])
    # Who was seen by nobody was not there.
    assert world.rows("select count(*) from identity.customers") == [(0 if allowed is None else 1,)]


def test_two_records_of_one_person_are_one_customer_before_anybody_knew(world) -> None:
    """Ids mean the same customers on every day: who is who is not restated."""
    world.add("events", at=_at(0), user_id="ada")
    world.add("events", at=_at(0), device_id="her phone")
    world.add("events", at=_at(200), user_id="ada", device_id="her phone")
    world.add("consent_events", at=_at(10), device_id="her phone", purpose="marketing", consent_state="granted")
    world.resolve(Run("today", END, END))
    keep_present(world.con)

    restate_facts(world.con, Run("past", _at(24), END), world.catalog)

    assert world.rows("select customer_id, n_nodes from identity.customers") == [(world.customer("ada"), 2)]
    assert world.customer("ada") == world.customer("her phone")
