with invoices as (
    select
        *,
        lower(invoice_status) in ('void', 'voided', 'cancelled', 'written_off', 'draft') as is_void,
        lower(invoice_status) = 'paid' or paid_at is not null as is_paid
    from {{ ref('stg_sources__invoices') }}
),

{{ attribute_to_members(
    'invoices',
    ['amount_micros', 'due_at', 'paid_at', 'updated_at', 'is_void', 'is_paid'],
    lookup=ref('stg_identity__identifier_lookup'),
    memberships=ref('stg_identity__customer_accounts'),
) }},

final as (
    select
        customer_id,
        count(
            case
                when
                    not is_void
                    and {{ is_within('due_at', 365) }}
                    and (paid_at > due_at or not is_paid)
                    then 1
            end
        ) as paid_late_count_365d,
        cast(
            sum(case when not is_void and not is_paid then amount_micros else 0 end) as bigint
        ) as open_invoice_micros,
        max(updated_at) as last_invoice_change_at
    from owned
    group by customer_id
)

select * from final
