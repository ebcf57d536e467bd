with tickets as (
    select * from {{ ref('stg_sources__tickets') }}
),

attributed as (
    {{ attribute_to_customer(
        'tickets',
        ['ticket_status', 'opened_at', 'closed_at', 'csat_score', 'updated_at'],
        lookup=ref('stg_identity__identifier_lookup'),
        named_in='tickets',
    ) | indent(4) }}
),

final as (
    select
        customer_id,
        count(
            case
                when
                    {{ is_known('opened_at') }}
                    and (closed_at is null or closed_at > {{ as_of_literal() }})
                    and lower(ticket_status) not in ('closed', 'solved', 'resolved', 'cancelled')
                    then 1
            end
        ) as tickets_open,
        count(case when {{ is_within('opened_at', 90) }} then 1 end) as tickets_90d,
        avg(cast(csat_score as double)) as csat_mean,
        max(updated_at) as last_ticket_change_at
    from attributed
    group by customer_id
)

select * from final
