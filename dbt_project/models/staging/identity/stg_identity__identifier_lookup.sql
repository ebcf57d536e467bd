with final as (
    select
        id_type,
        id_namespace,
        raw_value,
        node_id,
        customer_id
    from {{ source('identity', 'identifier_lookup') }}
)

select * from final
