with examples as (
    select
        purpose_set,
        min(customer_id) as customer_id
    from {{ ref('int_consents__collected') }}
    group by purpose_set
),

final as (
    select
        examples.purpose_set,
        {{ sorted_string_array('consents.purpose') }} as consented_purposes
    from examples
    inner join {{ ref('stg_identity__customer_consents') }} as consents
        on examples.customer_id = consents.customer_id
    where consents.is_allowed
    group by examples.purpose_set
)

select * from final
