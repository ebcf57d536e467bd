with final as (
    select
        customer_id,
        anchor_node_id,
        status,
        merged_into,
        match_basis,
        n_nodes,
        created_at,
        first_seen_at
    from {{ source('identity', 'customers') }}
)

select * from final
