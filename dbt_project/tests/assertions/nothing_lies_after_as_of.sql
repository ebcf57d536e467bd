-- A row describes the moment as_of: it knows nothing later.
select customer_id
from {{ ref('customer_features') }}
where
    as_of <> {{ as_of_literal() }}
    or first_seen_at > as_of
    or last_order_at > as_of
    or last_seen_at > as_of
    or demo_requested_at > as_of
    or days_since_last_order < 0
    or days_since_last_seen < 0
