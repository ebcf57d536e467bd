"""Support tickets as a help desk exports them.

Belongs here: feed `helpdesk_tickets` (NDJSON), tickets with their satisfaction scores, first open and
later closed. Does not belong here: consent (`consent.py`) or lead forms (`forms.py`).
"""

from segmentation.sample.randomness import spread
from segmentation.sample.world import World
from segmentation.sample.writer import Landing, stamp

_TICKETS_PER_CUSTOMER = 0.35


def write_support(world: World, landing: Landing) -> None:
    """Write two ticket exports: the state in the middle of the period, and what changed until its end."""
    tickets = _draw_tickets(world)
    every = world.every(tickets, 4)
    for delivery, day in enumerate((world.middle, world.end)):
        landing.write_ndjson("helpdesk_tickets", f"tickets_{stamp(day)}", _query(world, delivery, every))
    world.plant("unparsable", "tickets", world.number(f"select count(*) from tickets where t % {every} = 1 % {every}"))


def _draw_tickets(world: World) -> int:
    total = spread(
        world.con,
        "ticket_counts",
        """
        select
            person,
            (1000 * least(pow(1 - unit(person, 'tickets'), -0.4), 8)
                * case part when 'support_heavy' then 12 when 'heavy_api' then 3 else 1 end)::bigint as weight
        from people
        """,
        round(world.customers * _TICKETS_PER_CUSTOMER),
    )
    world.run(
        f"""
        create or replace table tickets as
        with numbered as (
            select person, first + k as t from (select person, first, unnest(range(n)) as k from ticket_counts)
        )
        select
            t,
            part,
            account_id,
            user_id,
            email,
            pick(['delivery', 'payment', 'api', 'account', 'returns'], t, 'category') as category,
            pick(['low', 'normal', 'normal', 'high', 'urgent'], t, 'priority') as priority,
            timestamp '{world.start}'
                + to_days(rising(t, 'ticket day', from_day, to_day)::integer)
                + to_seconds(below(t, 'ticket second', 82000)) as opened_at,
            case when not chance(t, 'stays open', case part when 'support_heavy' then 450000 else 80000 end)
                then opened_at + to_seconds(1800 + below(t, 'solved after', 86400 * 6))
            end as closed_at,
            case when chance(t, 'rates', 550000) then
                case part when 'support_heavy' then 1 + below(t, 'score', 3) else 2 + below(t, 'score', 4) end
            end as csat
        from numbered join people using (person)
        """
    )
    return total


def _query(world: World, delivery: int, every: int) -> str:
    middle, end = f"timestamp '{world.middle}'", f"timestamp '{world.end}'"
    after, until = ("timestamp '1970-01-01'", middle) if delivery == 0 else (middle, end)
    form = "'%Y-%m-%d %H:%M:%S'"
    return f"""
    with known as (
        select *, closed_at is not null and closed_at < {until} as is_closed,
            case when is_closed then closed_at else opened_at end as updated_at
        from tickets where opened_at < {until}
    )
    select
        'HD-' || lpad((100000 + t)::varchar, 9, '0') as ticket,
        account_id as organisation,
        user_id as requester_user,
        typed_email(email, t, 'ticket') as requester_email,
        category,
        priority,
        case when is_closed then 'solved' when t % 3 = 0 then 'pending' else 'open' end as status,
        case when copy = 1 then 'yesterday' else strftime(opened_at, {form}) end as opened,
        case when is_closed then strftime(closed_at, {form}) end as solved,
        case when is_closed then csat end as satisfaction,
        strftime(updated_at, {form}) as updated
    from (
        select *, 0 as copy from known where updated_at >= {after}
        union all
        select *, 1 from known where {delivery} = 1 and t % {every} = 1 % {every}
    )
    order by t, copy
    """
