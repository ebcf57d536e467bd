"""Consent decisions as a consent platform logs them.

Belongs here: feed `consent_log` (gzipped NDJSON, times with an offset), decisions on all purposes, with
withdrawals and lapses. Does not belong here: what a purpose allows (`catalog/purposes.yml`).
"""

from segmentation.sample.world import World
from segmentation.sample.writer import Landing, stamp

#: What the platform calls each purpose, and how many of a thousand people agree at first.
_PURPOSES = {
    "service": 1000,
    "stats": 780,
    "perso": 700,
    "mkt": 620,
    "mkt_email": 640,
    "mkt_ads": 380,
    "partners": 150,
}


def write_consent(world: World, landing: Landing) -> None:
    """Write the log up to the middle of the period, and the rest of it."""
    _draw_decisions(world)
    for name, window in (
        (stamp(world.middle), f"decided_at < timestamp '{world.middle}'"),
        (
            stamp(world.end),
            f"decided_at >= timestamp '{world.middle}' and decided_at < timestamp '{world.end}'",
        ),
    ):
        landing.write_ndjson("consent_log", f"consent_{name}", _query(world, window), gzipped=True)
    world.plant(
        "withdrawn",
        "consent_events",
        world.number("select count(*) from decisions where decision = 'revoked'"),
    )
    every = world.every(world.customers, 5)
    world.plant(
        "missing_required",
        "consent_events",
        world.number(
            f"""
            select count(*) from decisions
            where turn = 0 and purpose = 'stats' and person % {every} = 1 % {every}
            and decided_at < timestamp '{world.end}'
            """
        ),
    )


def _draw_decisions(world: World) -> None:
    names = list(_PURPOSES)
    # Everyone agrees to the service when signing up; the rest is asked of seven in ten. One in eight of
    # those changes their mind on marketing and ads in the period, a few let a decision lapse.
    world.run(
        f"""
        create or replace table decisions as
        with asked as (
            select
                person, user_id, email, jurisdiction, created_at,
                person * 8 + purpose_no as k,
                {names}[1 + purpose_no] as purpose,
                {list(_PURPOSES.values())}[1 + purpose_no] as agree,
                chance(person, 'asked', 700000) as is_asked,
                chance(person, 'changes their mind', 125000) as is_changing
            from people cross join (select range as purpose_no from range({len(names)}))
        ),
        first_round as (
            select
                *,
                0 as turn,
                case when below(k, 'agrees', 1000) < agree then 'opt_in' else 'opt_out' end as decision,
                created_at + to_seconds(60 + below(person, 'asked after', 600)) as decided_at
            from asked where purpose = 'service' or is_asked
        ),
        second_round as (
            select
                * replace (1 as turn,
                    case when below(k, 'lapses', 10) = 0 then 'lapsed' else 'revoked' end as decision,
                    greatest(created_at + interval 1 hour, timestamp '{world.start}'
                        + to_seconds(below(person, 'changes at', {world.days * 86400}))) as decided_at)
            from first_round
            where is_changing and decision = 'opt_in' and purpose in ('mkt', 'mkt_email', 'mkt_ads', 'partners')
        )
        select * from first_round union all select * from second_round
        """
    )


def _query(world: World, window: str) -> str:
    every = world.every(world.customers, 5)
    return f"""
    select
        'CE-' || (10000000000 + k * 2 + turn) as id,
        user_id as subject_user,
        email as subject_email,
        case when turn = 0 and purpose = 'stats' and person % {every} = 1 % {every} then null else purpose end
            as purpose,
        decision,
        'policy-' || case when turn = 0 then '2025-06' else '2026-02' end as policy,
        jurisdiction as law,
        -- The platform writes the time of Paris in winter.
        strftime(decided_at + interval 1 hour, '%Y-%m-%dT%H:%M:%S') || '+01:00' as decided
    from decisions
    where {window}
    order by decided_at, k, turn
    """
