with orders as (
    select * from {{ ref('stg_sources__orders') }}
),

line_values as (
    select
        source,
        order_id,
        cast(sum(quantity * unit_price_micros) as bigint) as net_micros,
        cast(
            sum(case when quantity > 0 then quantity * unit_price_micros else 0 end) as bigint
        ) as gross_micros
    from {{ ref('stg_sources__order_lines') }}
    group by source, order_id
),

valued as (
    select
        orders.*,
        lower(orders.order_status) in ('cancelled', 'canceled', 'failed') as is_cancelled,
        lower(orders.order_status) = 'failed' as is_failed,
        lower(orders.order_status) in ('cancelled', 'canceled', 'returned', 'refunded')
            as is_returned,
        coalesce(line_values.net_micros, orders.amount_micros, 0) as net_micros,
        coalesce(line_values.gross_micros, greatest(orders.amount_micros, 0), 0) as gross_micros
    from orders
    left join line_values
        on
            orders.source = line_values.source
            and orders.order_id = line_values.order_id
),

attributed as (
    {{ attribute_to_customer(
        'valued',
        [
            'source',
            'order_id',
            'ordered_at',
            'is_cancelled',
            'is_failed',
            'is_returned',
            'net_micros',
            'gross_micros',
            'card_fingerprint',
            'chargeback_at',
        ],
        lookup=ref('stg_identity__identifier_lookup'),
    ) | indent(4) }}
),

final as (
    select
        customer_id,
        source,
        order_id,
        ordered_at,
        is_cancelled,
        card_fingerprint,
        chargeback_at,
        case when is_cancelled then 0 else net_micros end as revenue_micros,
        -- A failed order was never delivered: nothing of it was ordered, nothing came back.
        case when is_failed then 0 else gross_micros end as gross_micros,
        case
            when is_failed then 0
            -- Of an order that came back whole, lines may say the same: it came back once.
            when is_returned then greatest(gross_micros, gross_micros - net_micros)
            else gross_micros - net_micros
        end as returned_micros
    from attributed
)

select * from final
