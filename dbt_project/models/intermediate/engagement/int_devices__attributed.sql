with sightings as (
    -- Events of one set of identifiers belong to one customer: put together first, there is far
    -- less to look up.
    select
        {{ attribution_key() }},
        min(occurred_at) as first_used_at,
        max(occurred_at) as last_used_at
    from {{ ref('stg_sources__events') }}
    group by {{ attribution_key() }}
),

attributed as (
    {{ attribute_to_customer(
        'sightings',
        ['device_id', 'first_used_at', 'last_used_at'],
        lookup=ref('stg_identity__identifier_lookup'),
        named_in=ref('stg_sources__events'),
        rare=['source_customer_id', 'phone'],
    ) | indent(4) }}
),

final as (
    select
        customer_id,
        device_id,
        min(first_used_at) as first_used_at,
        max(last_used_at) as last_used_at
    from attributed
    group by customer_id, device_id
)

select * from final
