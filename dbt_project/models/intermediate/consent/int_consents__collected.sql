with final as (
    select
        customer_id,
        {{ sorted_string_array('purpose') }} as consented_purposes
    from {{ ref('stg_identity__customer_consents') }}
    where is_allowed
    group by customer_id
)

select * from final
