"""API request telemetry as a gateway exports it.

Belongs here: feed `gateway_requests` (Parquet, times in epoch milliseconds, durations in microseconds),
with throttling, releases, a spike of the heavy users and a bad release. Does not belong here: browsing
(`usage.py`).

Requests come in bursts, one program run each; a burst lies in one day, its requests follow from its number.
"""

from segmentation.sample.incidents import BAD_SERVICE, api_spike, bad_release
from segmentation.sample.randomness import spread
from segmentation.sample.world import World
from segmentation.sample.writer import Landing, day_ranges, span

_LENGTHS = [1, 2, 3, 5, 8, 13, 20]
_SENT_TWICE = "length > 1 and chance(b, 'last request sent twice', 5000)"


def write_requests(world: World, landing: Landing) -> None:
    """Write the request files, one for each range of days."""
    bursts = _draw_bursts(world)
    every = world.every(bursts, 8)
    for first, end in day_ranges(world, world.requests):
        name = f"requests_{span(world, first, end)}"
        landing.write_parquet("gateway_requests", name, _query(world, first, end, every))
    for kind, rows, condition in (
        ("exact_duplicate", "count(*)", _SENT_TWICE),
        ("late", "coalesce(sum(length), 0)", "delivered_day > day"),
        ("missing_required", "count(*)", f"b % {every} = 3 % {every}"),
    ):
        world.plant(kind, "requests", world.number(f"select {rows} from bursts where {condition}"))


def _draw_bursts(world: World) -> int:
    spike, bad = api_spike(world), bad_release(world)
    start = f"timestamp '{world.start}'"
    total = spread(
        world.con,
        "burst_counts",
        """
        select
            person,
            (1000 * least(pow(1 - unit(person, 'bursts'), -0.5), 20)
                * case part when 'heavy_api' then 80 else 1 end)::bigint as weight
        from people
        where is_api_user
        """,
        round(world.requests * len(_LENGTHS) / sum(_LENGTHS)),
    )
    world.run(
        f"""
        create or replace table bursts as
        with numbered as (
            select person, first + k as b from (select person, first, unnest(range(n)) as k from burst_counts)
        ),
        placed as (
            select
                b,
                part = 'heavy_api' as is_heavy,
                user_id,
                account_id,
                is_heavy and chance(b, 'in the spike', 300000) as is_spike,
                not is_spike and chance(b, 'in the bad release', 40000) as is_bad,
                rising(b, 'burst day', from_day, to_day) as drawn_day
            from numbered join people using (person)
        )
        select
            b,
            is_heavy,
            case when account_id is not null and chance(b, 'by a service account', 80000)
                then null else user_id end as user_id,
            account_id,
            is_spike,
            is_bad,
            case
                when is_spike then timestamp '{spike.start}' + to_seconds(below(b, 'spike second', 14000))
                when is_bad then timestamp '{bad.start}' + to_seconds(below(b, 'bad second', 35000))
                else {start} + to_days(drawn_day::integer)
                    + to_seconds(below(b, 'burst second', 43200) + below(b, 'burst second again', 40000))
            end as started_at,
            date_diff('day', {start}, started_at) as day,
            case when chance(b, 'late', 5000) then least(day + 1 + below(b, 'late days', 3), {world.days} - 1) else day
            end as delivered_day,
            {_LENGTHS}[1 + below(b, 'burst length', {len(_LENGTHS)})] as length
        from placed
        """
    )
    return total


def _query(world: World, first: int, end: int, every: int) -> str:
    bad = bad_release(world)
    # Row keys: burst * 64 + position. Failing requests of the bad release: a quarter; slow: all of them.
    return f"""
    select
        case when is_broken and b // {every} % 2 = 0 then null else 'r' || (1000000000000 + row_key) end as rid,
        epoch_ms(occurred_at) as ts_ms,
        service as svc,
        case service when 'search' then '/v1/search' when 'catalog' then '/v1/items/' || article
            when 'checkout' then '/v1/orders' when 'auth' then '/v1/token' else '/v1/recommendations' end as route,
        case when is_broken and b // {every} % 2 = 1 then null when throttled then 429
            when is_faulty and luck < 250000 then 503 when luck < 3000 then 500
            when luck < 18000 then pick([400, 401, 404], row_key, 'client error') else 200 end::integer as code,
        (duration * case when is_faulty then 5 when is_spike then 3 else 1 end)::bigint as dur_us,
        throttled::integer as thr,
        (duration * 0.4)::bigint as cpu_us,
        'r' || (100 + day // 7)::varchar || case when is_faulty then '.1' else '.0' end as build,
        user_id as principal,
        account_id as tenant
    from (
        select
            *,
            below(row_key, 'luck', 1000000) as luck,
            below(row_key, 'throttled', 1000) < case when is_spike then 350 when is_heavy then 20 else 1 end
                as throttled,
            k = 0 and b % {every} = 3 % {every} as is_broken,
            case when is_bad and chance(row_key, 'bad service', 700000) then '{BAD_SERVICE}'
                else pick(['search', 'search', 'search', 'catalog', 'catalog', 'recommendations', 'auth',
                    '{BAD_SERVICE}'], row_key, 'service') end as service,
            service = '{BAD_SERVICE}' and occurred_at >= timestamp '{bad.start}'
                and occurred_at < timestamp '{bad.end}' as is_faulty,
            (10000 + below(row_key, 'item', 2000))::varchar as article,
            -- A median near 40 ms with a long tail.
            20000 * pow(1 - unit(row_key, 'duration'), -0.6) + below(row_key, 'base', 15000) as duration
        from (
            select *, b * 64 + k as row_key,
                started_at + to_milliseconds(k * (50 + below(b, 'pace', 3000)) + below(row_key, 'jitter', 40))
                    as occurred_at
            from (
                select *, unnest(case when {_SENT_TWICE} then list_append(range(length), length - 1)
                    else range(length) end) as k
                from bursts
                where delivered_day >= {first} and delivered_day < {end}
            )
        )
    )
    order by ts_ms, row_key
    """
