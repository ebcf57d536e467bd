-- Shares lie between 0 and 1; what came back can exceed what was ordered in the window.
select customer_id
from {{ ref('customer_features') }}
where
    error_ratio_7d not between 0 and 1
    or throttled_ratio_7d not between 0 and 1
    or new_device_ratio_7d not between 0 and 1
    or returns_ratio_365d < 0
