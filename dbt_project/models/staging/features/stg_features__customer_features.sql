with final as (
    select
        customer_id,
        as_of,
        first_seen_at,
        tenure_days,
        identifier_count,
        is_known,
        country,
        residency_region,
        account_id,
        orders_total,
        revenue_micros_365d,
        revenue_micros_total,
        last_order_at,
        recency_score,
        frequency_score,
        monetary_score,
        last_seen_at,
        plan,
        subscription_status,
        mrr_micros
    from {{ source('features', 'customer_features') }}
)

select * from final
