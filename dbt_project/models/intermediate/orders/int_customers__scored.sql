{# Recency, frequency and monetary scores, 1 to 5. A value scores 1 plus the number of quintile
   edges below it: an edge belongs to the fifth that it closes, equal values share a score. #}
with buyers as (
    select
        orders.customer_id,
        orders.orders_total,
        orders.revenue_micros_total,
        {{ days_until_as_of('orders.last_order_at') }} as days_since_last_order,
        profiles.best_source_customer_id
    from {{ ref('int_orders__summarised') }} as orders
    -- Only active customers have a row of features: nobody else may move an edge.
    inner join {{ ref('stg_identity__customers') }} as customers
        on
            orders.customer_id = customers.customer_id
            and customers.status = 'active'
    left join {{ ref('stg_identity__profiles') }} as profiles
        on orders.customer_id = profiles.customer_id
    where orders.orders_total > 0
),

ranked as (
    select
        *,
        row_number() over (
            order by orders_total, best_source_customer_id nulls last, customer_id
        ) as frequency_rank
    from buyers
),

edges as (
    select
        {%- for share in ['0.2', '0.4', '0.6', '0.8'] %}
        {{ percentile('days_since_last_order', share) }} as recency_edge_{{ loop.index }},
        {{ percentile('revenue_micros_total', share) }} as monetary_edge_{{ loop.index }},
        {%- endfor %}
        count(*) as buyer_count
    from buyers
),

final as (
    select
        ranked.customer_id,
        cast(
            5
            {%- for edge in range(1, 5) %}
            - case
                when ranked.days_since_last_order > edges.recency_edge_{{ edge }} then 1
                else 0
            end
            {%- endfor %} as bigint
        ) as recency_score,
        -- The edges of the ranks 1..n are 1 + (n - 1) k / 5: compared in integers, so exactly.
        cast(
            1
            {%- for edge in range(1, 5) %}
            + case
                when 5 * (ranked.frequency_rank - 1) > {{ edge }} * (edges.buyer_count - 1) then 1
                else 0
            end
            {%- endfor %} as bigint
        ) as frequency_score,
        cast(
            1
            {%- for edge in range(1, 5) %}
            + case
                when ranked.revenue_micros_total > edges.monetary_edge_{{ edge }} then 1
                else 0
            end
            {%- endfor %} as bigint
        ) as monetary_score
    from ranked
    cross join edges
)

select * from final
