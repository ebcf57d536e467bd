with requests as (
    select * from {{ ref('stg_sources__requests') }}
    where {{ is_within('occurred_at', 30) }}
),

callers as (
    select distinct {{ attribution_key() }}
    from requests
),

attributed as (
    {{ attribute_to_customer(
        'requests',
        ['occurred_at', 'status_code', 'latency_ms', 'is_throttled', 'compute_ms'],
        lookup=ref('stg_identity__identifier_lookup'),
        named_in='callers',
    ) | indent(4) }}
),

windowed as (
    select
        *,
        cast(round(compute_ms * 1000) as bigint) as compute_micros,
        {{ is_within('occurred_at', 1) }} as is_within_1d,
        {{ is_within('occurred_at', 7) }} as is_within_7d
    from attributed
),

final as (
    select
        customer_id,
        count(case when is_within_1d then 1 end) as requests_1d,
        count(case when is_within_7d then 1 end) as requests_7d,
        count(*) as requests_30d,
        {{ percentile('case when is_within_7d then latency_ms end', '0.95') }}
            as request_p95_ms_7d,
        cast(count(case when is_within_7d and status_code >= 500 then 1 end) as double)
        / nullif(count(case when is_within_7d then 1 end), 0) as error_ratio_7d,
        cast(count(case when is_within_7d and is_throttled then 1 end) as double)
        / nullif(count(case when is_within_7d then 1 end), 0) as throttled_ratio_7d,
        -- Added up in whole microseconds: a sum of fractions depends on the order of its rows.
        cast(round(coalesce(sum(compute_micros), 0) / 1000.0) as bigint) as compute_ms_30d,
        max(occurred_at) as last_request_at
    from windowed
    group by customer_id
)

select * from final
