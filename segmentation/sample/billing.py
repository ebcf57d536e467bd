"""Subscriptions and invoices as a French billing system exports them.

Belongs here: feeds `billing_subscriptions` (CSV.gz, amounts in cents) and `billing_invoices` (NDJSON,
times in epoch seconds), for companies and for private people. Does not belong here: shop orders
(`shop.py`).
"""

from segmentation.sample.world import World
from segmentation.sample.writer import Landing, stamp

_PRICES_CENTS = {"free": 0, "core": 990, "pro": 2900, "enterprise": 4500}


def write_billing(world: World, landing: Landing) -> None:
    """Write two exports of each: the state in the middle of the period, and what changed until its end."""
    _draw_subscriptions(world)
    _draw_invoices(world)
    deliveries = (("middle", world.middle), ("end", world.end))
    for number, (_, day) in enumerate(deliveries):
        landing.write_csv(
            "billing_subscriptions",
            f"abonnements_{stamp(day)}",
            _subscriptions_query(world, number),
            delimiter=";",
            gzipped=True,
        )
        landing.write_ndjson("billing_invoices", f"factures_{stamp(day)}", _invoices_query(world, number))
    _plant(world)


def _draw_subscriptions(world: World) -> None:
    price = "case plan " + " ".join(f"when '{plan}' then {cents}" for plan, cents in _PRICES_CENTS.items()) + " end"
    # A company's subscription names its owner as contact; companies have keys above all people.
    world.run(
        f"""
        create or replace table subscriptions as
        with holders as (
            select
                {world.customers} + accounts.account as k,
                people.person,
                accounts.account_id,
                accounts.plan,
                accounts.members as seats,
                least(people.created_at, accounts.created_on::timestamp + interval 9 hour) as started_at
            from accounts
            join people on people.account = accounts.account and people.account_role = 'owner'
            union all
            select
                person,
                person,
                null,
                case part when 'vip' then 'pro' else pick(['free', 'free', 'core', 'core', 'pro'], person, 'plan') end,
                1,
                created_at + interval 1 hour
            from people
            where account is null and (part in ('vip', 'late_payer') or chance(person, 'subscribes', 450000))
        )
        select
            holders.k,
            'ABO-' || (1000000000 + holders.k) as subscription_id,
            holders.account_id,
            people.user_id,
            people.email,
            people.part,
            people.country,
            holders.plan,
            holders.seats,
            holders.seats * {price} as cents,
            holders.started_at,
            case when people.part = 'churner' and holders.account_id is null
                    and chance(holders.k, 'cancels', 700000)
                then timestamp '{world.moment(world.quiet_day)}' + to_seconds(below(holders.k, 'cancel', 86400 * 7))
            end as drawn_cancelled_at,
            case when drawn_cancelled_at < timestamp '{world.end}' then drawn_cancelled_at end as cancelled_at
        from holders
        join people on people.person = holders.person
        """
    )


def _draw_invoices(world: World) -> None:
    # One invoice every thirty days from the start of the subscription, within the period.
    world.run(
        f"""
        create or replace table invoices as
        with billed as (
            select
                *,
                greatest(0, -floor(date_diff('second', timestamp '{world.start}', started_at) / 2592000.0))::bigint
                    as first_cycle
            from subscriptions
            where cents > 0
        ),
        cycles as (
            select *, unnest(range(first_cycle, first_cycle + {world.days} // 30 + 1)) as cycle from billed
        )
        select
            k,
            k * 128 + cycle % 128 as ik,
            'FAC-' || (1000000000 + k) || '-' || cycle as invoice_id,
            subscription_id,
            account_id,
            user_id,
            email,
            country,
            cents,
            started_at + to_days((cycle * 30)::integer) as issued_at,
            issued_at + interval 14 day as due_at,
            case
                when part = 'late_payer' or chance(ik, 'pays late', 30000)
                    then issued_at + to_seconds(86400 * 16 + below(ik, 'late', 86400 * 25))
                when part = 'churner' and chance(ik, 'never pays', 200000) then null
                else issued_at + to_seconds(3600 + below(ik, 'pays', 86400 * 12))
            end as paid_at
        from cycles
        where issued_at < timestamp '{world.end}' and (cancelled_at is null or issued_at < cancelled_at)
        """
    )


