with events as (
    select * from {{ ref('stg_sources__events') }}
),

final as (
    {{ attribute_to_customer(
        'events',
        ['source', 'occurred_at', 'session_id', 'channel', 'device_id'],
        lookup=ref('stg_identity__identifier_lookup'),
    ) | indent(4) }}
)

select * from final
