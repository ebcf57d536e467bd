"""Orders and order lines as a Spanish web shop exports them.

Belongs here: feeds `shop_orders` (CSV, decimal commas) and `shop_order_lines` (CSV.gz, amounts in cents),
with cancellations, returns, cards, chargebacks, guests and mistyped addresses. Does not belong here:
browsing (`usage.py`) or subscriptions (`billing.py`).
"""

from segmentation.sample.randomness import spread
from segmentation.sample.world import World
from segmentation.sample.writer import Landing, day_ranges, span

_ORDERS_PER_CUSTOMER = 2
_LINES_PER_ORDER = 2.5


def write_shop(world: World, landing: Landing) -> None:
    """Write the order and order line exports, one file for each range of days."""
    orders = _draw_orders(world)
    _draw_lines(world)
    _draw_deliveries(world, orders)
    for first, end in day_ranges(world, int(orders * _LINES_PER_ORDER), rows_per_file=2_000_000):
        window = f"delivered_day >= {first} and delivered_day < {end}"
        landing.write_csv("shop_orders", f"pedidos_{span(world, first, end)}", _orders_query(window), delimiter=";")
        landing.write_csv(
            "shop_order_lines", f"lineas_{span(world, first, end)}", _lines_query(window), delimiter=";", gzipped=True
        )
    _plant(world)


def _draw_orders(world: World) -> int:
    total = spread(
        world.con,
        "order_counts",
        """
        select
            person,
            (1000 * least(pow(1 - unit(person, 'orders'), -0.5), 12) * case part
                when 'vip' then 6 when 'fraudster' then 4 when 'heavy_api' then 0.3 when 'churner' then 0.7 else 1
            end)::bigint as weight
        from people
        """,
        world.customers * _ORDERS_PER_CUSTOMER,
    )
    # Fraud is quick: its orders, cards and chargebacks fall into the last four weeks.
    world.run(
        """
        create or replace table orders as
        with numbered as (
            select person, first + k as k, part, country, user_id as login, shop_id as customer_number,
                email as address, second_email, phone as phone_number, from_day, to_day
            from (select person, first, unnest(range(n)) as k from order_counts)
            join people using (person)
        ),
        drawn as (
            select
                *,
                case part when 'fraudster' then greatest(from_day, to_day - 28) else from_day end as first_day,
                login is not null and chance(k, 'order while logged in', 650000) as is_logged_in,
                chance(k, 'order address is a placeholder', 8000) as is_placeholder,
                not is_placeholder and chance(k, 'order address is mistyped', 10000) as is_mistyped
            from numbered
        )
        select
            k,
            person,
            part,
            'PED-' || (10000000000 + k) as order_id,
            rising(k, 'order day', first_day, to_day) as order_day,
            below(k, 'order second', 43200) + below(k, 'order second again', 36000) as second,
            pick(['web', 'web', 'app', 'app', 'store'], k, 'order channel') as channel,
            country,
            case country when 'GB' then 'GBP' when 'US' then 'USD' else 'EUR' end as currency,
            case when is_logged_in then login end as user_id,
            case when is_logged_in or chance(k, 'order names the customer', 500000) then customer_number end
                as shop_id,
            is_placeholder,
            is_mistyped,
            case
                when is_placeholder then placeholder_email(k)
                when is_mistyped then mistyped(address)
                when second_email is not null and chance(k, 'order to the second address', 400000) then second_email
                else typed_email(address, k, 'order')
            end as email,
            case when chance(k, 'order names a phone', 300000) then phone_number end as phone,
            'card_' || case
                when part = 'fraudster' then token(k, 'stolen card')
                else token(person * 4 + below(k, 'card', 20) // 19, 'card')
            end as card,
            case
                when part = 'fraudster' and chance(k, 'chargeback of a thief', 450000) then 'chargeback'
                when chance(k, 'chargeback', 1500) then 'chargeback'
                when chance(k, 'cancelled', 40000) then 'cancelled'
                when chance(k, 'returned', 50000) then 'returned'
                when chance(k, 'partly returned', 40000) then 'partly_returned'
                else 'completed'
            end as fate,
            1 + below(k, 'fate after days', 12) as fate_days
        from drawn
        """
    )
    return total


