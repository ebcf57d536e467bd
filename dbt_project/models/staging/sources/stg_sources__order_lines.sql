{{ latest_version(
    source('sources', 'order_lines'),
    key=['source', 'order_id', 'order_line_id'],
    columns=[
        'source',
        'file_id',
        'line',
        'order_id',
        'order_line_id',
        'ordered_at',
        'sku',
        'description',
        'quantity',
        'unit_price_micros',
    ],
    known=is_known("ordered_at")
) }}
