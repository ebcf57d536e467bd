with final as (
    select
        source,
        file_id,
        line,
        submission_id,
        form_name,
        submitted_at,
        first_name,
        last_name,
        company_name,
        company_size,
        job_level,
        country,
        is_demo_requested,
        source_customer_id,
        user_id,
        email,
        phone,
        device_id,
        anonymous_id
    from {{ source('sources', 'form_submissions') }}
    where {{ is_known('submitted_at') }}
)

select * from final
