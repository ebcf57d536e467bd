with final as (
    select
        node_id,
        id_type,
        id_namespace,
        status,
        status_rule,
        first_seen_at,
        last_seen_at
    from {{ source('identity', 'identifiers') }}
)

select * from final
