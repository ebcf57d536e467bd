{{ latest_version(
    source('sources', 'accounts'),
    key=['source', 'account_id'],
    columns=[
        'source',
        'file_id',
        'line',
        'account_id',
        'account_name',
        'industry',
        'company_size',
        'country',
        'residency_region',
        'created_at',
        'updated_at',
    ],
    known=is_known("updated_at")
) }}
