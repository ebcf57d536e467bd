with invoices as (
    select
        *,
        lower(invoice_status) in ('void', 'voided', 'cancelled', 'written_off', 'draft') as is_void
    from {{ ref('stg_sources__invoices') }}
),

{{ attribute_to_members(
    'invoices',
    'invoice_id',
    lookup=ref('stg_identity__identifier_lookup'),
    memberships=ref('stg_identity__customer_accounts'),
) }},

final as (
    select
        owners.customer_id,
        count(
            case
                when
                    not invoices.is_void
                    and {{ is_within('invoices.due_at', 365) }}
                    and coalesce(invoices.paid_at, {{ as_of_literal() }}) > invoices.due_at
                    then 1
            end
        ) as paid_late_count_365d,
        cast(
            sum(
                case
                    when
                        not invoices.is_void
                        and lower(invoices.invoice_status) <> 'paid'
                        and invoices.paid_at is null
                        then invoices.amount_micros
                    else 0
                end
            ) as bigint
        ) as open_invoice_micros
    from owners
    inner join invoices
        on
            owners.source = invoices.source
            and owners.invoice_id = invoices.invoice_id
    group by owners.customer_id
)

select * from final
