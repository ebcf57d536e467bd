"""Web and app events as a tracker exports them, and the sessions behind them.

Belongs here: feed `app_events` (Parquet, short column names, times in epoch milliseconds) with cookies,
devices, logins, shared tablets and late deliveries. Does not belong here: API requests (`gateway.py`).

A session is drawn once and lies in one day; its events follow from its number. Files hold the days on
which sessions were *delivered*: a phone that was offline delivers days later.
"""

from segmentation.sample.randomness import spread
from segmentation.sample.world import World
from segmentation.sample.writer import Landing, day_ranges, span

#: Events of a session, one length drawn for each; their mean turns events into sessions.
_LENGTHS = [1, 1, 2, 2, 3, 3, 4, 5, 6, 8, 12]
#: Device keys of the store tablets begin here, above all keys of people.
KIOSK_KEYS = 2**28
#: Of a person's eight device keys the last is the household's tablet, kept under its first member.
HOUSEHOLD_DEVICE = 7


def write_events(world: World, landing: Landing) -> None:
    """Write the event files, one for each range of delivery days."""
    sessions = _draw_sessions(world)
    every = world.every(sessions, 8)
    for first, end in day_ranges(world, world.events):
        landing.write_parquet("app_events", f"events_{span(world, first, end)}", _query(world, first, end, every))
    _plant(world, every)


def _draw_sessions(world: World) -> int:
    total = spread(
        world.con,
        "session_counts",
        """
        select
            person,
            (1000 * least(pow(1 - unit(person, 'sessions'), -0.55), 40) * case part
                when 'vip' then 3 when 'visitor' then 0.35 when 'fraudster' then 1.5 else 1
            end)::bigint as weight
        from actors
        """,
        round(world.events * len(_LENGTHS) / sum(_LENGTHS)),
    )
    # Two neighbours of forty share a household; thieves change devices in the last week.
    world.run(
        f"""
        create or replace table sessions as
        with numbered as (
            select person, first + k as s from (select person, first, unnest(range(n)) as k from session_counts)
        ),
        placed as (
            select
                s,
                person,
                part,
                user_id is not null as has_login,
                rising(s, 'session day', from_day, to_day) as day
            from numbered join actors using (person)
        ),
        equipped as (
            select
                s,
                person,
                day,
                has_login,
                has_login and chance(s, 'at a kiosk', 15000) as is_kiosk,
                case
                    when is_kiosk then {KIOSK_KEYS} + below(s, 'kiosk', {world.kiosks})
                    when person % 40 < 2 and part <> 'visitor' and chance(s, 'on the household tablet', 300000)
                        then (person - person % 40) * 8 + {HOUSEHOLD_DEVICE}
                    when part = 'fraudster' and day >= {world.days} - 7 then person * 8 + 3 + below(s, 'new device', 4)
                    when chance(s, 'on the second device', 250000) then person * 8 + 1
                    else person * 8
                end as device
            from placed
        )
        select
            s,
            person,
            device,
            -- Browsers drop their cookies every sixty days.
            case
                when is_kiosk then device * 8
                else device * 8 + (day + below(person, 'cookie age', 60)) // 60 % 8
            end as cookie,
            day::integer as day,
            case when chance(s, 'offline', 15000)
                then least(day + 1 + below(s, 'offline days', 5), {world.days} - 1)
                else day
            end::integer as delivered_day,
            below(s, 'session second', 43200) + below(s, 'session second again', 38000) as second,
            case
                when device % 8 = 0 then pick(['web', 'web', 'ios', 'android'], device, 'platform')
                when device >= {KIOSK_KEYS} then 'kiosk'
                else pick(['web', 'ios', 'android'], device, 'platform')
            end as platform,
            has_login and (is_kiosk or chance(s, 'logs in', 550000)) as is_login,
            {_LENGTHS}[1 + below(s, 'session length', {len(_LENGTHS)})] as length
        from equipped
        """
    )
    return total


def _query(world: World, first: int, end: int, every: int) -> str:
    # Row keys: session * 64 + position. One session in 200 sends its last event twice.
    return f"""
    select
        'e' || (1000000000000 + row_key) as eid,
        case when is_broken and s // {every} % 2 = 0 then null
            when k = 0 and is_login then 'login'
            when k = 0 and platform in ('ios', 'android') then 'app_open'
            when kind < 45 then 'page_view' when kind < 75 then 'product_view' when kind < 85 then 'search'
            when kind < 95 then 'add_to_cart' else 'checkout' end as typ,
        case when is_broken and s // {every} % 2 = 1 then null else epoch_ms(occurred_at) end as ts_ms,
        epoch_ms(occurred_at + to_days(delivered_day - day)) + 500 + below(row_key, 'network', 20000) as rcv_ms,
        's' || token(s, 'session') as sid,
        'a-' || token(cookie, 'cookie') as aid,
        'd-' || token(device, 'device') as dev,
        case when is_login then actors.user_id end as uid,
        case when is_login and k = 0 then typed_email(actors.email, s, 'login') end as mail,
        platform as plat,
        pick(['direct', 'direct', 'email', 'search', 'search', 'social', 'ads', 'referral'], s, 'channel') as src,
        case when kind < 45 then '/' when kind < 75 then '/product/' || (10000 + below(row_key, 'product', 2000))
            when kind < 85 then '/search' when kind < 95 then '/cart' else '/checkout' end as path
    from (
        select
            *,
            s * 64 + k as row_key,
            below(row_key, 'event type', 100) as kind,
            k = 0 and s % {every} = 3 % {every} as is_broken,
            date '{world.start}' + day
                + to_milliseconds(second * 1000 + k * (5000 + below(s, 'pace', 60000)) + below(row_key, 'jitter', 999))
                as occurred_at
        from (
            select
                * rename (person as person_key),
                unnest(case when {_SENT_TWICE} then list_append(range(length), length - 1)
                    else range(length) end) as k
            from sessions
            where delivered_day >= {first} and delivered_day < {end}
        )
    )
    left join actors on actors.person = case when is_login then person_key end
    order by rcv_ms, row_key
    """


_SENT_TWICE = "length > 1 and chance(s, 'last event sent twice', 5000)"


def _plant(world: World, every: int) -> None:
    for kind, rows, condition in (
        ("exact_duplicate", "count(*)", _SENT_TWICE),
        ("late", "coalesce(sum(length), 0)", "delivered_day > day"),
        ("missing_required", "count(*)", f"s % {every} = 3 % {every}"),
    ):
        world.plant(kind, "events", world.number(f"select {rows} from sessions where {condition}"))
