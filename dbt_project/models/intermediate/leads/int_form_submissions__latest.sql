with forms as (
    select * from {{ ref('stg_sources__form_submissions') }}
),

attributed as (
    {{ attribute_to_customer(
        'forms',
        [
            'source',
            'submission_id',
            'line',
            'submitted_at',
            'company_size',
            'job_level',
            'is_demo_requested',
        ],
        lookup=ref('stg_identity__identifier_lookup'),
        named_in='forms',
    ) | indent(4) }}
),

ranked as (
    select
        *,
        -- The latest form that says; of two at one moment, the higher id, then the later line.
        row_number() over (
            partition by customer_id
            order by
                case when company_size is null then 1 else 0 end asc,
                submitted_at desc,
                source desc,
                submission_id desc,
                line desc
        ) as company_size_rank,
        row_number() over (
            partition by customer_id
            order by
                case when job_level is null then 1 else 0 end asc,
                submitted_at desc,
                source desc,
                submission_id desc,
                line desc
        ) as job_level_rank
    from attributed
),

final as (
    select
        customer_id,
        max(case when company_size_rank = 1 then company_size end) as company_size,
        max(case when job_level_rank = 1 then job_level end) as job_level,
        max(case when is_demo_requested then submitted_at end) as demo_requested_at,
        max(submitted_at) as last_submitted_at
    from ranked
    group by customer_id
)

select * from final
