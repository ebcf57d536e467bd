with orders as (
    select
        customer_id,
        count(case when {{ is_within('chargeback_at', 365) }} then 1 end) as chargebacks_365d,
        count(distinct case when {{ is_within('ordered_at', 30) }} then card_fingerprint end)
            as distinct_cards_30d
    from {{ ref('int_orders__attributed') }}
    group by customer_id
),

devices as (
    select * from {{ ref('int_devices__attributed') }}
    where device_id is not null
),

recent_devices as (
    select
        customer_id,
        cast(count(case when {{ is_within('first_used_at', 7) }} then 1 end) as double)
        / count(*) as new_device_ratio_7d
    from devices
    where {{ is_within('last_used_at', 7) }}
    group by customer_id
),

final as (
    select
        recent_devices.new_device_ratio_7d,
        coalesce(orders.customer_id, recent_devices.customer_id) as customer_id,
        coalesce(orders.chargebacks_365d, 0) as chargebacks_365d,
        coalesce(orders.distinct_cards_30d, 0) as distinct_cards_30d
    from orders
    full outer join recent_devices
        on orders.customer_id = recent_devices.customer_id
)

select * from final
