{# Millions of customers allow one of a few dozen combinations of purposes. A combination is
   numbered, one bit a purpose: adding bits up is several times cheaper than collecting names, which
   are then collected once a combination. A bigint has room for 62 purposes; a further one stops the
   build. #}
with consents as (
    select
        customer_id,
        purpose
    from {{ ref('stg_identity__customer_consents') }}
    where is_allowed
),

numbered as (
    select
        purpose,
        row_number() over (order by purpose) - 1 as purpose_number
    from (select distinct purpose from consents) as purposes
),

bits as (
    select
        purpose,
        cast(power(2, purpose_number) as bigint) as purpose_bit
    from numbered
),

final as (
    select
        consents.customer_id,
        cast(sum(bits.purpose_bit) as bigint) as purpose_set
    from consents
    inner join bits
        on consents.purpose = bits.purpose
    group by consents.customer_id
)

select * from final
