-- What happened in a shorter window happened in the longer one too.
select customer_id
from {{ ref('customer_features') }}
where
    orders_30d > orders_90d
    or orders_90d > orders_365d
    or orders_365d > orders_total
    or requests_1d > requests_7d
    or requests_7d > requests_30d
    or days_active_30d > 31
