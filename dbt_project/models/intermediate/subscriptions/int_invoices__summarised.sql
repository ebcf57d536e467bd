with invoices as (
    select
        *,
        lower(invoice_status) in ('void', 'voided', 'cancelled', 'written_off', 'draft') as is_void,
        -- A payment planned for later has not been made.
        lower(invoice_status) = 'paid' or (paid_at is not null and {{ is_known('paid_at') }})
            as is_paid
    from {{ ref('stg_sources__invoices') }}
),

-- Invoices of one account and one set of identifiers belong to the same customers: put together
-- first, there is far less to look up.
bills as (
    select
        {{ attribution_key() }},
        account_id,
        count(
            case
                when
                    not is_void
                    and {{ is_within('due_at', 365) }}
                    -- Due at this very moment is not late yet.
                    and (paid_at > due_at or (not is_paid and due_at < {{ as_of_literal() }}))
                    then 1
            end
        ) as paid_late_count,
        cast(
            sum(
                case
                    when not is_void and not is_paid and {{ is_known('issued_at') }}
                        then amount_micros
                    else 0
                end
            ) as bigint
        ) as open_micros,
        max(updated_at) as last_change_at
    from invoices
    group by {{ attribution_key() }}, account_id
),

{{ attribute_to_members(
    'bills',
    ['paid_late_count', 'open_micros', 'last_change_at'],
    lookup=ref('stg_identity__identifier_lookup'),
    memberships=ref('stg_identity__customer_accounts'),
) }},

final as (
    select
        customer_id,
        cast(sum(paid_late_count) as bigint) as paid_late_count_365d,
        cast(sum(open_micros) as bigint) as open_invoice_micros,
        max(last_change_at) as last_invoice_change_at
    from owned
    group by customer_id
)

select * from final