def _known_at(world: World, delivery: int) -> tuple[str, str]:
    """Return the moments between which something must have happened to be in a delivery."""
    middle, end = f"timestamp '{world.middle}'", f"timestamp '{world.end}'"
    return ("timestamp '1970-01-01'", middle) if delivery == 0 else (middle, end)


def _subscriptions_query(world: World, delivery: int) -> str:
    after, until = _known_at(world, delivery)
    every = world.every(world.customers // 2, 3)
    form = "'%Y-%m-%dT%H:%M:%SZ'"
    return f"""
    with known as (
        select *, cancelled_at is not null and cancelled_at < {until} as is_cancelled,
            started_at + to_days((30 * (date_diff('day', started_at, {until}) // 30))::integer) as renewed_at,
            case when is_cancelled then cancelled_at when renewed_at < {until} then renewed_at else started_at end
                as updated_at
        from subscriptions where started_at < {until}
    )
    select
        subscription_id as abonnement,
        account_id as compte,
        user_id as utilisateur,
        email as courriel,
        case when k % {every} = 1 % {every} and {delivery} = 1 and copy = 1 then null else plan end as formule,
        case
            when is_cancelled then 'resilie'
            when part = 'late_payer' and cents > 0 then 'impaye'
            when started_at >= timestamp '{world.end}' - interval 14 day and cents > 0 then 'essai'
            else 'actif'
        end as statut,
        seats as places,
        cents as mensualite_centimes,
        case country when 'GB' then 'GBP' when 'US' then 'USD' else 'EUR' end as devise,
        strftime(started_at, {form}) as debut,
        strftime(renewed_at + interval 30 day, {form}) as renouvellement,
        case when is_cancelled then strftime(cancelled_at, {form}) end as resiliation,
        strftime(updated_at, {form}) as mise_a_jour
    from (
        select *, 0 as copy from known where updated_at >= {after}
        union all
        select *, 1 from known where k % {every} = 1 % {every} and {delivery} = 1
    )
    order by k, copy
    """


def _invoices_query(world: World, delivery: int) -> str:
    after, until = _known_at(world, delivery)
    every = world.every(world.customers, 3)
    return f"""
    with known as (
        select *, paid_at is not null and paid_at < {until} as is_paid,
            case when is_paid then paid_at else issued_at end as updated_at
        from invoices where issued_at < {until}
    )
    select
        invoice_id as facture,
        subscription_id as abonnement,
        account_id as compte,
        user_id as utilisateur,
        email as courriel,
        case when is_paid then 'payee' when due_at < {until} then 'en_retard' else 'ouverte' end as etat,
        case when copy = 1 then 'gratuit' else cents::varchar end as total_centimes,
        case country when 'GB' then 'GBP' when 'US' then 'USD' else 'EUR' end as devise,
        epoch(issued_at)::bigint as emise,
        epoch(due_at)::bigint as echeance,
        case when is_paid then epoch(paid_at)::bigint end as payee_le,
        epoch(updated_at)::bigint as maj
    from (
        select *, 0 as copy from known where updated_at >= {after}
        union all
        select *, 1 from known where ik % {every} = 1 % {every} and updated_at >= {after} and {delivery} = 1
    )
    order by k, issued_at, copy
    """


def _plant(world: World) -> None:
    half, whole = world.every(world.customers // 2, 3), world.every(world.customers, 3)
    world.plant(
        "missing_required",
        "subscriptions",
        world.number(
            f"select count(*) from subscriptions where k % {half} = 1 % {half} and started_at < timestamp '{world.end}'"
        ),
    )
    world.plant(
        "unparsable",
        "invoices",
        world.number(
            f"""
            select count(*) from invoices
            where ik % {whole} = 1 % {whole} and case when paid_at is not null and paid_at < timestamp '{world.end}'
                then paid_at else issued_at end >= timestamp '{world.middle}'
            """
        ),
    )
