"""Whose a row is: by its best identifier, never by a shared one; what changes hands is counted (R6)."""

from datetime import datetime, timedelta

OCTOBER = [datetime(2026, 10, day) for day in range(1, 32)]


def _shares(world, entity):
    return dict(
        world.rows(
            "select attributed_by, sum(n_rows)::bigint from identity.attributions "
            f"where entity = '{entity}' group by all order by 1"
        )
    )


def _reattributed(world):
    by_entity = dict(
        world.rows("select entity, sum(n_rows_reattributed)::bigint from identity.attributions group by all")
    )
    [(total,)] = world.rows("select rows_reattributed from identity.candidate")
    assert sum(by_entity.values()) == total
    return {entity: n for entity, n in by_entity.items() if n}


def test_each_row_counts_under_the_identifier_that_speaks_for_it(world, run):
    for user in ("a", "b", "c", "d"):
        world.add("events", user_id=user, device_id="kiosk", anonymous_id=f"cookie-{user}")
    world.add("events", device_id="kiosk", anonymous_id="stranger")
    world.add("events", device_id="kiosk")
    world.add("events", anonymous_id="cookie-a")
    world.add("events", email="noreply@shop.com")
    world.add("events")
    world.resolve(run)
    assert _shares(world, "events") == {
        "anonymous_id": 2,
        "blocked identifiers": 1,
        "no identifier": 1,
        "shared identifiers": 1,
        "user_id": 4,
    }
    # The kiosk takes nobody's events along: the stranger stays a stranger.
    assert world.customer("kiosk") is None
    assert world.customer("stranger") not in {world.customer(user) for user in "abcd"}
    assert world.rows("select rows_attributable, rows_of_known, rows_reattributed from identity.candidate") == [
        (6, 5, 0)
    ]


def test_rows_that_a_merge_and_a_split_move_are_counted(world, run, later):
    for day in (1, 2, 3):
        world.add("events", anonymous_id="cookie", at=OCTOBER[day])
    world.add("events", user_id="u", anonymous_id="phone-app", at=OCTOBER[4])
    world.add("events", anonymous_id="nobody", at=OCTOBER[4])
    world.resolve(run)
    assert _reattributed(world) == {}

    world.add("orders", user_id="u", anonymous_id="cookie", at=run.as_of + timedelta(hours=1))
    world.resolve(later(1))
    # The order is new: it had no customer before.
    assert _reattributed(world) == {"events": 3}

    world.resolve(later(2))
    assert _reattributed(world) == {}

    world.clear("orders")
    world.resolve(later(3))
    assert _reattributed(world) == {"events": 3}


def test_rows_of_a_device_that_became_shared_are_nobodys(world, run, later):
    world.add("events", user_id="a", device_id="tablet", at=OCTOBER[1])
    for day in (2, 3):
        world.add("events", device_id="tablet", at=OCTOBER[day])
    world.resolve(run)
    for user in ("b", "c", "d"):
        world.add("events", user_id=user, device_id="tablet", at=run.as_of + timedelta(hours=1))
    world.resolve(later(1))
    assert _reattributed(world) == {"events": 2}
    assert _shares(world, "events") == {"shared identifiers": 2, "user_id": 4}


def test_a_known_customers_device_speaks_for_a_known_customer(world, run):
    world.add("events", user_id="a", device_id="own")
    world.add("events", device_id="own")
    world.add("events", device_id="somebody")
    world.resolve(run)
    assert world.rows("select n_rows, n_rows_known from identity.attributions where attributed_by = 'device_id'") == [
        (2, 1)
    ]
