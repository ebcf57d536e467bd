with orders as (
    select * from {{ ref('int_orders__attributed') }}
),

final as (
    select
        customer_id,
        {%- for days in [30, 90, 365] %}
        count(
            case when not is_cancelled and {{ is_within('ordered_at', days) }} then 1 end
        ) as orders_{{ days }}d,
        cast(
            sum(case when {{ is_within('ordered_at', days) }} then revenue_micros else 0 end)
            as bigint
        ) as revenue_micros_{{ days }}d,
        {%- endfor %}
        count(case when not is_cancelled then 1 end) as orders_total,
        count(case when is_cancelled then 1 end) as cancelled_orders_total,
        cast(sum(revenue_micros) as bigint) as revenue_micros_total,
        min(case when not is_cancelled then ordered_at end) as first_order_at,
        max(case when not is_cancelled then ordered_at end) as last_order_at,
        cast(
            sum(case when {{ is_within('ordered_at', 365) }} then gross_micros else 0 end)
            as bigint
        ) as gross_micros_365d,
        cast(
            sum(case when {{ is_within('ordered_at', 365) }} then returned_micros else 0 end)
            as bigint
        ) as returned_micros_365d
    from orders
    group by customer_id
)

select * from final