def _draw_lines(world: World) -> None:
    world.run(
        """
        create or replace table order_lines as
        select
            k,
            line_no,
            k * 8 + line_no as line_key,
            10000 + floor(2000 * pow(unit(line_key, 'article'), 2))::bigint as article,
            case
                when part = 'vip' then 1 + below(line_key, 'units', 5)
                else pick([1, 1, 1, 2, 3], line_key, 'units')::bigint
            end as units,
            (490 + 100 * below(article, 'price', 90)) * case part when 'vip' then 2 else 1 end as price_cents
        from (select k, part, unnest(range(1, 2 + below(k, 'lines', 4))) as line_no from orders)
        """
    )
    world.run(
        """
        create or replace table order_amounts as
        select k, sum(units * price_cents)::bigint as cents from order_lines group by k
        """
    )


def _draw_deliveries(world: World, orders: int) -> None:
    every = world.every(orders, 6)
    # Versions: 0 as placed, 1 as it ended, 2 sent again the same day, 3 and 4 rows that can't be loaded.
    world.run(
        f"""
        create or replace table order_deliveries as
        with versions as (
            select k, 0 as version, order_day as delivered_day from orders
            union all
            select k, 1, order_day + fate_days from orders
            where fate <> 'completed' and order_day + fate_days < {world.days}
            union all
            select k, 2, order_day from orders where chance(k, 'order sent twice', 5000)
            union all
            select k, 3, order_day from orders where k % {every} = 1 % {every}
            union all
            select k, 4, order_day from orders where k % {every} = 2 % {every}
        )
        select k, version::bigint as version, delivered_day,
            date '{world.start}' + order_day::integer + to_seconds(second) as ordered_at,
            date '{world.start}' + (order_day + fate_days)::integer + to_seconds(second) as ended_at
        from versions join orders using (k)
        """
    )


def _orders_query(window: str) -> str:
    return f"""
    select
        case when version <> 3 then order_id end as pedido,
        case when version <> 1 then 'pagado' else case fate
            when 'cancelled' then 'cancelado' when 'returned' then 'devuelto' else 'disputado'
        end end as estado,
        case when version = 4 then '2026/31/31 99:00' else strftime(ordered_at, '%d/%m/%Y %H:%M:%S') end as fecha,
        (cents // 100)::varchar || ',' || lpad((cents % 100)::varchar, 2, '0') as importe,
        currency as moneda,
        country as pais,
        channel as canal,
        shop_id as num_cliente,
        user_id as usuario,
        email as correo,
        phone as telefono,
        card as huella_tarjeta,
        case when version = 1 and fate = 'chargeback' then strftime(ended_at, '%d/%m/%Y %H:%M:%S') end as contracargo,
        strftime(case when version = 1 then ended_at else ordered_at end, '%d/%m/%Y %H:%M:%S') as actualizado
    from (select * from order_deliveries where {window})
    join orders using (k)
    join order_amounts using (k)
    where version <> 1 or fate <> 'partly_returned'
    order by delivered_day, k, version
    """


def _lines_query(window: str) -> str:
    # An order that comes back whole changes its status; a part of it is a line of its own, with negative units.
    return f"""
    select
        order_id as pedido,
        case when version = 1 then 'D' else '' end || line_no::varchar as linea,
        strftime(case when version = 1 then ended_at else ordered_at end, '%d/%m/%Y %H:%M:%S') as fecha,
        'ART-' || article::varchar as articulo,
        pick(['Taza', 'Lámpara', 'Cojín', 'Cuaderno', 'Mochila', 'Té'], article, 'thing') || ' '
            || pick(['azul', 'verde', 'pequeña', 'clásica'], article, 'look') as descripcion,
        case
            when version = 3 then 'muchas'
            else (case when version = 1 then -units else units end)::varchar
        end as unidades,
        price_cents as precio_centimos
    from (select * from order_deliveries where {window} and version in (0, 1, 2, 3))
    join orders using (k)
    join order_lines using (k)
    where version in (0, 2)
        or (line_no = 1 and (version = 3 or (version = 1 and fate = 'partly_returned')))
    order by delivered_day, k, version, line_no
    """


def _plant(world: World) -> None:
    for kind, entity, condition in (
        ("exact_duplicate", "orders", "version = 2"),
        ("changed_content", "orders", "version = 1 and fate <> 'partly_returned'"),
        ("missing_required", "orders", "version = 3"),
        ("unparsable", "orders", "version = 4"),
        ("unparsable", "order_lines", "version = 3"),
    ):
        world.plant(
            kind, entity, world.number(f"select count(*) from order_deliveries join orders using (k) where {condition}")
        )
    duplicates = "select count(*) from order_deliveries join order_lines using (k) where version = 2"
    world.plant("exact_duplicate", "order_lines", world.number(duplicates))
    for kind, condition in (("placeholder_email", "is_placeholder"), ("mistyped_email", "is_mistyped")):
        world.plant(kind, "orders", world.number(f"select count(*) from orders where {condition}"))
